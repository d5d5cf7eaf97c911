"""The structure of a JPEG, up to the end of its first image."""

import re
import struct

from samebench.tasks.image_classification.picture_file import (
    CUT,
    JPEG,
    MAX_PARTS,
    MAX_PROFILE,
    PROFILE,
    PictureFile,
    Unreadable,
    damaged,
)

MAGIC = b"\xff\xd8\xff"
MAX_SCANS = 100  # of a progressive one, which has ten or so; each takes time
MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # what begins a segment; more of \xff may stand before it
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # what ends the data of a scan; RSTn is part of it
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame; F7: JPEG-LS
DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # sequential and progressive frames, of Huffman or arithmetic codes
BESIDE = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # applications' own, but those that say what the colours are; comments
COLOURS = {0xE0: 14, 0xEE: 12}  # JFIF's and Adobe's, which say what the colours are, and their least lengths
EXIF, ICC = b"Exif\0", b"ICC_PROFILE\0"  # behind EXIF's comes a byte of any value
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
        end = match.end() + _length(marker, data[match.end() : match.end() + 2])
        content = data[match.end() + 2 : end]
        if end > len(data):
            raise damaged("it ends early")
        if marker in FRAMES and not file.width:
            _take_frame(marker, content, file)
        if marker == START_OF_SCAN:
            _take_scan(file)
            last = SCAN_END.search(data, end)
            end = last.start() if last else end + len(_without_padding(bytes(data[end:])))
        if marker in BESIDE or len(content) < COLOURS.get(marker, 0):
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


def _length(marker: int, length: memoryview) -> int:
    """The length of a segment, its own two bytes counted."""
    size = int.from_bytes(length, "big")
    if size < 2 and marker not in BESIDE:
        raise damaged("it ends early")
    return max(size, 2)  # as decoders take a length that is too short


def _take_frame(marker: int, content: memoryview, file: PictureFile) -> None:
    file.depth, file.height, file.width, channels = struct.unpack_from(">BHHB", content)
    if marker not in DECODED or file.depth != 8:
        raise Unreadable(f"a JPEG that browsers do not show ({_kind(marker, file.depth)}); save it as an ordinary one")
    if not (file.width and file.height):
        raise damaged("it has no pixels")
    factors = [(content[place] >> 4 or 1, content[place] & 15 or 1) for place in range(7, 6 + 3 * channels, 3)]
    file.colour = channels
    largest = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
    file.coefficients = 2 * file.width * file.height * sum(across * down for across, down in factors) // largest
    file.progressive = marker & 3 == 2


def _kind(marker: int, depth: int) -> str:
    if marker == 0xF7:
        return "JPEG-LS"
    return f"{depth} bits" if marker in DECODED else "lossless" if marker & 3 == 3 else "hierarchical"


def _without_padding(scan: bytes) -> bytes:
    """The data of a scan without its end, but for what a disk or a card has filled the file up with."""
    used = scan.rstrip(b"\xff")
    return used.rstrip(b"\0") + b"\0\0" if used.endswith(b"\0\0") else used  # two may be the scan's own


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
        file.take_exif(content[len(EXIF) + 1 :])
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
