"""What a training was made of, and what has changed since.

What decides the result is compared; what the machine happened to be is told, and named only where nothing else is.
"""

import json
import os
import platform
import resource
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import files, flags, json_schema, untrusted
from samebench.core.command import UsageError
from samebench.core.git import GitError
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.environment import cores, determinism
from samebench.environment.fingerprint import origin, overlay
from samebench.runs import source_tree

SCHEMA = Path(__file__).with_name("receipt.schema.json")
LISTINGS = "data/*.sha256"

# Where a receipt keeps what decides the result, and what does not.
COMPARED = (
    *("settings", "data_version", "init", "code.source", "locks", "environment", "fingerprint", "cpu_level"),
    "overlay",
    *("device", "gpu"),
)
ADDED = ("fingerprint",)  # what older receipts lack: compared only where every receipt has it
MACHINE = ("machine", "precision", "processes")
LONGEST = 200  # characters of a name or a value in a line


def inputs() -> dict[str, Any]:
    """All that the bench knows of what decides a result; the project adds its settings and its data's version."""
    return {
        "code": code(),
        "listings": listings(),
        "locks": locks(),
        "environment": environment(),
        "cpu_level": {"torch": determinism.level(), **determinism.variables()},
        "machine": machine(),
        **({"overlay": packages} if (packages := overlay()) else {}),
    }


def code() -> dict[str, Any]:
    """The commit, whether anything is uncommitted (each None where git can't tell), and the SHA-256 of each source."""
    commit = dirty = None
    with suppress(GitError):
        commit = source_tree.commit(ROOT)
        dirty = source_tree.is_dirty(ROOT) if commit else None
    return {"commit": commit, "dirty": dirty, "source": sources()}


def sources() -> dict[str, str]:
    """The SHA-256 of each file below src/, without other projects. Raises UsageError for what can't be read."""
    others = tuple(f"src/{each}/" for each in project.others())
    return {name: sha256 for name, sha256 in source_tree.digests(ROOT).items() if not name.startswith(others)}


def listings() -> dict[str, str]:
    """The SHA-256 of each listing of a data set's files that git keeps: which versions the names stood for."""
    return _digests(LISTINGS)


def uncommitted() -> bytes:
    """What was changed since the commit, as `git apply` takes it; empty where git can't tell, as `notices` says."""
    with suppress(GitError):
        return source_tree.uncommitted(ROOT)
    return b""


def notices() -> list[str]:
    """Lines to print when a training starts: what a receipt and `uncommitted` do not hold of the checkout, and why."""
    try:
        return source_tree.notices(ROOT)
    except GitError as error:
        return [f"{error}; until then receipts have no commit, or not what was changed since"]


def locks() -> dict[str, str]:
    """The SHA-256 of each lock that this workspace is installed from."""
    import torch  # noqa: PLC0415 - only once the CPU level stands

    return _digests("requirements.lock", "docker/gpu.lock" if torch.version.cuda else "docker/cpu.lock")


def environment() -> dict[str, Any]:
    """The runtime, its image, what that was made of and by, the interpreter and torch's build."""
    import torch  # noqa: PLC0415 - only once the CPU level stands

    return {
        **origin(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": {"version": torch.__version__, "git": torch.version.git_version, "cuda": torch.version.cuda},
    }


def machine() -> dict[str, Any]:
    """What may differ between two machines that give the same weights. No host name: receipts are passed on."""
    import torch  # noqa: PLC0415 - only once the CPU level stands

    return {
        "cpu": determinism.chip(),
        "cores": cores.available_cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "torch_build": [line for line in _lines(torch.__config__.show()) if "Build settings" not in line],
        "torch_parallel": _lines(torch.__config__.parallel_info()),
    }


def peak_memory() -> int:
    """The most bytes this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def diff(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    fields: Collection[str] = COMPARED,
    exclude: Collection[str] = (),
    labels: tuple[str, str] = ("then", "now"),
) -> list[str]:
    """A line for each of these `fields` that differs, with both values and their `labels`."""
    differences = find_differences([then, now], fields=fields, exclude=exclude)
    names = {name: printable(name, longest=LONGEST) for name in differences}
    return [
        f"{names[name]}: {format_value(old)} {labels[0]}, {format_value(new)} {labels[1]}"
        for name, (old, new) in differences.items()
    ]


def find_differences(
    receipts: Sequence[Mapping[str, Any]], *, fields: Collection[str] = COMPARED, exclude: Collection[str] = ()
) -> dict[str, list[object]]:
    """Each of these `fields` that is not the same in all receipts, by name, with the value in each; None for none."""
    flat = [dict(_flat(_with_all_settings(each))) for each in receipts]
    absent = {name for name in ADDED if not all(each.get(name) for each in receipts)}
    rows = {
        name: [each.get(name) for each in flat]
        for name in sorted(set().union(*flat))
        if _is_under(name, fields) and not _is_under(name, {*exclude, *absent})
    }
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def format_value(value: object) -> str:
    """A value in a line: a hash is known by its beginning, and a long text is cut."""
    text = "nothing" if value is None else printable(value, longest=LONGEST)
    return text[:12] if len(text) == 64 else text


def read(path: Path) -> dict[str, Any]:
    """The receipt in a file, each value of the type and within the limits of receipt.schema.json.

    Older receipts lack some of them. Raises UsageError where it is no such JSON object.
    """
    receipt = untrusted.read_json(path)
    if problem := type_problem(receipt):
        raise UsageError(f"{path}: not a receipt, {problem}; take another")
    return receipt


def type_problem(receipt: Mapping[str, Any]) -> str:
    """Which value of a receipt is not of the type, or not within the limits, of the schema; empty where all are."""
    return json_schema.problem(receipt, json.loads(SCHEMA.read_bytes()), "receipt")


def check(receipt: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError, naming the first field of a receipt from `path` that is not as receipt.schema.json says."""
    import jsonschema  # noqa: PLC0415 - more than a second, for a grammar that we don't use

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    for error in validator.iter_errors(receipt):
        raise UsageError(f"{path}: not a whole receipt, at {error.json_path}: {error.message[:200]}; take another")


def _digests(*patterns: str) -> dict[str, str]:
    paths = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return {str(path.relative_to(ROOT)): files.digest(path) for path in paths}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _with_all_settings(receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same, with the default of each setting that the project did not have then."""
    settings = receipt.get("settings")
    if not isinstance(settings, Mapping) or receipt.get("project", project.name()) != project.name():
        return receipt
    return {**receipt, "settings": {**flags.defaults(project.settings_class()), **settings}}


def _flat(facts: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Each value by its full name; a list of texts or numbers is one value."""
    if isinstance(facts, Mapping) or (isinstance(facts, list) and any(isinstance(each, dict | list) for each in facts)):
        pairs = facts.items() if isinstance(facts, Mapping) else enumerate(facts)
        for key, value in pairs:
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, facts


def _is_under(name: str, places: Collection[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
