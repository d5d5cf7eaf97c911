"""The runs in runs/, as their folders tell of them; one that is damaged stands there as damaged.

Runs are in the order in which they were made in this `runs/`, whatever a clock said and a folder is called: each
receipt has a `sequence`, one more than that of the run before it, and the `checkout` whose runs are counted. A run
that was copied from another checkout, or is older than the numbers, comes before all of them, by its `started`.
"""

import difflib
import json
import os
import re
import secrets
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import file_lock, files, heartbeat, make_command, untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.runs import metrics
from samebench.runs.receipt import type_problem

RUNS = Path("runs")
NAME = re.compile(r"\d{8}-\d{6}-[a-z]{4}")
COUNTER = ".sequence"  # in runs/: the checkout's number, and the sequence of the run made last
COLUMNS = ("run", "project", "state", "seconds", "started", "commit", "data_version", "sequence", "reproduces")
TEXTS = ("run", "project", "started", "data_version", "weights_sha256", "job", "checkout", "reproduces")
TYPES: Mapping[str, type] = {
    "settings": dict,
    "code": dict,
    "listings": dict,
    "metrics": dict,
    **dict.fromkeys(TEXTS, str),
}
STATES = ("running", "interrupted", "done", "failed")
FROM_ELSEWHERE, MADE_HERE, WITHOUT_RECEIPT = range(3)  # groups of runs, in their order
CLOCK_TOLERANCE = timedelta(minutes=5)  # how far the clocks of two machines may be apart
LINK = "a symbolic link, which could lead anywhere"
DIED_EARLY = "died before its first receipt"
UNCOMMITTED = "uncommitted.diff"  # in a run's folder: what was changed since the commit
MOST_NAMED = 3  # damaged runs that are named one by one


class DamagedRunError(Exception):
    """The receipt can't be read, or is none; the message says in a few words why."""


@dataclass(frozen=True)
class Record:
    """One run; of a damaged one only its folder and what is wrong with it."""

    directory: Path
    state: str  # one of STATES, or damaged
    receipt: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""
    died_early: bool = False  # damaged, and its training has left nothing but the lock: there is nothing to lose
    order: tuple[int, int, str, str] = (FROM_ELSEWHERE, 0, "", "")  # the run that was made last has the highest

    @property
    def name(self) -> str:
        """That of its folder, by which it is asked for."""
        return self.directory.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was trained with, as far as its receipt tells."""
        settings: Mapping[str, Any] = self.receipt.get("settings", {})
        return settings

    @property
    def reproduces(self) -> str:
        """The run that `make reproduce` has trained again as this one; empty for an ordinary run."""
        return str(self.receipt.get("reproduces", ""))

    @property
    def project(self) -> str:
        """The package that was trained; empty if the receipt does not say it."""
        return str(self.receipt.get("project", ""))

    def value(self, name: str) -> Any:
        """What stands in a column or setting of this name; None where there is nothing."""
        columns = {"run": self.name, "state": self.state, "commit": self.receipt.get("code", {}).get("commit")}
        if name in COLUMNS:
            return columns.get(name, self.receipt.get(name))
        if name.startswith(("validation_", "test_")):
            return metrics.figures(self.receipt).get(name)
        return self.settings.get(name)


def find(home: Path = RUNS) -> list[Record]:
    """All runs in `home`, the one made last first: folders with a receipt, or with the name of a run.

    Those without a readable receipt come before the others.
    """
    checkout, _ = _counter(home)
    records = [read(path, checkout=checkout) for path in home.iterdir() if _is_run(path)] if home.is_dir() else []
    return sorted(records, key=lambda record: record.order, reverse=True)


def read(directory: Path, *, checkout: str | None = None) -> Record:
    """The run in `directory`: who says `running` and is not at work was interrupted.

    Without `checkout`, the number of the checkout is read from the folder around `directory`.
    """
    nowhere = (WITHOUT_RECEIPT, 0, "", directory.name)
    try:
        receipt = _receipt(directory)
    except DamagedRunError as error:
        # One that has just begun holds its lock before it has a receipt.
        has_none = not directory.is_symlink() and not os.path.lexists(directory / "receipt.json")
        if has_none and file_lock.is_locked(directory):
            return Record(directory, "running", order=nowhere)
        if has_no_work(directory) and file_lock.is_locked(directory) is False:
            return Record(directory, "damaged", damage=DIED_EARLY, died_early=True, order=nowhere)
        return Record(directory, "damaged", damage=str(error), order=nowhere)
    if checkout is None:
        checkout, _ = _counter(directory.parent)
    is_orphan = receipt["state"] == "running" and file_lock.is_locked(directory) is False
    state = "interrupted" if is_orphan else receipt["state"]
    return Record(directory, state, receipt, order=_order(directory, receipt, checkout))


def has_no_work(directory: Path) -> bool:
    """Whether a training has locked `directory`, and has written nothing of its work there: no receipt, no weights."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    with os.scandir(directory) as iterator:
        entries = list(iterator)
    own_files = {file_lock.LOCK, heartbeat.FILE, UNCOMMITTED}
    return file_lock.LOCK in {entry.name for entry in entries} and all(
        entry.is_file(follow_symlinks=False) and (entry.name in own_files or files.TEMPORARY.fullmatch(entry.name))
        for entry in entries
    )


