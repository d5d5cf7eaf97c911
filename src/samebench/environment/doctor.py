"""Whether this environment is what it is said to be. `make doctor` runs it and shows what it says (host/doctor.py).

    python -m samebench.environment.doctor    against the locks, and what the image was built with or RECORDs; the data
    … --with FILE                             against a teammate's fingerprint

One finding a line, as a list in JSON: status (ok, warning, failure, remark), name, what was found, what was expected,
and the command that mends it. Nothing is changed.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from samebench import project
from samebench.core import command, files, untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data.listing import read as read_listing
from samebench.environment import determinism, fingerprint

ROOT = fingerprint.ROOT
MANY = 8  # lines of one kind; after them only their number
KINDS = {
    "interpreter": "interpreter",
    "os_packages": "OS packages",
    "wheels": "wheels",
    "loose": "files of no wheel",
    "variables": "variables",
    "torch": "torch",
    "input": "locks and Dockerfile",
}
CALLED = ("expected", "found")


class Finding(NamedTuple):
    """One line of the doctor's."""

    status: str
    name: str
    found: str
    expected: str = ""
    mend: str = ""


def findings(now: Mapping[str, Any], *, reference: Mapping[str, Any] | None, root: Path = ROOT) -> Iterator[Finding]:
    """Hold the fingerprint `now` against the checkout's locks and against the image's own, `reference`, or RECORDs."""
    same, flavour = now["same"], _flavour(reference)
    runtime, image = os.environ.get("SAMEBENCH_RUNTIME"), now["machine"]["image"]
    yield Finding("ok", "environment", f"{runtime or 'where we are'}, {image or Path(sys.prefix).name}")
    yield from _against_locks(same, flavour, root)
    yield from _against_expected(same, reference)
    yield _torch_build(same["torch"], flavour)
    yield _cpu(now["machine"], same["variables"])
    yield from data(root)


def drift(now: Mapping[str, Any], *, reference: Mapping[str, Any] | None, root: Path = ROOT) -> list[str]:
    """A line for each thing installed or set that is not as the locks and the image, or RECORDs, say."""
    same = now["same"]
    every = [*_against_locks(same, _flavour(reference), root), *_against_expected(same, reference)]
    return [
        f"{each.name}: {each.found}{f', expected {each.expected}' if each.expected else ''}"
        for each in every
        if each.status == "failure"
    ]


def _flavour(reference: Mapping[str, Any] | None) -> str:
    """The workspace that this is meant to be, whatever is installed: cpu or gpu."""
    of_image = "docker/gpu.lock" in reference["same"]["input"] if reference else False
    return "gpu" if of_image or sys.prefix.endswith("-gpu") else "cpu"


def _remedy() -> str:
    """How this environment is made anew."""
    runtime = os.environ.get("SAMEBENCH_RUNTIME")
    if sys.prefix == fingerprint.IMAGE:
        return "make build" if runtime else "make build, outside (in an editor: Rebuild Container)"
    return f"rm -rf {Path(sys.prefix).name}, and any make command"


# ---- locks ----


