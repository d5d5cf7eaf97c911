"""The structure of a JPEG, up to the end of its first image."""

import re
import struct

from samebench.tasks.image_classification.picture_file import (
    CUT,
    JPEG,
    MAX_PARTS,
    MAX_PROFILE,
    PROFILE,
    Foreign,
    PictureFile,
    Unreadable,
    damaged,
)

MAGIC = b"\xff\xd8\xff"
MAX_SCANS = 100  # of a progressive one, which has ten or so; each takes time
MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # what begins a segment
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # what ends the data of a scan; RSTn is part of it
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
BESIDE = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # applications' own, but those that say what the colours are; comments
EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0"
END = b"\xff\xd9"


def read(data: memoryview) -> PictureFile:
    """Up to the end of the first image: what is behind it, such as a phone's video, is not looked at."""
    file = PictureFile(JPEG, 0, 0, parts=[data[:2]])
    profile: dict[int, tuple[int, memoryview]] = {}
    place = 2
    for _ in range(MAX_PARTS):
        match = MARKER.search(data, place)
        if not match:
            file.note(CUT)
            break
        marker = match[1][0]
        if marker == END_OF_IMAGE:
            break
        if marker in ALONE:
            place = match.end()
            continue
        size = int.from_bytes(data[match.end() : match.end() + 2], "big")
        end = match.end() + size
        content = data[match.end() + 2 : end]
        if size < 2 or len(content) < size - 2:
            raise damaged("it ends early")
        if marker in FRAMES and not file.width:
            _take_frame(marker, content, file)
        if marker == START_OF_SCAN:
            _take_scan(file)
            last = SCAN_END.search(data, end)
            end = last.start() if last else len(data) - (data[-1] == 0xFF)
        if marker in BESIDE:
            _take_application(marker, content, file, profile)
        else:
            file.parts.append(data[match.start() : end])
        place = end
    else:
        raise Unreadable(f"a JPEG of more than {MAX_PARTS:,} segments; save it as an ordinary one")
    if not file.scans or not file.width:
        raise damaged("it has no pixels")
    file.parts.append(END)
    _join_profile(profile, file)
    return file


def _take_frame(marker: int, content: memoryview, file: PictureFile) -> None:
    file.depth, file.height, file.width, channels = struct.unpack_from(">BHHB", content)
    if not (file.width and file.height):
        raise Foreign
    factors = [(content[place] >> 4 or 1, content[place] & 15 or 1) for place in range(7, 6 + 3 * channels, 3)]
    file.colour = channels
    largest = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
    file.coefficients = 2 * file.width * file.height * sum(across * down for across, down in factors) // largest
    file.progressive = marker & 3 == 2


def _take_scan(file: PictureFile) -> None:
    if not file.width:
        raise damaged("it has no frame")
    file.scans += 1
    if file.scans > MAX_SCANS:
        raise Unreadable(f"a JPEG of more than {MAX_SCANS} scans; save it as an ordinary one")


def _take_application(
    marker: int, content: memoryview, file: PictureFile, profile: dict[int, tuple[int, memoryview]]
) -> None:
    if marker == 0xE1 and content[: len(EXIF)] == EXIF and file.orientation == 1:
        file.take_exif(content)
    elif marker == 0xE2 and content[: len(ICC)] == ICC and len(content) > 14:
        profile.setdefault(content[12], (content[13], content[14:]))


def _join_profile(pieces: dict[int, tuple[int, memoryview]], file: PictureFile) -> None:
    if not pieces:
        return
    numbers, counts = sorted(pieces), {count for count, _ in pieces.values()}
    joined = b"".join(pieces[number][1] for number in numbers)
    if counts != {len(pieces)} or numbers != [*range(1, len(pieces) + 1)] or len(joined) > MAX_PROFILE:
        file.note(PROFILE)
    else:
        file.profile = joined