def _order(directory: Path, receipt: Mapping[str, Any], checkout: str) -> tuple[int, int, str, str]:
    """The key by which runs are sorted. The number of another checkout says nothing here."""
    started = receipt.get("started", "")
    if checkout and receipt.get("checkout") == checkout:
        return MADE_HERE, receipt.get("sequence", 0), started, directory.name
    return FROM_ELSEWHERE, 0, started, directory.name


def ordinary(records: Iterable[Record], *, of_every_project: bool = False) -> list[Record]:
    """The runs that can be chosen without a name: of the project on the bench, not damaged, and no reproductions."""
    chosen = [record for record in records if record.state != "damaged" and not record.reproduces]
    return [record for record in chosen if of_every_project or record.project in {"", project.name()}]


def candidates(home: Path = RUNS) -> list[Record]:
    """The runs in `home` that a command takes without a name, the one made last first.

    It names on standard error each damaged run, and the run made last if its clock was wrong.
    """
    records = find(home)
    with_receipt = [record for record in ordinary(records) if record.receipt]
    if os.environ.get("RANK", "0") == "0":
        damaged = [record for record in records if record.state == "damaged"]
        for record in damaged[:MOST_NAMED]:
            print(printable(f"{record.directory}: {record.damage}; passed over"), file=sys.stderr)
        if len(damaged) > MOST_NAMED:
            print(f"{len(damaged) - MOST_NAMED} more damaged runs in {home} are passed over", file=sys.stderr)
        for record in with_receipt[:1]:
            warn_of_clock(record)
    return with_receipt


