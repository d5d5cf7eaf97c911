"""Merges two versions of a data set where two branches of git meet.

python -m apparel.merge NAME

Of sets that `make data-import` has made the images are merged, by their pixels: what one side has added is in, what one
side has removed is not. Of all others the files are merged, by their names.
"""

import argparse
import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from apparel import data, dataset, intake
from apparel.dataset import FILE, REPORT, Dataset
from samebench.core import command
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import merge, versions
from samebench.data.merge import Folders
from samebench.environment import determinism
from samebench.tasks.image_classification.image_sources import KEPT, Finding
from samebench.tasks.image_classification.preprocessing import Preprocessing

# Findings about the set as a whole, which the merged set has its own of.
OF_THE_WHOLE = ("looks like another class", "no training images", "no validation images", "no test images")


class State(NamedTuple):
    """Where an image belongs: its label and its part. Two versions that agree on both agree on the image."""

    label: str
    part: int


@dataclass(frozen=True)
class Image:
    """An image of a version: its pixels, (1, H, W) if it is grey and (3, H, W) if not, and where it was found."""

    pixels: NDArray[np.uint8]
    state: State
    name: str


def images(known: Dataset) -> dict[str, Image]:
    """The images of a version by the SHA-256 of their pixels; of several with the same pixels the first."""
    found: dict[str, Image] = {}
    rows = zip(known.images.numpy(), known.labels.tolist(), known.parts.tolist(), known.names, strict=True)
    for pixels, label, part, name in rows:
        single = pixels[:1] if bool((pixels == pixels[:1]).all()) else pixels
        found.setdefault(
            sha256(single.tobytes()).hexdigest(), Image(single, State(known.categories[label], part), name)
        )
    return found


def combine(folders: Folders, names: Collection[str]) -> Mapping[str, bytes]:
    """The sealed file and the report of the merged set; nothing where other files are changed too.

    Raises UsageError where the versions have other sides, or where both have changed one image's label.
    """
    if not set(names) <= {FILE, REPORT} or not all(
        (folder / FILE).is_file() for folder in (folders.ours, folders.theirs)
    ):
        return {}
    ours, theirs = (Dataset.load(folder / FILE) for folder in (folders.ours, folders.theirs))
    base = images(Dataset.load(folders.base / FILE)) if (folders.base / FILE).is_file() else {}
    one, other = images(ours), images(theirs)
    states = [{key: each.state for key, each in side.items()} for side in (base, one, other)]
    merged, disagreed = merge.three_way(*states)
    if disagreed:
        raise _contradiction([(one.get(key), other.get(key)) for key in disagreed])
    made = assemble({key: (one.get(key) or other[key], state) for key, state in merged.items()}, ours, theirs)
    twice = [
        Finding(other[key].name, state.label, f"the same pixels as: {one[key].name}")
        for key, state in merged.items()
        if key in one and key in other and one[key].name != other[key].name
    ]
    rows = {*_rows(folders.ours / REPORT), *_rows(folders.theirs / REPORT), *twice}
    findings = sorted([*rows, *intake.missing(made, []), *intake.suspicious(made)])
    return {FILE: made.pack(), REPORT: intake.report(findings)}


def assemble(merged: Mapping[str, tuple[Image, State]], ours: Dataset, theirs: Dataset) -> Dataset:
    """The set of these images in the order of their hashes, as an import of all of them would make it."""
    here, there = ours.preparation, theirs.preparation
    if (here.name, here.side) != (there.name, there.side):
        sides = f"{here.side} and {there.side} pixels a side ({here.name} and {there.name})"
        raise UsageError(
            f"{FILE}: the branches have images of {sides}; import one of them again with the other's --side"
        )
    categories = sorted({state.label for _, state in merged.values()})
    channels = max((len(image.pixels) for image, _ in merged.values()), default=1)
    pixels = torch.empty(len(merged), channels, here.side, here.side, dtype=torch.uint8)
    for place, (image, _) in enumerate(merged.values()):
        pixels[place] = torch.from_numpy(image.pixels)
    numbers = {label: number for number, label in enumerate(categories)}
    parts = torch.tensor([state.part for _, state in merged.values()], dtype=torch.uint8)
    made = Dataset(
        images=pixels,
        labels=torch.tensor([numbers[state.label] for _, state in merged.values()]),
        parts=parts,
        categories=tuple(categories),
        names=tuple(image.name for image, _ in merged.values()),
        preparation=replace(here, channels=channels),
        preprocessing=Preprocessing.of(pixels[parts == 0]),
    )
    try:
        made.check()
    except ValueError as error:
        raise UsageError(f"{FILE}: what both branches leave is no data set ({error}); take one side") from error
    return made


def _contradiction(pairs: Sequence[tuple[Image | None, Image | None]]) -> UsageError:
    shown = "; ".join(
        f"{_shown(one or other)} is {_label(one)} here and {_label(other)} there" for one, other in pairs[: merge.SHOWN]
    )
    more = f"; and {len(pairs) - merge.SHOWN:,} more" if len(pairs) > merge.SHOWN else ""
    remedy = "git merge --abort, give each one label on one branch (import, make data-add, commit), and merge again"
    return UsageError(f"{FILE}: the branches disagree on {len(pairs):,} images: {shown}{more}; {remedy}")


def _shown(image: Image | None) -> str:
    return printable(image.name, longest=60) if image else ""


def _label(image: Image | None) -> str:
    return f"{printable(image.state.label)} ({dataset.PARTS[image.state.part]})" if image else "removed"


def _rows(path: Path) -> list[Finding]:
    """The findings of a report about single files. Raises UsageError for one that no import has written."""
    if not path.is_file():
        return []
    try:
        table = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
        if table[:1] != [list(Finding._fields)] or any(len(row) != len(Finding._fields) for row in table):
            raise ValueError(f"columns other than {','.join(Finding._fields)}")  # noqa: TRY301 - one remedy for all
    except (csv.Error, ValueError) as error:
        raise UsageError(
            f"{path.name}: not the report of an import ({printable(error, longest=80)}); import again"
        ) from error
    return [Finding(*row) for row in table[1:] if not (row[3] == KEPT and row[2].startswith(OF_THE_WHOLE))]


def main(argv: Sequence[str]) -> None:
    """Merge the set that is named, and say what to commit."""
    parser = argparse.ArgumentParser(prog="merge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", metavar="NAME", help="a set of data/")
    args = parser.parse_args(argv)
    if not args.name:
        raise UsageError("DATASET=: give the name of the set to merge, such as DATASET=shoes")
    determinism.reexecute(fast=False)
    determinism.pin()
    dataset.finish(args.name)
    public = data.fetch_published if args.name == data.NAME else None
    merged = merge.merge(args.name, root=data.ROOT, public=public, resolve=combine)
    print(
        f"data/{args.name}: the union of both branches, {_size(args.name, merged)}; keep it and give it to the others:"
    )
    commit = versions.commit_command(args.name, merged.finish)
    print(f"{commit} && make data-push DATASET={args.name}")


def _size(name: str, merged: merge.MergeResult) -> str:
    path = data.ROOT / "data" / name / FILE
    if not path.is_file():
        return f"{merged.files:,} files"
    known = Dataset.load(path)
    return f"{len(known.images):,} images in {len(known.categories)} categories"


if __name__ == "__main__":
    command.run(main)
