"""The runs in runs/, as their folders tell of them; one that is damaged stands there as damaged."""

import difflib
import json
import math
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samebench import hold
from samebench.command import Refusal

RUNS = Path("runs")
NAME = re.compile(r"\d{8}-\d{6}-[a-z]{4}")
MOST = 16 << 20  # bytes; a receipt of ten thousand epochs has a tenth of it
FIGURES = ("validation_loss", "test_accuracy", "seconds")
COLUMNS = ("run", "state", *FIGURES, "started", "commit", "data_version")
TYPES = {"settings": dict, "code": dict, "run": str, "started": str, "data_version": str}
STATES = ("running", "interrupted", "done", "failed")


class Damaged(Exception):  # noqa: N818 - what the receipt is
    """The receipt can't be read, or is none; the message says in a few words why."""


@dataclass(frozen=True)
class Record:
    """One run; of a damaged one only its folder and what is wrong with it."""

    directory: Path
    state: str  # one of STATES, or damaged
    receipt: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""

    @property
    def name(self) -> str:
        """That of its folder, by which it is asked for."""
        return self.directory.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was trained with, as far as its receipt tells."""
        settings: Mapping[str, Any] = self.receipt.get("settings", {})
        return settings

    def value(self, name: str) -> Any:
        """What stands in a column or setting of this name; None where there is nothing."""
        own = {"run": self.name, "state": self.state, "commit": self.receipt.get("code", {}).get("commit")}
        if name in COLUMNS:
            return own.get(name, self.receipt.get(name))
        return self.settings.get(name)


def find(home: Path = RUNS) -> list[Record]:
    """All runs in `home`, the newest first: folders with a receipt, or with the name of a run."""
    paths = sorted(home.iterdir(), reverse=True) if home.is_dir() else []
    return [read(path) for path in paths if _is_run(path)]


def read(directory: Path) -> Record:
    """The run in `directory`: who says `running` and is not at work was interrupted."""
    try:
        receipt = _receipt(directory / "receipt.json")
    except Damaged as error:
        # One that has just begun holds its lock before it has a receipt.
        begins = not (directory / "receipt.json").exists() and hold.held(directory)
        return Record(directory, "running") if begins else Record(directory, "damaged", damage=str(error))
    left = receipt["state"] == "running" and hold.held(directory) is False
    return Record(directory, "interrupted" if left else receipt["state"], receipt)


def best(records: Iterable[Record]) -> list[Record]:
    """Of each version of data the run with the highest test accuracy; of equal ones the lower loss, then the newer.

    Test accuracies compare on the same test images alone.
    """
    top: dict[object, Record] = {}
    for record in records:
        if isinstance(record.value("test_accuracy"), int | float):
            known = top.setdefault(record.value("data_version"), record)
            top[record.value("data_version")] = max(known, record, key=_rank)
    return list(top.values())


def _rank(record: Record) -> tuple[float, float, str]:
    return record.value("test_accuracy"), -_loss(record), record.name


def folder(name: str, home: Path = RUNS) -> Path:
    """Where the run that a user names lies: a folder, or what it is called in `home`; as it is where there is none."""
    return next((path for path in (Path(name), home / name) if _is_run(path)), Path(name))


def pick(name: str, home: Path = RUNS) -> Record:
    """The run that `name`, a folder or what it is called in `home`, says; the newest where it says nothing.

    Raises Refusal where there is none.
    """
    if not name:
        if not (found := find(home)):
            raise Refusal(f"{home}: no runs yet; make train")
        return found[0]
    if _is_run(path := folder(name, home)):
        return read(path)
    near = difflib.get_close_matches(name, [each.name for each in find(home)], n=1)
    raise Refusal(f"RUN={name}: no run; {f'did you mean {near[0]}?' if near else 'make runs lists those there are'}")


def nearest(word: str, known: Collection[str]) -> str:
    """What to say to who got a name wrong."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"


def _is_run(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    receipt = path / "receipt.json"
    return bool(NAME.fullmatch(path.name)) or receipt.is_symlink() or receipt.exists()


def _receipt(path: Path) -> dict[str, Any]:
    """What a receipt says. Raises Damaged."""
    try:
        status = path.stat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= MOST else None
    except OSError as error:
        raise Damaged(f"receipt.json: {error.strerror}") from error
    if content is None:
        raise Damaged(f"receipt.json is no file of at most {MOST:,} bytes")
    try:
        receipt = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}") from error
    _check(receipt)
    return dict(receipt)


def _check(receipt: object) -> None:
    """Raise Damaged, naming the first thing that is not as in a receipt; what is missing was not known then."""
    if not isinstance(receipt, dict):
        raise Damaged("not an object")
    if receipt.get("state") not in STATES:
        raise Damaged(f"state is {_told(receipt.get('state'))}, not one of {', '.join(STATES)}")
    for name, kind in TYPES.items():
        if not isinstance(receipt.get(name, kind()), kind):
            raise Damaged(f"{name} is {_told(receipt[name])}, not {'text' if kind is str else 'an object'}")
    resumed = receipt.get("resumed", [])
    if not isinstance(resumed, list) or not all(isinstance(each, dict) for each in resumed):
        raise Damaged(f"resumed is {_told(resumed)}, not a list of objects")
    commit = receipt.get("code", {}).get("commit")
    if not isinstance(commit, str | None):
        raise Damaged(f"code.commit is {_told(commit)}, not text")
    for name in FIGURES:
        if name in receipt and not _is_figure(receipt[name], most=1 if name == "test_accuracy" else math.inf):
            raise Damaged(f"{name} is {_told(receipt[name])}, not a number that it can be")


def _is_figure(value: object, *, most: float) -> bool:
    """Whether it is a number from 0 to `most`, or, where that is infinity, none: the loss of what has diverged."""
    if isinstance(value, float) and math.isnan(value):
        return most == math.inf
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most and _is_float(value)


def _is_float(value: float) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _told(value: object) -> str:
    said = json.dumps(value)
    return said if len(said) <= 20 else f"{said[:19]}…"


def _loss(record: Record) -> float:
    loss = record.value("validation_loss")
    return math.inf if loss is None or math.isnan(loss) else float(loss)