def warn_of_clock(record: Record) -> None:
    """Say on standard error that a run has a start in the future, if it has one."""
    started = record.receipt.get("started", "")
    try:
        at = datetime.strptime(started, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return
    if at > datetime.now(UTC) + CLOCK_TOLERANCE:
        message = f"{record.directory}: started {started}, which is in the future: a clock was wrong"
        print(printable(f"{message}; runs are in the order in which they were made here"), file=sys.stderr)


@contextmanager
def next_in_sequence(home: Path) -> Iterator[dict[str, Any]]:
    """Give `sequence` and `checkout` for a receipt that is written inside the block; other runs wait for its end.

    The number is higher than that of any run ever made in `home`. A killed process leaves a number without a run at
    most. Raises OSError where `home` can't be written.
    """
    with file_lock.exclusive(home):  # no file of one user's, which another user of the same folder could not open
        _remove_unfinished(home)
        checkout, last = _counter(home)
        here = [record.order[1] for record in find(home) if record.order[0] == MADE_HERE]
        facts = {"sequence": max([last, *here]) + 1, "checkout": checkout or secrets.token_hex(8)}
        files.write(home / COUNTER, json.dumps(facts).encode())
        yield facts


def sweep(home: Path) -> None:
    """Remove from `home` what a training has left that was killed while it counted its run."""
    if any(home.glob(f".{COUNTER}.*")):
        with file_lock.exclusive(home):
            _remove_unfinished(home)


def _remove_unfinished(home: Path) -> None:
    for path in home.glob(f".{COUNTER}.*"):
        path.unlink(missing_ok=True)


def _counter(home: Path) -> tuple[str, int]:
    """The number of the checkout that `home` is in and the last sequence; empty and 0 if no run was counted yet."""
    try:
        facts = untrusted.read_json(home / COUNTER)
    except (OSError, UsageError):
        return "", 0
    checkout, last = facts.get("checkout"), facts.get("sequence")
    if not isinstance(checkout, str) or not isinstance(last, int):
        return "", 0
    return checkout, max(last, 0)


def best(records: Iterable[Record]) -> list[Record]:
    """Of each project and version of data the done run with the best validation figure; test figures don't decide.

    Of equal ones it is the one with the better next metric, then the one made later. Validation figures compare on the
    same validation data alone, and reproductions of other runs don't take part.
    """
    top: dict[object, Record] = {}
    for record in ordinary(records, of_every_project=True):
        if record.state == "done" and metrics.rank(record.receipt):
            key = (record.project, record.value("data_version"))
            top[key] = max(top.setdefault(key, record), record, key=_rank)
    return list(top.values())


def _rank(record: Record) -> tuple[tuple[float, ...], tuple[int, int, str, str]]:
    return metrics.rank(record.receipt), record.order


def folder(name: str, home: Path = RUNS) -> Path:
    """Where the run that a user names lies: a folder, or what it is called in `home`; as it is where there is none."""
    return next((path for path in (Path(name), home / name) if _is_run(path)), Path(name))


def find_or_newest(name: str, home: Path = RUNS) -> Record:
    """The run that `name`, a folder or what it is called in `home`, says; the one made last where it says nothing.

    Raises UsageError where there is none.
    """
    if not name:
        if not (runs := candidates(home)):
            raise UsageError(f"{home}: no runs yet; {make_command.make('train')}, or name a run")
        return runs[0]
    if _is_run(path := folder(name, home)):
        return read(path)
    close = difflib.get_close_matches(name, [each.name for each in find(home)], n=1)
    hint = f"did you mean {close[0]}?" if close else "make runs lists those there are"
    raise UsageError(f"RUN={name}: no run; {hint}")


def nearest(word: str, names: Collection[str]) -> str:
    """What to say to who got a name wrong."""
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none'}"


def check_is_no_link(directory: Path) -> None:
    """Raise UsageError if the folder of a run is a symbolic link: what is written into it would lie anywhere."""
    if directory.is_symlink():
        raise UsageError(f"{directory}: {LINK}; name the folder that it leads to, or put the folder in its place")


def _is_run(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    return bool(NAME.fullmatch(path.name)) or os.path.lexists(path / "receipt.json")


def _receipt(directory: Path) -> dict[str, Any]:
    """What the receipt of a run says. Raises DamagedRunError."""
    if directory.is_symlink():
        raise DamagedRunError(LINK)
    path = directory / "receipt.json"
    try:
        receipt = untrusted.read_json(path)
    except OSError as error:
        raise DamagedRunError(f"receipt.json: {error.strerror}") from error
    except UsageError as refusal:
        raise DamagedRunError(f"receipt.json: {str(refusal).removeprefix(f'{path}: ')}") from refusal
    _check(receipt)
    if problem := type_problem(receipt):
        raise DamagedRunError(problem)
    return receipt


def _check(receipt: Mapping[str, Any]) -> None:
    """Raise DamagedRunError, naming the first thing that is not as in a receipt; what is missing was not known then."""
    if receipt.get("state") not in STATES:
        raise DamagedRunError(f"state is {_shorten(receipt.get('state'))}, not one of {', '.join(STATES)}")
    for name, kind in TYPES.items():
        if not isinstance(receipt.get(name, kind()), kind):
            raise DamagedRunError(f"{name} is {_shorten(receipt[name])}, not {'text' if kind is str else 'an object'}")
    for name in ("resumed", "history"):
        entries = receipt.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise DamagedRunError(f"{name} is {_shorten(entries)}, not a list of objects")
    if not _is_count(receipt.get("sequence", 0)):
        raise DamagedRunError(f"sequence is {_shorten(receipt['sequence'])}, not a number from 0 on")
    commit = receipt.get("code", {}).get("commit")
    if not isinstance(commit, str | None):
        raise DamagedRunError(f"code.commit is {_shorten(commit)}, not text")
    try:
        metrics.figures(receipt)
    except ValueError as error:
        raise DamagedRunError(str(error)) from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shorten(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 20 else f"{text[:19]}…"
