"""A grid of settings, and which of its points a run has been made of."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from samebench.core import files, flags
from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.data.source import Source, is_generated
from samebench.environment import accelerator
from samebench.runs import receipt
from samebench.runs.records import Record, ordinary, read
from samebench.settings import TrainingSettings

# A run is that of a point if all of these are the same in its receipt. In addition the listings of the point are
# compared, which tell the version of its data: another data set decides nothing.
COMPARED = ("settings", "code.source", "locks", "device")
STATES = ("done", "running", "interrupted")  # of several runs of a point the first of these counts
EXAMPLE = 'give settings with their values, such as GRID="lr=0.05,0.1 network=conv,linear"'


@dataclass(frozen=True)
class Point:
    """One training of the grid: what it is called, all its settings, also as flags, and the run that it has, if any."""

    name: str
    cli_args: list[str]
    settings: Mapping[str, Any]  # as a receipt holds them
    listings: Sequence[str] = ()  # what is compared of a receipt's listings
    run: Record | None = None

    @property
    def key(self) -> str:
        """A short name that all sweeps give to a point with these settings."""
        content = json.dumps([self.settings, accelerator.gpu_requested()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def state(self) -> str:
        """That of its run; empty where it has none."""
        return self.run.state if self.run else ""


def points(kind: type[Any], grid: str, words: Sequence[str]) -> list[Point]:
    """A point for each combination of values, the last setting changing fastest, on top of the flags `words`.

    Raises UsageError for a grid that is none, an unknown setting, an impossible value or a training that is there
    twice.
    """
    axes = [(name, split_values(values)) for name, _, values in (part.partition("=") for part in grid.split())]
    if not axes or not all(name and all(values) for name, values in axes):
        raise UsageError(f"GRID={grid}: {EXAMPLE}")
    if twice := next((name for place, (name, _) in enumerate(axes) if name in dict(axes[:place])), ""):
        raise UsageError(f"GRID={grid}: {twice} is there twice; give its values once, as {twice}=1,2")
    result: list[Point] = []
    hints = get_type_hints(kind)
    for values in itertools.product(*(values for _, values in axes)):
        combination = list(zip([name for name, _ in axes], values, strict=True))
        grid_flags = [flags.to_flag(name, value, hint=hints.get(name)) for name, value in combination]
        settings = flags.parse(kind, [*words, *grid_flags], program="make sweep", about="Settings of the training.")
        settings_dict = flags.to_dict(settings)
        every = flags.to_flags(kind, settings_dict)  # so that no default is another there
        point = Point(
            " ".join(f"{name}={value}" for name, value in combination), every, settings_dict, _listings(settings)
        )
        if twin := next((each for each in result if each.settings == settings_dict), None):
            raise UsageError(f"GRID={grid}: {twin.name} and {point.name} are the same training; leave one out")
        result.append(point)
    return result


def split_values(text: str) -> list[str]:
    """The values that commas separate; commas in square brackets separate the parts of one value."""
    values, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth <= 0:
            values.append("")
        else:
            values[-1] += letter
    return values


def _listings(settings: object) -> Sequence[str]:
    """The files in git that name the version of its data: a sweep compares no others."""
    if not isinstance(settings, TrainingSettings):
        return ()
    source = Source.of(settings.data)
    return [] if is_generated(source.name) else [f"listings.data/{source.name}.sha256"]


def match_runs(planned: Sequence[Point], runs: Sequence[Record]) -> list[Point]:
    """The points, each with the run that was made of it, if any: a done one before one that is not.

    A reproduction of a run is that of no point.
    """
    runs = ordinary(runs)
    inputs = {"code": {"source": receipt.sources()}, "listings": receipt.listings()}
    return [replace(point, run=_run(point, runs, inputs)) for point in planned]


def _run(point: Point, runs: Sequence[Record], inputs: Mapping[str, Any]) -> Record | None:
    same = [record for record in runs if record.settings == point.settings and _has_same_inputs(record, point, inputs)]
    return next((record for state in STATES for record in same if record.state == state), None)


def _has_same_inputs(record: Record, point: Point, inputs: Mapping[str, Any]) -> bool:
    """Whether a training of this point would have the inputs of this run now, as it had from beginning to end."""
    locks, resumed = record.receipt.get("locks"), record.receipt.get("resumed", [])
    on_gpu = accelerator.gpu_requested() or point.settings.get("device") == "cuda"
    now = {
        **inputs,
        "settings": point.settings,
        "locks": {name: _digest(name) for name in locks} if isinstance(locks, dict) else {"none": "told"},
        "device": "cuda" if on_gpu else "cpu",
    }
    as_it_was = not any(each.get("changed") for each in resumed)
    compared = [*COMPARED, *point.listings]
    return as_it_was and _same_initial_weights(record) and not receipt.diff(record.receipt, now, fields=compared)


def _same_initial_weights(record: Record) -> bool:
    """Whether the run that this one was started from, if any, has the weights that it had then, where that is known."""
    if not isinstance(then := record.receipt.get("init"), dict):
        return True
    place = Path(str(record.settings.get("init")))
    now = read(place if place.is_dir() else place.parent).receipt.get("weights_sha256")
    return now in {None, then.get("weights_sha256")}


def _digest(name: str) -> str:
    path = ROOT / name
    return files.digest(path) if path.is_file() else ""
