"""Flags made from one frozen dataclass, so that a setting is declared once and a mistake costs one line.

The annotation of a field decides which words its flag takes, and which value a receipt has.

| annotation                 | words                                              | in a receipt  |
|----------------------------|----------------------------------------------------|---------------|
| bool                       | --fast, --no-fast                                  | true, false   |
| int, float                 | as Python reads them: finite, at most 64 bits      | a number      |
| str, Path                  | any                                                | text          |
| Literal[18, 50]            | 18, 50                                             | 18, 50        |
| an Enum                    | the value of a member if it is text, else its name | the same      |
| tuple[int, ...], list[int] | 1,2,8 or [1,2,8]                                   | a list        |
| tuple[int, str]            | 1,a                                                | a list of two |
| float or None              | 0.5, none                                          | 0.5, null     |

Of `str | None` the word none is no value, and "none" with its quotes is the text.
"""

import argparse
import difflib
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from samebench.core.command import UsageError

T = TypeVar("T")
INT_LIMIT = 2**63
NONE = "none"
EMPTY: Mapping[str, Any] = MappingProxyType({})
BOOLS = {"true": True, "false": False}
SUPPORTED = "bool, int, float, str, Path, an Enum, a Literal, tuple[T, ...], list[T] or T | None"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += ", and after = one that begins with -, such as --shift=-1,2"
        raise UsageError(f"{message}; see --help")


def parse(kind: type[T], argv: Sequence[str], *, program: str, about: str, defaults: Mapping[str, Any] = EMPTY) -> T:
    """Make a `kind`, a dataclass, from flags: `batch_size: int` becomes `--batch-size`.

    `metadata={"help": ...}` is the help text; `defaults` go before those of the fields. Raises UsageError for an
    unknown flag (naming the nearest), a wrong value, an unsupported annotation or what `kind` itself refuses.
    """
    result: T = parse_all([kind], argv, program=program, about=about, defaults=defaults)[0]
    return result


def parse_all(
    kinds: Sequence[type[Any]], argv: Sequence[str], *, program: str, about: str, defaults: Mapping[str, Any] = EMPTY
) -> list[Any]:
    """Make an object of each dataclass of `kinds` from the flags of all of them, as `parse` does."""
    parser = _Parser(prog=program, description=about, allow_abbrev=False)
    for kind in kinds:
        _add_flags(parser, kind, defaults)
    parsed, unknown = parser.parse_known_args(argv)
    names = {kind: [field.name for field in _fields(kind)] for kind in kinds}
    if unknown:
        raise UsageError(_unknown(unknown[0], [_flag(name) for kind in kinds for name in names[kind]]))
    values = {**defaults, **vars(parsed)}
    return [kind(**{name: values[name] for name in names[kind] if name in values}) for kind in kinds]


def _add_flags(parser: argparse.ArgumentParser, kind: type[Any], defaults: Mapping[str, Any]) -> None:
    hints = _hints(kind)
    for field in _fields(kind):
        default = defaults.get(field.name, _default(field))
        try:
            parser.add_argument(
                _flag(field.name),
                dest=field.name,
                default=argparse.SUPPRESS,  # the dataclass has it
                required=default is MISSING,
                help=_help(field, default),
                **_options(hints[field.name]),
            )
        except argparse.ArgumentError as error:
            raise UsageError(f"{kind.__name__}.{field.name}: {error}; give the field a different name") from error


def to_dict(settings: object) -> dict[str, Any]:
    """The fields of a dataclass as a receipt has them: JSON changes none of the values."""
    return {field.name: _to_json(getattr(settings, field.name)) for field in _fields(type(settings))}


def from_dict(kind: type[T], facts: Mapping[str, Any]) -> T:
    """The `kind` of which `to_dict` made `facts`; a field without a fact has its default.

    Raises TypeError for an unknown field, a missing one, or a value that is not as the annotation says.
    """
    hints, values = _hints(kind), {}
    for name, value in facts.items():
        if name not in hints:
            raise TypeError(f"unknown setting {name}")
        try:
            values[name] = _from_json(hints[name], value)
        except ValueError as error:
            raise TypeError(f"{name}: {error}") from error
    return kind(**values)


