"""Words of a `make` command that a message prints, so that they mean the same when they are copied into a shell.

Three readers come before the program: the user's shell, make, which expands `$`, and the shell of the recipe.
"""

import os
import re
import shlex
from collections.abc import Sequence


def make(target: str, *words: str) -> str:
    """`make target` with these words; empty ones are left out. A project that the call has named is named again."""
    named = os.environ.get("PROJECT", "")
    return " ".join(filter(None, ["make", target, named and variable("PROJECT", named), *words]))


def variable(name: str, value: object) -> str:
    """`NAME=value`, for a variable that the recipe has between double quotes."""
    inner = re.sub(r'([\\"$`])', r"\\\1", str(value))
    return f"{name}={shlex.quote(inner.replace('$', '$$'))}"


def arguments(flags: Sequence[str]) -> str:
    """`ARGS="..."`, for flags of one word each, as `settings.to_flags` makes them; without any, nothing."""
    text = " ".join(shlex.join(_words(flag)) for flag in flags).replace("$", "$$")
    if not text:
        return ""
    return f"ARGS={shlex.quote(text)}" if re.search(r'["$`\\!]', text) else f'ARGS="{text}"'


def _words(flag: str) -> list[str]:
    """`--name=value` as two words, unless the value would be taken for another flag."""
    name, equals, value = flag.partition("=")
    return [name, value] if equals and not value.startswith("-") else [flag]
