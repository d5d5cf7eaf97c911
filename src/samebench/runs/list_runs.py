"""A table of the runs in runs/, the one made last first: what each changed, and what came out.

python -m samebench.runs.list_runs --sort validation_accuracy --filter "epochs>=5"
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from samebench import project
from samebench.core import command, flags, make_command, table
from samebench.core.text import printable
from samebench.runs import metrics, notes, records, selection
from samebench.runs.records import Record

TEXTS = ("changed", "note")
INPUTS_CHANGED_ON_RESUME = "more on the way"  # it was resumed with other inputs than it had begun with
# What a narrow terminal does without, before any metric but the first.
DROPPABLE = ("data_version", "commit", "seconds", "project")
BEST = "*"


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which runs, in which order, and for whom."""

    sort: str = field(default="", metadata={"help": "a column or setting, the highest first; -name: the lowest"})
    filter: str = field(default="", metadata={"help": "comparisons that must all hold: epochs>=5, network=conv"})
    json: bool = field(default=False, metadata={"help": "one document for machines"})


def settings_beside_defaults(record: Record, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that are not the defaults of its project, and those that the project no longer has.

    `usual` are the defaults of the project on the bench.
    """
    if record.project in project.others():
        usual = flags.defaults(project.settings_class(record.project))
    nothing = object()
    return {name: value for name, value in record.settings.items() if value != usual.get(name, nothing)}


def lines(runs: Sequence[Record], default_settings: Mapping[str, Any], *, first: Sequence[str] = ()) -> str:
    """The table of some runs, at least one.

    The best validation figure on each data is marked, and the `first` settings stand first.
    """
    top, columns = records.best(runs), metrics.columns(record.receipt for record in runs)
    rows = [row(record, default_settings, columns, mark=BEST if record in top else " ", first=first) for record in runs]
    if len({record.project for record in runs if record.receipt} - {""}) > 1:
        named = [printable(record.project or "-") for record in runs]
        rows = [{"run": each.pop("run"), "project": name, **each} for name, each in zip(named, rows, strict=True)]
    return table.render(
        rows,
        columns=table.terminal_width(),
        numbers={*columns, "seconds"},
        truncatable=TEXTS,
        droppable=(*DROPPABLE, *(column for column in columns[1:] if not column.startswith("test_"))),
    )


def document(runs: Sequence[Record], default_settings: Mapping[str, Any]) -> str:
    """The same as JSON: a list of objects, with the figures and hashes unshortened and every note."""
    top = records.best(runs)
    return json.dumps([_finite(_entry(record, default_settings, best=record in top)) for record in runs], indent=2)


def row(
    record: Record, usual: Mapping[str, Any], columns: Sequence[str], *, mark: str = "", first: Sequence[str] = ()
) -> dict[str, str]:
    """The cells of one run with these columns of metrics, of which none can steer a terminal."""
    other = settings_beside_defaults(record, usual)
    other = {name: other[name] for name in [*(name for name in first if name in other), *other]}
    texts = [" ".join(f"{name}={value}" for name, value in other.items())]
    if any(each.get("changed") for each in record.receipt.get("resumed", [])):
        texts.append(INPUTS_CHANGED_ON_RESUME)
    if record.reproduces:
        texts.append(f"reproduces {record.reproduces}")
    figures = {column: metrics.show(column, record.receipt) for column in columns}
    marked = next((column for column in columns if figures[column] != "-"), "")
    seconds = record.value("seconds")
    cells = {
        "run": record.name,
        "state": record.state,
        **{column: text + (mark if column == marked else "") for column, text in figures.items()},
        "seconds": "-" if seconds is None else f"{seconds:.1f}",
        "commit": _commit(record),
        "data_version": (record.value("data_version") or "-")[:8],
        "changed": ", ".join(filter(None, texts)) or "-",
        "note": "; ".join(part for part in (record.damage, _note(record)) if part),
    }
    return {name: printable(text) for name, text in cells.items()}


def _commit(record: Record) -> str:
    commit = record.value("commit")
    return f"{commit[:7]}{'+' if record.receipt['code'].get('dirty') else ''}" if commit else "-"


def _note(record: Record) -> str:
    """The first line of the newest note."""
    written = notes.read(record.directory)
    first, _, more = written[-1].text.strip().partition("\n") if written else ("", "", "")
    return f"{first} …" if more else first


def _finite(value: Any) -> Any:
    """The same, with None for each number that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _entry(record: Record, usual: Mapping[str, Any], *, best: bool) -> dict[str, Any]:
    return {
        **{name: record.value(name) for name in [*records.COLUMNS, *metrics.columns([record.receipt])]},
        "dirty": record.receipt.get("code", {}).get("dirty"),
        "best": best,
        "directory": str(record.directory),
        "settings": record.settings,
        "changed": settings_beside_defaults(record, usual),
        "notes": [asdict(note) for note in notes.read(record.directory)],
        "damage": record.damage or None,
    }


def main(argv: Sequence[str]) -> None:
    """List the runs that are asked for."""
    args = flags.parse(Args, argv, program="python -m samebench.runs.list_runs", about="A table of the runs.")
    usual = flags.defaults(project.settings_class())
    runs = records.find()
    names = selection.names(runs, usual)
    selected = selection.matching(runs, selection.comparisons(args.filter, names))
    selected = selection.ordered(selected, args.sort, names)
    for record in runs:
        records.warn_of_clock(record)
    if args.json:
        print(document(selected, usual))
    elif selected:
        print(lines(selected, usual))
    else:
        print(f"none of {len(runs)} runs" if runs else f"{records.RUNS}: no runs yet; {make_command.make('train')}")


if __name__ == "__main__":
    command.run(main)