def to_flags(kind: type[Any], facts: Mapping[str, Any]) -> list[str]:
    """The flags, one word each, of which `parse` makes the settings that a receipt has."""
    hints = _hints(kind)
    return [to_flag(name, _word_of(hints.get(name), value), hint=hints.get(name)) for name, value in facts.items()]


def to_flag(name: str, word: str, *, hint: Any) -> str:
    """The flag, in one word, that gives the field `name` of the annotation `hint` the value `word`."""
    if hint is bool and word.lower() in BOOLS:
        return _flag(name) if BOOLS[word.lower()] else _flag(f"no_{name}")
    return f"{_flag(name)}={word}"


def defaults(kind: type[Any]) -> dict[str, Any]:
    """The default of each field as a receipt has it; None for a field without one."""
    values = {field.name: _default(field) for field in _fields(kind)}
    return {name: None if value is MISSING else _to_json(value) for name, value in values.items()}


def _fields(kind: type[Any]) -> list[Field[Any]]:
    return [field for field in fields(kind) if field.init]


def _hints(kind: type[Any]) -> dict[str, Any]:
    """The annotation of each field that a flag can set. Raises UsageError for one that is not supported."""
    every = get_type_hints(kind)
    hints = {field.name: every[field.name] for field in _fields(kind)}
    for name, hint in hints.items():
        if not _is_supported(hint):
            raise UsageError(f"{kind.__name__}.{name}: no flag can have the type {_type_name(hint)}; take {SUPPORTED}")
        if len(_choices(hint)) < len(get_args(hint) if get_origin(hint) is Literal else ()):
            raise UsageError(f"{kind.__name__}.{name}: two values of its Literal are the same word; take others")
    for field in _fields(kind):
        _check_default(kind, field, hints[field.name])
    return hints


def _check_default(kind: type[Any], field: Field[Any], hint: Any) -> None:
    """Raise UsageError for a default that its own annotation does not allow: no receipt with it could be read."""
    if (default := _default(field)) is MISSING:
        return
    try:
        _from_json(hint, _to_json(default))
    except ValueError as error:
        message = f"{kind.__name__}.{field.name}: its default {default!r} is not of its type {_type_name(hint)}"
        raise UsageError(f"{message} ({error}); change one of them") from error


def _is_supported(hint: Any) -> bool:
    if _is_union(hint) or get_origin(hint) in {tuple, list}:
        return all(_is_supported(part) for part in get_args(hint) if part is not ...)
    return bool(_choices(hint)) or hint in {bool, int, float, str, Path, type(None)}


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in {Union, types.UnionType}


