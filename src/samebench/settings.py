"""Flags made from one frozen dataclass, so that a setting is declared once and a mistake costs one line."""

import argparse
import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from samebench.command import Refusal

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message}; see --help")


def parse(
    kind: type[T], argv: Sequence[str], *, program: str, about: str, defaults: Mapping[str, Any] = MappingProxyType({})
) -> T:
    """Make a `kind`, a dataclass, from flags: `batch_size: int` becomes `--batch-size`.

    A bool gives `--fast` and `--no-fast`, a Literal its choices, `metadata={"help": ...}` the help text; `defaults`
    go before those of the fields. Raises Refusal for an unknown flag (naming the nearest), a wrong type or what
    `kind` itself refuses.
    """
    parser = _Parser(
        prog=program,
        description=about,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        parser.add_argument(_flag(field.name), dest=field.name, **_options(field, hints[field.name]))
    parser.set_defaults(**defaults)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        raise Refusal(_unknown(unknown[0], [_flag(field.name) for field in fields(kind)]))  # type: ignore[arg-type]
    return kind(**vars(known))


def kind(name: str) -> type[Any]:
    """The dataclass that `name` says, such as project.settings:Settings. Raises Refusal where it names none."""
    module, _, own = name.partition(":")
    found = getattr(importlib.import_module(module), own, None) if module and own else None
    if not is_dataclass(found) or not isinstance(found, type):
        raise Refusal(f"--settings {name}: no dataclass; give the project's settings as module:Class")
    return found


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _options(field: Field[Any], hint: Any) -> dict[str, Any]:
    required = field.default is MISSING
    options: dict[str, Any] = {"help": field.metadata.get("help", "")}
    options |= {"required": True} if required else {"default": field.default}
    if hint is bool:
        return options | {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return options | {"choices": get_args(hint)}
    return options | {"type": hint, "metavar": hint.__name__.upper()}


def _unknown(word: str, flags: list[str]) -> str:
    near = difflib.get_close_matches(word.partition("=")[0], flags, n=1)
    return f"unknown setting {word}; " + (f"did you mean {near[0]}?" if near else "see --help for those there are")
