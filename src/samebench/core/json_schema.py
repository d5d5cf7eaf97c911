"""A JSON schema's types and limits, checked without a library that takes a second to load."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from samebench.core.text import printable

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def problem(value: object, schema: Mapping[str, Any], place: str, *, root: Mapping[str, Any] | None = None) -> str:
    """Where a value is not of the type, or not within the limits, that a schema says; empty where it is.

    Looked at are type, enum, minimum, maximum, maxProperties, properties, additionalProperties, items and $ref into
    the $defs of `root`, the whole schema.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_has_type(value, each) for each in types):
        return f"{place} is {_format(value)}, not {' or '.join(types)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place} is {_format(value)}, not one of {', '.join(schema['enum'])}"
    if isinstance(value, int | float) and not _is_within(value, schema):
        return f"{place} is {_format(value)}, which is impossible"
    if isinstance(value, dict) and len(value) > schema.get("maxProperties", math.inf):
        return f"{place} has {len(value):,} entries, at most {schema['maxProperties']:,} are read"
    problems = (
        problem(each, inner, f"{place}.{name}", root=root) for name, each, inner in _parts(value, schema) if inner
    )
    return next(filter(None, problems), "")


def _parts(value: object, schema: Mapping[str, Any]) -> Iterator[tuple[str, object, Any]]:
    if isinstance(value, dict):
        properties, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, each in value.items():
            yield printable(name, longest=40), each, properties.get(name, other)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield str(number), each, schema.get("items", {})


def _has_type(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return name in TYPES and isinstance(value, TYPES[name])


def _is_within(value: float, schema: Mapping[str, Any]) -> bool:
    return not (value < schema.get("minimum", -math.inf) or value > schema.get("maximum", math.inf))


def _format(value: object) -> str:
    return printable(json.dumps(value)[:80], longest=40)