def _choices(hint: Any) -> dict[str, Any]:
    """The values of a Literal or an Enum by their words; empty for another annotation."""
    if get_origin(hint) is Literal:
        return {_to_word(value): value for value in get_args(hint)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {_to_json(member): member for member in hint}
    return {}


def _type_name(hint: Any) -> str:
    """The annotation in words, as help texts and messages have it."""
    if choices := _choices(hint):
        return f"{{{','.join(choices)}}}"
    if _is_union(hint):
        return "|".join(map(_type_name, get_args(hint)))
    if get_origin(hint) in {tuple, list}:
        return ",".join("..." if part is ... else _type_name(part) for part in get_args(hint))
    return NONE if hint is type(None) else str(getattr(hint, "__name__", hint))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _help(field: Field[Any], default: Any) -> str:
    default_text = "" if default is MISSING else f" (default: {_to_word(_to_json(default))})"
    return f"{field.metadata.get('help', '')}{default_text}".replace("%", "%%")  # argparse formats it


def _options(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}

    def convert(word: str) -> Any:
        try:
            return _from_word(hint, word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    name = _type_name(hint)
    return {"type": convert, "metavar": name if _choices(hint) else name.upper()}


def _from_word(hint: Any, word: str) -> Any:
    """The value that a word on the command line stands for. Raises ValueError, saying why it stands for none."""
    if choices := _choices(hint):
        if word not in choices:
            raise ValueError(f"invalid choice: {word!r} (choose from {', '.join(choices)})")
        return choices[word]
    if _is_union(hint):
        if (text := _quoted_text(word)) is not None:
            return _first(hint, text, _from_json)
        return _first(hint, word, _from_word)
    if get_origin(hint) in {tuple, list}:
        return _sequence_from_word(hint, word)
    if hint is type(None) and word.lower() == NONE:
        return None
    try:
        value = BOOLS[word.lower()] if hint is bool else hint(word)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"invalid {_type_name(hint)} value: {word!r}") from error
    if problem := _limit(value):
        raise ValueError(f"invalid {_type_name(hint)} value: {word!r}: {problem}")
    return value


def _quoted_text(word: str) -> str | None:
    """The text in a word that is a JSON string with its quotes; None for another word."""
    if not (word.startswith('"') and word.endswith('"')):
        return None
    try:
        text = json.loads(word)
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _first(hint: Any, value: Any, convert: Any) -> Any:
    """`value` as the first member of a union that takes it: its own type before others, text last."""
    for member in sorted(get_args(hint), key=lambda each: (each in {str, Path}, each is not type(value))):
        try:
            return convert(member, value)
        except ValueError:
            continue
    raise ValueError(f"invalid {_type_name(hint)} value: {value!r}")


def _sequence_from_word(hint: Any, word: str) -> Any:
    if word.startswith("[") and word.endswith("]"):
        try:
            return _from_json(hint, json.loads(word))
        except (ValueError, RecursionError):
            word = word[1:-1]
    return _sequence(hint, word.split(",") if word else [], _from_word)


def _sequence(hint: Any, parts: Sequence[Any], convert: Any) -> Any:
    """The tuple or list of `parts`, each converted as its place in the annotation says."""
    kinds = get_args(hint)
    if get_origin(hint) is list or kinds[1:] == (...,):
        kinds = (kinds[0],) * len(parts)
    if len(kinds) != len(parts):
        raise ValueError(f"{len(parts)} values, expected {len(kinds)}: {_type_name(hint)}")
    return get_origin(hint)(convert(kind, part) for kind, part in zip(kinds, parts, strict=True))


def _from_json(hint: Any, value: Any) -> Any:
    """The value that JSON text stands for. Raises ValueError, saying why it stands for none."""
    if choices := _choices(hint):
        members = choices if get_origin(hint) is Literal else {word: word for word in choices}
        for word, member in members.items():
            if member == value and type(member) is type(value):
                return choices[word]
        raise ValueError(f"invalid choice: {value!r} (choose from {', '.join(choices)})")
    if _is_union(hint):
        return _first(hint, value, _from_json)
    if get_origin(hint) in {tuple, list} and isinstance(value, list | tuple):
        return _sequence(hint, value, _from_json)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and type(value) is int and abs(value) < INT_LIMIT:
        value = float(value)
    if get_origin(hint) or type(value) is not hint:
        raise ValueError(f"invalid {_type_name(hint)} value: {value!r}")
    if problem := _limit(value):
        raise ValueError(f"invalid {_type_name(hint)} value: {value!r}: {problem}")
    return value


def _limit(value: Any) -> str:
    """Why a receipt can't have this number; empty for one that it can have, and for other values."""
    if isinstance(value, float) and not math.isfinite(value):
        return "give a finite number"
    if isinstance(value, int) and not -INT_LIMIT <= value < INT_LIMIT:
        return "give a number of at most 64 bits"
    return ""


def _to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value.value) if isinstance(value.value, str) else value.name
    if isinstance(value, tuple | list):
        return [_to_json(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _to_word(value: Any) -> str:
    """A JSON value as a word on the command line."""
    if value is None:
        return NONE
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


def _word_of(hint: Any, value: Any) -> str:
    """The word that stands for a JSON value; text that would be read as something else is in quotes."""
    word = _to_word(value)
    if not (isinstance(value, str) and hint is not None and _is_union(hint)):
        return word
    try:
        same = _to_json(_from_word(hint, word)) == value
    except ValueError:
        return word
    return word if same else json.dumps(value, ensure_ascii=False)


def _unknown(word: str, flags: list[str]) -> str:
    near = difflib.get_close_matches(word.partition("=")[0], flags, n=1)
    return f"unknown setting {word}; " + (f"did you mean {near[0]}?" if near else "see --help for those there are")
