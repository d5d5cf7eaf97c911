"""PORT=: where a server listens on this machine."""

from samebench.host.errors import UsageError

LOWEST, HIGHEST = 1024, 65535


def parse(text: str, default: int) -> int:
    """The port that `PORT=` names; the default where it names none. Raises UsageError."""
    if not text:
        return default
    is_number = text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= len(str(HIGHEST))
    if is_number and LOWEST <= int(text) <= HIGHEST:
        return int(text)
    raise UsageError(f"PORT={text}: give a number from {LOWEST} to {HIGHEST}")
