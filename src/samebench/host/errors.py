"""How a command ends that can't go on: in one line, and with a code that means something."""


class CommandError(Exception):
    """One line for the user: what, where, the value and the remedy."""

    code = 1


class UsageError(CommandError, ValueError):
    """Wrong use or input.

    A class of its own, so that a plain ValueError, which is a bug, keeps its traceback.
    """

    code = 2


class RequirementError(CommandError):
    """The machine lacks what was asked for: room, a GPU, an engine, a network."""

    code = 3
