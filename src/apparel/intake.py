"""Make a data set of one's own out of pictures: whole or not at all, and every file that is left out by its name.

python -m apparel.intake --source photos --name shoes    photos/<class>/<picture>, or a CSV with the columns path,label
"""

import csv
import hashlib
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from apparel import data, dataset
from apparel.dataset import Dataset
from apparel.serving import garment
from apparel.settings import Settings
from samebench.core import command, files, flags
from samebench.core.command import UsageError
from samebench.data.source import default_name
from samebench.environment import cores, determinism
from samebench.settings import setting_field, small_batch_args
from samebench.tasks.image_classification import decode_image, image_transform, inspection
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_file import CHECKSUM, CUT, PICTURES, Foreign, Unreadable, damaged
from samebench.tasks.image_classification.image_sources import (
    ALIKE,
    KEPT,
    LEFT_OUT,
    REFUSED,
    SYSTEM,
    Finding,
    Source,
    UnusableFileError,
    found_in,
    legible,
)
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing

# As in Fashion-MNIST: to 60,000 images to learn from 5,000 of them to choose by, and 10,000 to be asked in the end.
TEST, VALIDATION = 1 / 6, 1 / 12
FEW = 10  # steps an epoch at the defaults; with fewer, smaller ones learn more
THREADS = 4  # that work on pictures; together these take decode_image.MAX_MEMORY at most
NAMED = {PICTURES, SYSTEM}  # kinds of findings of which the summary counts each format or name
FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet calculates
NO_PNG = {CUT, CHECKSUM}  # of a PNG, which has checksums, the import takes nothing that does not match them


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to import, and what to call it."""

    source: str = setting_field("", "a folder with one sub-folder a class, or a .csv with the columns path,label")
    name: str = setting_field("", "what to call it: lower-case words joined by hyphens")
    side: int = setting_field(
        garment.SIDE,
        f"pixels a side, {image_transform.LEAST_SIDE} to {image_transform.MOST_SIDE}, of what a network sees",
    )

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        if not self.source:
            raise UsageError("FROM=: give a folder with one sub-folder a class, or a .csv with the columns path,label")
        if not dataset.NAME.fullmatch(self.name) or dataset.is_reserved(self.name):
            reserved = sorted({default_name(), *Settings.generated_data})
            words = f"lower-case words joined by hyphens, and not {' or '.join(reserved)}"
            raise UsageError(f"NAME={self.name}: give {words}, such as NAME=shoes")
        if not image_transform.LEAST_SIDE <= self.side <= image_transform.MOST_SIDE:
            sides = f"{image_transform.LEAST_SIDE} to {image_transform.MOST_SIDE}"
            raise UsageError(f"setting side={self.side} is impossible; take {sides}")


@dataclass(frozen=True)
class DecodedImage:
    """A picture that was read: its pixels (1, H, W) if it is grey and (3, H, W) if not, uint8."""

    source: Source
    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()  # what is to be said of its file, though it is taken

    @property
    def digest(self) -> bytes:
        """SHA-256 of the pixels: what two pictures have in common that are one, in a grey set or one of colours."""
        return hashlib.sha256(self.pixels.tobytes()).digest()


class ImportFailedError(UsageError):
    """An import that is refused, and what was found until then."""

    def __init__(self, message: str, findings: Sequence[Finding]) -> None:
        """Take the message and the findings."""
        super().__init__(message)
        self.findings = findings


def part(digest: bytes) -> int:
    """The number of the part that a picture of this hash belongs to, whatever others there are."""
    share = int.from_bytes(digest[:8], "big") / 2**64
    return 2 if share < TEST else 1 if share < TEST + VALIDATION else 0


def make(question: Question) -> tuple[Dataset, list[Finding]]:
    """The data set, and what was found on the way, in the order of the paths.

    Raises UsageError where the source is none, and ImportFailedError where it has too few pictures that can be used.
    """
    sources, findings = found_in(Path(question.source))
    if refused := [each for each in findings if each.done == REFUSED]:
        raise ImportFailedError(_first_of(refused, question.source), findings)
    taken: dict[bytes, list[DecodedImage]] = defaultdict(list)
    for each in read_all(sources, ImageTransform(question.side, 3)):
        if isinstance(each, Finding):
            findings.append(each)
        else:
            taken[each.digest].append(each)
    findings += [finding for same in taken.values() for finding in alike(same)]
    kept = {digest: same[0] for digest, same in sorted(taken.items()) if len(labels_of(same)) == 1}
    try:
        made = assemble(kept, question)
    except UsageError as refusal:
        raise ImportFailedError(f"{refusal}{_why(findings)}", findings) from refusal
    if made.preprocessing.warning:
        findings.append(Finding("", "", made.preprocessing.warning, KEPT))
    return made, sorted([*findings, *missing(made, sources), *suspicious(made)])


def read_all(sources: Sequence[Source], preparation: ImageTransform) -> Iterator[DecodedImage | Finding]:
    """Each picture prepared, or why it is none, in their order; no more than THREADS are unpacked at a time."""
    pool = ThreadPoolExecutor(min(THREADS, cores.available_cpus()), "picture")
    work = pool.map(lambda each: read(each, preparation), sources)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of strange pictures: what matters of them is found here
            yield from tqdm(work, desc="reading", unit="picture", total=len(sources), disable=None, leave=False)
    finally:
        pool.shutdown(cancel_futures=True)


def read(source: Source, preparation: ImageTransform) -> DecodedImage | Finding:
    """One picture, prepared as the server does, or why it is none."""
    try:
        file = decode_image.open_image(source.read())
        if file.format == "PNG" and NO_PNG & {*file.damage}:
            raise damaged(" and ".join(file.damage))
        prepared = preparation(file)
    except Foreign as reason:
        return source.finding(f"{PICTURES}: {reason.name}: {reason.remedy}" if reason.name else PICTURES)
    except TooLarge as reason:
        return source.finding(f"too large: {reason}".partition(";")[0])
    except Unreadable as reason:
        return source.finding(f"{reason}".partition(";")[0])
    except UnusableFileError as reason:
        return source.finding(f"{reason}")
    pixels = prepared.pixels
    grey = bool((pixels == pixels[:1]).all())
    film = ["a film: its first picture was taken"] if file.frames > 1 else []
    return DecodedImage(source, pixels[:1].copy() if grey else pixels, (*film, *prepared.damage))


def labels_of(same: Sequence[DecodedImage]) -> list[str]:
    """The labels of pictures that are one."""
    return sorted({each.source.label for each in same})


def alike(same: Sequence[DecodedImage]) -> Iterator[Finding]:
    """What there is to say of pictures with the same pixels, of which the first is kept if they agree on a label."""
    first, *others = same
    labels = labels_of(same)
    if labels[1:]:
        others = [first, *others]
    else:
        for note in first.notes:
            yield first.source.finding(note, KEPT)
    for each in others:
        what = f"the same pixels as: {first.source.path}"
        if labels[1:]:
            what = f"the same pixels under labels: {', '.join(labels)}"
        yield each.source.finding(what)


def assemble(kept: dict[bytes, DecodedImage], question: Question) -> Dataset:
    """The pictures in the order of their hashes. Raises UsageError where they are too few for every part."""
    categories = sorted({each.source.label for each in kept.values()})
    if len(categories) < 2:
        raise UsageError(
            f"FROM={question.source}: {len(categories)} classes with a picture that can be used; give two or more"
        )
    channels = max(len(each.pixels) for each in kept.values())
    images = torch.empty(len(kept), channels, question.side, question.side, dtype=torch.uint8)
    for place, each in enumerate(kept.values()):
        images[place] = torch.from_numpy(each.pixels)
    numbers = {label: number for number, label in enumerate(categories)}
    parts = torch.tensor([part(digest) for digest in kept], dtype=torch.uint8)
    sizes = torch.bincount(parts, minlength=len(dataset.PARTS)).tolist()
    if lacking := [name for name, size in zip(dataset.PARTS, sizes, strict=True) if not size]:
        few = f"{len(kept)} pictures that can be used, and none of them for {' and '.join(lacking)}"
        raise UsageError(f"FROM={question.source}: {few}; give more")
    return Dataset(
        images=images,
        labels=torch.tensor([numbers[each.source.label] for each in kept.values()]),
        parts=parts,
        categories=tuple(categories),
        names=tuple(legible(each.source.path) for each in kept.values()),
        preparation=ImageTransform(question.side, channels),
        preprocessing=Preprocessing.of(images[parts == 0]),
    )


def missing(made: Dataset, sources: Sequence[Source]) -> Iterator[Finding]:
    """The classes of which nothing is left, or nothing in one of the parts."""
    for label in sorted({each.label for each in sources} - set(made.categories)):
        yield Finding("", label, "no picture of this class can be used", "the class is left out")
    parts = len(dataset.PARTS)
    counts = torch.bincount(made.labels * parts + made.parts, minlength=len(made.categories) * parts).view(-1, parts)
    for label, row in zip(made.categories, counts.tolist(), strict=True):
        for name, count in zip(dataset.PARTS, row, strict=True):
            if not count:
                yield Finding("", label, f"no {name} images: {sum(row)} in all", KEPT)


def suspicious(made: Dataset) -> Iterator[Finding]:
    """The images that look like another class."""
    split = Split(made.images, made.labels)
    votes = inspection.votes(split)
    places, others = inspection.suspects(split, votes)
    for place, other in zip(places.tolist(), others.tolist(), strict=True):
        label = made.categories[int(made.labels[place])]
        what = f"looks like another class: {made.categories[other]}, as {votes.shape[1]} of its neighbours are"
        yield Finding(made.names[place], label, what, KEPT)


def report(findings: Sequence[Finding]) -> bytes:
    """The findings as a table, in which a spreadsheet calculates nothing."""
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(Finding._fields)
    table.writerows([_cell(each) for each in finding] for finding in findings)
    return content.getvalue().encode()


def _cell(text: str) -> str:
    return f"'{legible(text)}" if text.startswith(FORMULA) else legible(text)


def summary(made: Dataset, findings: Sequence[Finding]) -> str:
    """In one line, what became of the pictures."""
    kinds = {done: [each for each in findings if each.done == done] for done in (LEFT_OUT, KEPT)}
    told = [f"{done} {len(each):,} ({_counted(each)})" for done, each in kinds.items() if each]
    side, colour = made.preparation.side, "grey" if made.preparation.channels == 1 else "colour"
    sizes = ", ".join(f"{size:,} {name}" for name, size in made.sizes.items())
    version = data.from_dataset(made).version[:12]
    return (
        f"{len(made.images):,} {colour} images of {side}x{side} in {len(made.categories)} categories ({sizes}), "
        f"version {version}; {'; '.join(told) or 'nothing to complain of'}"
    )


def _first_of(refused: Sequence[Finding], source: str) -> str:
    """The first finding that an import is refused for, and how many more there are."""
    first, more = refused[0], len(refused) - 1
    line = f", line {first.line}" if first.line else ""
    return f"FROM={source}{line}: {first.found}" + (f"; and {more:,} more" if more else "")


def _why(findings: Sequence[Finding]) -> str:
    """How many files were left out, and why; empty without one."""
    left = [each for each in findings if each.done == LEFT_OUT]
    return f"; {LEFT_OUT} are {len(left):,} ({_counted(left)})" if left else ""


def _counted(findings: Sequence[Finding]) -> str:
    """How many findings of each kind there are; of what is no picture also how many of each format."""
    kinds = Counter(each.found.partition(":")[0] for each in findings)
    said = []
    for kind, count in kinds.most_common():
        names = Counter(each.found.split(": ")[1] for each in findings if each.found.startswith(f"{kind}: "))
        more = ", ".join(f"{number:,} {name}" for name, number in names.most_common()) if kind in NAMED else ""
        said.append(f"{count:,} {kind}: {more}" if more else f"{count:,} {kind}")
    return (", " if not any(": " in each for each in said) else "; ").join(said)


def main(argv: Sequence[str]) -> None:
    """Import what is asked for, and tell what became of it."""
    question = flags.parse(Question, argv, program="python -m apparel.intake", about="Make a data set out of pictures.")
    determinism.reexecute(fast=False)
    determinism.pin()
    refused = dataset.HOME / f"{question.name}.refused.csv"
    try:
        made, findings = make(question)
    except UsageError as refusal:
        findings = [*getattr(refusal, "findings", []), Finding("", "", f"{refusal}", REFUSED)]
        refused.parent.mkdir(parents=True, exist_ok=True)
        files.write(refused, report(sorted(findings)))
        raise UsageError(f"{refusal}; see data/{refused.name}") from refusal
    dataset.write(question.name, made, report(findings))
    refused.unlink(missing_ok=True)
    print(f"data/{question.name}: {summary(made, findings)}; see data/{question.name}/{dataset.REPORT}")
    if made.preprocessing.warning:
        print(f"warning: {made.preprocessing.warning}")
    for each in findings:
        if each.found.startswith(ALIKE):
            print(f"warning: {legible(each.label)} is {each.found}; give them one name if they are one class")
    train = f"make train DATASET={question.name}"
    if (images := made.sizes["training"]) < FEW * Settings().batch_size:
        train += f" {small_batch_args(images)}"
    print(f"keep this version: make data-add DATASET={question.name}; train on it: {train}")


if __name__ == "__main__":
    command.run(main)
