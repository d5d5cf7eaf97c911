"""Makes a data set of images: whole or not at all, and names every file that is left out."""

import hashlib
import warnings
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from samebench.core.command import UsageError
from samebench.environment import cores
from samebench.tasks.image_classification import decode_image, image_dataset, import_report
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.image_dataset import ImageDataset, ImageEntry
from samebench.tasks.image_classification.image_sources import (
    KEPT,
    REFUSED,
    Finding,
    Source,
    UnusableFileError,
    found_in,
    legible,
)
from samebench.tasks.image_classification.image_transform import NOTHING, ImageTransform
from samebench.tasks.image_classification.picture_file import CHECKSUM, CUT, PICTURES, Foreign, Unreadable, damaged

# As in MNIST: to 60,000 images to learn from 5,000 of them to choose by, and 10,000 to be asked in the end.
TEST, VALIDATION = 1 / 6, 1 / 12
AHEAD = 64  # pictures that are read before their turn
THREADS = 4  # that work on pictures; together these take decode_image.MAX_MEMORY at most
NO_PNG = {CUT, CHECKSUM}  # of a PNG, which has checksums, the import takes nothing that does not match them


class DecodedImage(NamedTuple):
    """A picture that was read: its pixels (1, H, W) if it is grey and (3, H, W) if not, uint8."""

    source: Source
    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]  # what is to be said of its file, though it is taken


class SpooledImage(NamedTuple):
    """A picture whose pixels are in a `PixelSpool`, at `place`."""

    source: Source
    place: int
    notes: tuple[str, ...]


class PixelSpool:
    """The pixels of pictures in a file, until their order is found: memory stays free, whatever their number."""

    def __init__(self, path: Path, side: int) -> None:
        """Begin a file at `path` for pictures of `side` pixels a side."""
        self.side = side
        self._file = path.open("w+b")
        self._offsets = array("Q", [0])

    def append(self, pixels: NDArray[np.uint8]) -> int:
        """Add pixels (C, H, W); their place."""
        self._file.write(pixels.tobytes())
        self._offsets.append(self._offsets[-1] + pixels.nbytes)
        return len(self._offsets) - 2

    def __getitem__(self, place: int) -> NDArray[np.uint8]:
        """The pixels (C, H, W) at a place."""
        start, end = self._offsets[place : place + 2]
        self._file.seek(start)
        return np.frombuffer(self._file.read(end - start), np.uint8).reshape(-1, self.side, self.side)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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


def import_images(source: Path, side: int, scratch: Path) -> tuple[ImageDataset, list[Finding]]:
    """The data set, `side` pixels a side, in the folder `scratch`, and what was found, in the order of the paths.

    Raises UsageError where the source is none, and ImportFailedError where it has too few pictures that can be used.
    """
    sources, findings = found_in(source)
    if refused := [each for each in findings if each.done == REFUSED]:
        raise ImportFailedError(import_report.describe_refused(refused, str(source)), findings)
    groups: dict[bytes, list[SpooledImage]] = {}  # by the hash of the pixels, the same in a grey set or one of colours
    with closing(PixelSpool(scratch / "pixels", side)) as spool:
        for each in read_all(sources, ImageTransform(side, 3)):
            if isinstance(each, Finding):
                findings.append(each)
                continue
            digest = hashlib.sha256(each.pixels.tobytes()).digest()
            same = groups.setdefault(digest, [])
            place = same[0].place if same else spool.append(each.pixels)
            same.append(SpooledImage(each.source, place, each.notes))
        findings += [finding for same in groups.values() for finding in alike(same)]
        unique = {digest: same[0] for digest, same in sorted(groups.items()) if len(labels_of(same)) == 1}
        del groups
        try:
            dataset = assemble(unique, source, spool, scratch / image_dataset.FILE)
        except UsageError as refusal:
            raise ImportFailedError(f"{refusal}{import_report.describe_left_out(findings)}", findings) from refusal
    if dataset.preprocessing.warning:
        findings.append(Finding("", "", dataset.preprocessing.warning, KEPT))
    return dataset, sorted([*findings, *import_report.missing(dataset, sources), *import_report.suspicious(dataset)])


def read_all(sources: Sequence[Source], preparation: ImageTransform) -> Iterator[DecodedImage | Finding]:
    """Each picture prepared, or why it is none, in their order; no more than THREADS are unpacked at a time."""
    pool = ThreadPoolExecutor(min(THREADS, cores.available_cpus()), "picture")
    try:
        with (
            warnings.catch_warnings(),
            tqdm(desc="reading", unit="picture", total=len(sources), disable=None, leave=False) as bar,
        ):
            warnings.simplefilter("ignore")  # Pillow's, of strange pictures: what matters of them is found here
            waiting: deque[Future[DecodedImage | Finding]] = deque()
            for each in sources:
                waiting.append(pool.submit(read, each, preparation))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
                    bar.update()
            for future in waiting:
                yield future.result()
                bar.update()
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
    empty = [f"{NOTHING}: it has one colour, or is transparent"] if prepared.is_empty else []
    return DecodedImage(source, pixels[:1].copy() if grey else pixels, (*film, *prepared.damage, *empty))


def labels_of(same: Sequence[SpooledImage]) -> list[str]:
    """The labels of pictures that are one."""
    return sorted({each.source.label for each in same})


def alike(same: Sequence[SpooledImage]) -> Iterator[Finding]:
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


def assemble(images: Mapping[bytes, SpooledImage], source: Path, spool: PixelSpool, path: Path) -> ImageDataset:
    """The set of the pictures in the order of their hashes, at `path`.

    Raises UsageError where they are too few for every part.
    """
    classes = len({each.source.label for each in images.values()})
    if classes < 2:
        more = "two or more, each a sub-folder with pictures in it" if source.is_dir() else "two or more"
        raise UsageError(f"FROM={source}: {classes} classes with a picture that can be used; give {more}")
    parts = {part(digest) for digest in images}
    if lacking := [name for number, name in enumerate(image_dataset.PARTS) if number not in parts]:
        few = f"{len(images)} pictures that can be used, and none of them for {' and '.join(lacking)}"
        raise UsageError(f"FROM={source}: {few}; give more")
    entries = [
        ImageEntry(each.source.label, part(digest), legible(each.source.path)) for digest, each in images.items()
    ]
    places = array("Q", (each.place for each in images.values()))
    return ImageDataset.create(path, entries, lambda number: spool[places[number]], side=spool.side)