def read_lock(path: Path) -> dict[str, str]:
    """The version of every package that a lock asks for on this machine."""
    lines = re.findall(r"^([a-z0-9].*?) *\\?$", path.read_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {
        each.name: str(each.specifier).lstrip("=") for each in requirements if not each.marker or each.marker.evaluate()
    }


def _against_locks(same: Mapping[str, Any], flavour: str, root: Path) -> Iterator[Finding]:
    locked: dict[str, tuple[str, str]] = {}
    for name in ("requirements.lock", f"docker/{flavour}.lock"):
        locked |= {package: (version, name) for package, version in read_lock(root / name).items()}
    bad = []
    for name in sorted({*locked, *same["wheels"]}):
        version, lock = locked.get(name, ("", "none"))
        installed = same["wheels"].get(name, {}).get("version", "nothing")
        if installed != version:
            expected = f"{version} by {lock}" if version else "in no lock"
            bad.append(Finding("failure", f"wheel {name}", installed, expected, _remedy()))
    yield from (
        _limit(bad) if bad else [Finding("ok", "wheels against the locks", f"{len(locked)}, all in their versions")]
    )


# ---- the image's own fingerprint, or what RECORDs say ----


def _against_expected(same: Mapping[str, Any], reference: Mapping[str, Any] | None) -> Iterator[Finding]:
    then = reference["same"] if reference else _by_records(same)
    source = "in the image at its build" if reference else "when it was set up"
    if reference is None and sys.prefix == fingerprint.IMAGE:
        yield Finding("warning", "fingerprint", "none in this image", "one from its build", _remedy())
    for kind, label in ((kind, label) for kind, label in KINDS.items() if kind in then):
        lines = fingerprint.differences({"same": {kind: then[kind]}}, {"same": {kind: same[kind]}}, called=CALLED)
        if kind == "wheels":  # what is only in another version was held against the locks
            lines = [line for line in lines if not line.endswith(CALLED[1])]
        bad = [_failure(line, _remedy_for(kind, line, then)) for line in lines]
        yield from _limit(bad) if bad else [Finding("ok", label, f"{_count(same[kind])} as {source}")]


def _failure(line: str, mend: str = "") -> Finding:
    name, _, actual = line.partition(": ")
    return Finding("failure", name, actual, mend=mend)


def _by_records(same: Mapping[str, Any]) -> dict[str, Any]:
    """What would be found here if nothing had been changed since it was installed; variables as the images set them."""
    wheels = {name: {"version": wheel["version"], "sha256": wheel["sha256"]} for name, wheel in same["wheels"].items()}
    interpreter = {**same["interpreter"], "optimize": 0, "hash_randomization": 1, **_installed_for()}
    variables = {**determinism.CPU_LEVEL, **determinism.CUBLAS}
    return {"interpreter": interpreter, "wheels": wheels, "loose": {}, "variables": variables}


def _installed_for() -> dict[str, str]:
    """The version of Python that the virtual environment was made with, as it says itself."""
    settings = Path(sys.prefix, "pyvenv.cfg")
    text = settings.read_text() if settings.is_file() else ""
    match = re.search(r"^version(?:_info)? *= *([0-9.]+)$", text, re.MULTILINE)
    return {"version": match[1]} if match else {}


def _remedy_for(kind: str, line: str, then: Mapping[str, Any]) -> str:
    name = line.partition(":")[0].rpartition(" ")[2]
    if kind == "variables":
        return f"export {name}={then[kind][name]}" if name in then[kind] else f"unset {name}"
    if kind == "interpreter":
        return "unset PYTHONOPTIMIZE PYTHONHASHSEED" if "version" not in line else _remedy()
    return _remedy()


def _count(facts: Mapping[str, Any]) -> str:
    return facts["version"] if "version" in facts else str(len(facts))


def _limit(bad: Sequence[Finding]) -> Iterator[Finding]:
    yield from bad[:MANY]
    if more := len(bad) - MANY:
        yield from [Finding("failure", "more", f"{more} more of these", mend=bad[-1].mend)] if more > 0 else []


def _torch_build(torch: Mapping[str, Any], flavour: str) -> Finding:
    build = f"{torch.get('version', 'none')} for {'CUDA ' + torch['cuda'] if torch.get('cuda') else 'the CPU'}"
    if torch and bool(torch["cuda"]) == (flavour == "gpu"):
        return Finding("ok", "torch build", build)
    expected = f"a build for {'CUDA' if flavour == 'gpu' else 'the CPU'}, by docker/{flavour}.lock"
    return Finding("failure", "torch build", build, expected, _remedy())


def _cpu(machine: Mapping[str, Any], variables: Mapping[str, str]) -> Finding:
    threads = f"{machine['cores']} cores, {variables.get('OMP_NUM_THREADS', 'one')} thread an operation"
    text = f"{machine['cpu']}, {threads}"
    if determinism.cpu_level_variables(fast=False) and not machine["avx2"]:
        return Finding(
            "failure", "CPU level", f"{text}, no AVX2", "AVX2", "FAST=1, which promises nothing, or another machine"
        )
    return Finding("ok", "CPU level", f"{text}, {'AVX2' if machine['avx2'] else platform.machine()}")


# ---- data ----


def data(root: Path = ROOT) -> Iterator[Finding]:
    """Hold every file of data/*.sha256, which lists those of a folder of its name or of DATA, against its hash."""
    data_folder = os.environ.get("DATA", "")
    is_unused = bool(data_folder) and Path(data_folder).is_dir()
    for listing in sorted((root / "data").glob("*.sha256")):
        folder = listing.with_suffix("")
        try:
            listed = read_listing(listing)
            for name in listed:
                untrusted.path_inside(folder, name, where=listing.name)
        except UsageError as reason:
            actual, _, remedy = str(reason).partition("; ")
            yield Finding("failure", f"data {listing.stem}", actual, "", remedy)
            continue
        if data_folder and any(Path(data_folder, name).exists() for name in listed):
            folder, is_unused = Path(data_folder), False
        fetch = f"make data DATASET={listing.stem}"
        if not any((folder / name).exists() for name in listed):
            if listing.stem in project.datasets_of_others():
                continue
            yield Finding("warning", f"data {listing.stem}", "not there yet", f"{len(listed)} files", fetch)
            continue
        bad = [each for name, sha256 in listed.items() for each in _file(listing.stem, folder / name, sha256)]
        yield from bad or [Finding("ok", f"data {listing.stem}", f"{len(listed)} files, all by their hashes")]
    if is_unused:
        yield Finding(
            "warning", f"DATA={data_folder}", "no file there", "those of a set of data/", "give the folder of its files"
        )


def _file(stem: str, path: Path, sha256: str) -> Iterator[Finding]:
    name = f"data {stem}/{path.name}"
    if not path.exists():
        yield Finding("failure", name, "missing", f"sha256 {sha256[:12]}", f"make data DATASET={stem}")
    elif (actual := files.digest(path)) != sha256:
        yield Finding("failure", name, f"sha256 {actual[:12]}", f"sha256 {sha256[:12]}", f"make data DATASET={stem}")


# ---- a teammate's ----


def compare(other: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what differs between a teammate's fingerprint and this environment's; of the machines it is a remark."""
    for among, status in (("same", "failure"), ("machine", "remark")):
        if among in other:
            for line in fingerprint.differences(other, now, among=among, called=("there", "here")):
                yield _failure(line)._replace(status=status)
    if other["sha256"] == now["sha256"]:
        yield Finding("ok", "fingerprint", f"{now['sha256'][:12]} here and there")


def read(path: Path) -> dict[str, Any]:
    """A teammate's fingerprint. Raises UsageError where it is none, or where somebody has edited it."""
    remedy = "give what `make fingerprint` has printed"
    try:
        document = _document(path, remedy)
        if document["format"] != fingerprint.FORMAT:
            raise UsageError(
                f"{path}: format {document['format']}, expected {fingerprint.FORMAT}; {remedy} in this version"
            )
        _check_shape(document)
        actual = fingerprint.digest(document["same"])
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {remedy}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: not a fingerprint; {remedy}") from error
    if actual != document["sha256"]:
        hashes = f"its sha256 is {str(document['sha256'])[:12]} and that of its content {actual[:12]}"
        raise UsageError(f"{path}: edited, {hashes}; {remedy}")
    return dict(document)


def _document(path: Path, remedy: str) -> dict[str, Any]:
    try:
        return untrusted.read_json(path)
    except UsageError as error:
        raise UsageError(f"{path}: not a fingerprint; {remedy}") from error


def _check_shape(document: Mapping[str, Any]) -> None:
    """Raise ValueError, or what Python raises, where its parts lack the types that a comparison takes for granted."""
    same, machine, wheels = document["same"], document.get("machine", {}), document["same"].get("wheels", {})
    facts = [each for kind, group in same.items() if kind != "wheels" for each in group.values()]
    facts += [each for fact in machine.values() for each in (fact if isinstance(fact, list) else [fact])]
    lists = [wheel.get(key, []) for wheel in wheels.values() for key in ("altered", "missing")]
    texts = [document["sha256"], *(wheel[key] for wheel in wheels.values() for key in ("version", "sha256"))]
    texts += [name for each in lists for name in each]
    are_facts = all(isinstance(each, str | int | None) for each in facts)
    are_lists = all(isinstance(each, list) for each in lists)
    if not (same.keys() <= KINDS.keys() and are_facts and are_lists and all(isinstance(each, str) for each in texts)):
        raise ValueError("another shape")


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if argv and (len(argv) != 2 or argv[0] != "--with"):
        raise UsageError("usage: python -m samebench.environment.doctor [--with FILE]")
    other = read(Path(argv[1])) if argv else None
    now = fingerprint.fingerprint()
    for finding in findings(now, reference=fingerprint.image_fingerprint()) if other is None else compare(other, now):
        print(json.dumps([printable(" ".join(text.split())) for text in finding]), flush=True)


if __name__ == "__main__":
    command.run(main)
