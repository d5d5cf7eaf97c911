"""What an import says of the files that it has read: a table of findings, and a line that counts them."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from samebench.tasks.image_classification import image_dataset, inspection
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_dataset import ImageDataset
from samebench.tasks.image_classification.image_sources import KEPT, LEFT_OUT, SYSTEM, Finding, Source, legible
from samebench.tasks.image_classification.picture_file import PICTURES

NAMED = {PICTURES, SYSTEM}  # kinds of findings of which the summary counts each format or name
FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet calculates


def missing(dataset: ImageDataset, sources: Sequence[Source]) -> Iterator[Finding]:
    """The classes of which nothing is left, or nothing in one of the parts."""
    for label in sorted({each.label for each in sources} - set(dataset.categories)):
        yield Finding("", label, "no picture of this class can be used", "the class is left out")
    parts = len(image_dataset.PARTS)
    counts = torch.bincount(dataset.labels * parts + dataset.parts, minlength=len(dataset.categories) * parts).view(
        -1, parts
    )
    for label, row in zip(dataset.categories, counts.tolist(), strict=True):
        for name, count in zip(image_dataset.PARTS, row, strict=True):
            if not count:
                yield Finding("", label, f"no {name} images: {sum(row)} in all", KEPT)


def suspicious(dataset: ImageDataset) -> Iterator[Finding]:
    """The images that look like another class."""
    split = Split(dataset.images, dataset.labels)
    votes = inspection.votes(split)
    places, others = inspection.suspects(split, votes)
    for place, other in zip(places.tolist(), others.tolist(), strict=True):
        label = dataset.categories[int(dataset.labels[place])]
        what = f"looks like another class: {dataset.categories[other]}, as {votes.shape[1]} of its neighbours are"
        yield Finding(dataset.names[place], label, what, KEPT)


def dumps(findings: Sequence[Finding]) -> bytes:
    """The findings as a table, in which a spreadsheet calculates nothing."""
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(Finding._fields)
    table.writerows([_cell(each) for each in finding] for finding in findings)
    return content.getvalue().encode()


def _cell(text: str) -> str:
    return f"'{legible(text)}" if text.startswith(FORMULA) else legible(text)


def summary(dataset: ImageDataset, findings: Sequence[Finding]) -> str:
    """In one line, what became of the pictures."""
    kinds = {done: [each for each in findings if each.done == done] for done in (LEFT_OUT, KEPT)}
    parts = [f"{done} {len(each):,} ({_counted(each)})" for done, each in kinds.items() if each]
    side, colour = dataset.preparation.side, "grey" if dataset.preparation.channels == 1 else "colour"
    sizes = ", ".join(f"{size:,} {name}" for name, size in dataset.sizes.items())
    version = dataset.to_data().version[:12]
    return (
        f"{len(dataset.images):,} {colour} images of {side}x{side} in {len(dataset.categories)} categories ({sizes}), "
        f"version {version}; {'; '.join(parts) or 'nothing to complain of'}"
    )


def describe_refused(refused: Sequence[Finding], source: str) -> str:
    """The first finding that an import is refused for, and how many more there are."""
    first, more = refused[0], len(refused) - 1
    line = f", line {first.line}" if first.line else ""
    return f"FROM={source}{line}: {first.found}" + (f"; and {more:,} more" if more else "")


def describe_left_out(findings: Sequence[Finding]) -> str:
    """How many files were left out, and why; empty without one."""
    omitted = [each for each in findings if each.done == LEFT_OUT]
    return f"; {LEFT_OUT} are {len(omitted):,} ({_counted(omitted)})" if omitted else ""


def _counted(findings: Sequence[Finding]) -> str:
    """How many findings of each kind there are; of what is no picture also how many of each format."""
    kinds = Counter(each.found.partition(":")[0] for each in findings)
    lines = []
    for kind, count in kinds.most_common():
        names = Counter(each.found.split(": ")[1] for each in findings if each.found.startswith(f"{kind}: "))
        more = ", ".join(f"{number:,} {name}" for name, number in names.most_common()) if kind in NAMED else ""
        lines.append(f"{count:,} {kind}: {more}" if more else f"{count:,} {kind}")
    return (", " if not any(": " in each for each in lines) else "; ").join(lines)
