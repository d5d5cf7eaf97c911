"""Merges two versions of an imported data set where two branches of git meet: `make data-merge` calls it.

The images are merged by their pixels: what one side has added is in, what one side has removed is not.
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import merge
from samebench.data.merge import Folders
from samebench.tasks.image_classification import import_report
from samebench.tasks.image_classification.image_dataset import FILE, PARTS, REPORT, ImageDataset, ImageEntry
from samebench.tasks.image_classification.image_sources import KEPT, Finding

# Findings about the set as a whole, which the merged set has its own of.
OF_THE_WHOLE = ("looks like another class", "no training images", "no validation images", "no test images")


class LabelledImage(NamedTuple):
    """An image of a version: pixels (1, H, W) if it is grey and (3, H, W) if not, and what is said of it."""

    pixels: NDArray[np.uint8]
    label: str
    part: int
    name: str


def combine(folders: Folders, names: Collection[str]) -> Mapping[str, bytes | Path]:
    """The sealed file and the report of the merged set; nothing where other files are changed too.

    Raises UsageError where the versions have other sides, or where both have changed one image's label.
    """
    if not set(names) <= {FILE, REPORT} or not all(
        (folder / FILE).is_file() for folder in (folders.ours, folders.theirs)
    ):
        return {}
    ours, theirs = (ImageDataset.load(folder / FILE) for folder in (folders.ours, folders.theirs))
    base = _by_pixels(ImageDataset.load(folders.base / FILE)) if (folders.base / FILE).is_file() else {}
    one, other = _by_pixels(ours), _by_pixels(theirs)
    states = [{key: (each.label, each.part) for key, each in side.items()} for side in (base, one, other)]
    merged, disagreed = merge.three_way(*states)
    if disagreed:
        raise _contradiction([(one.get(key), other.get(key)) for key in disagreed])
    images = [(one.get(key) or other[key])._replace(label=label, part=part) for key, (label, part) in merged.items()]
    path = folders.scratch / FILE
    dataset = assemble(images, ours, theirs, path=path)
    twice = [
        Finding(other[key].name, label, f"the same pixels as: {one[key].name}")
        for key, (label, _) in merged.items()
        if key in one and key in other and one[key].name != other[key].name
    ]
    rows = {*_rows(folders.ours / REPORT), *_rows(folders.theirs / REPORT), *twice}
    findings = sorted([*rows, *import_report.missing(dataset, []), *import_report.suspicious(dataset)])
    return {FILE: path, REPORT: import_report.dumps(findings)}


def _by_pixels(dataset: ImageDataset) -> dict[str, LabelledImage]:
    """The images of a version by the SHA-256 of their pixels; of several with the same pixels the first."""
    images_by_name: dict[str, LabelledImage] = {}
    rows = zip(dataset.images.numpy(), dataset.labels.tolist(), dataset.parts.tolist(), dataset.names, strict=True)
    for pixels, label, part, name in rows:
        single = pixels[:1] if bool((pixels == pixels[:1]).all()) else pixels
        image = LabelledImage(single, dataset.categories[label], part, name)
        images_by_name.setdefault(sha256(single.tobytes()).hexdigest(), image)
    return images_by_name


def assemble(images: Sequence[LabelledImage], ours: ImageDataset, theirs: ImageDataset, *, path: Path) -> ImageDataset:
    """The set of these images in the order of their hashes, written to `path`, as an import of all would make it."""
    side, other = ours.preparation.side, theirs.preparation.side
    if side != other:
        what = f"images of {side} and {other} pixels a side"
        raise UsageError(f"{FILE}: the branches have {what}; import one of them again with the other's --side")
    try:
        entries = [ImageEntry(each.label, each.part, each.name) for each in images]
        return ImageDataset.create(path, entries, lambda place: images[place].pixels, side=side)
    except ValueError as error:
        raise UsageError(f"{FILE}: what both branches leave is no data set ({error}); take one side") from error


def _contradiction(pairs: Sequence[tuple[LabelledImage | None, LabelledImage | None]]) -> UsageError:
    examples = "; ".join(
        f"{_describe(one or other)} is {_label(one)} here and {_label(other)} there"
        for one, other in pairs[: merge.MAX_NAMES]
    )
    more = f"; and {len(pairs) - merge.MAX_NAMES:,} more" if len(pairs) > merge.MAX_NAMES else ""
    remedy = "git merge --abort, give each one label on one branch (import, make data-add, commit), and merge again"
    return UsageError(f"{FILE}: the branches disagree on {len(pairs):,} images: {examples}{more}; {remedy}")


def _describe(image: LabelledImage | None) -> str:
    return printable(image.name, longest=60) if image else ""


def _label(image: LabelledImage | None) -> str:
    return f"{printable(image.label)} ({PARTS[image.part]})" if image else "removed"


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
