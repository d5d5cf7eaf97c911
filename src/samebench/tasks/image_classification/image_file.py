"""What the file of a picture says before a decoder sees it: format, size, orientation, colour profile, damage.

A camera, a phone or an editor puts more into a file than pixels: text, a thumbnail, a profile, a video behind the end.
`parse` reads the structure itself, and `PictureFile.content` is a file of the same format with the pixels alone. So no
decoder meets the rest, and what is broken in the rest does not make the picture unreadable.
"""

import re
import struct
import zlib

from samebench.tasks.image_classification import jpeg_file, png_file, webp_file
from samebench.tasks.image_classification.picture_file import Foreign, PictureFile, damaged

SAVE = "save it as PNG or JPEG"
HEIC = "export it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)"
FRAME = "save one of its pictures as PNG or JPEG"
UNPACK = "unpack it"
# What stands before the first element of XML. Nothing in it is tried twice: a stranger's file decides how long it is.
PROLOG = rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype svg(?:[^>\[]|\[.*?\])*+>)*+"
STARTS = (  # how a file begins, what it is, and what to do
    (rb"GIF8", "GIF", SAVE),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", SAVE),
    (rb"BM", "BMP", SAVE),
    (rb"....ftyp(avif|avis)|....ftyp(mif1|msf1).{0,40}avif", "AVIF", SAVE),
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIC", HEIC),
    (rb"....ftypcrx |FUJIFILMCCD-RAW|IIU\0|IIRO|FOVb", "camera raw", "export it as JPEG"),
    (rb"....(ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI ", "video", FRAME),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", SAVE),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", SAVE),
    (rb"8BPS", "Photoshop", SAVE),
    (rb"\0\0[\x01\x02]\0[^\0]|icns", "icon", SAVE),
    (rb"P[1-7]\s", "PNM", SAVE),
    (rb"v/1\x01|#\?R", "OpenEXR or Radiance", SAVE),
    (rb".{128}DICM", "DICOM", SAVE),
    (rb"%PDF", "PDF", SAVE),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript", SAVE),
    (rb"PK\x03\x04", "ZIP", UNPACK),
    (rb"\x1f\x8b", "gzip", UNPACK),
    (rb"\x89PNG\r*\n", "PNG copied as text", "copy it again as it is, in binary"),
    (rb"(?i)" + PROLOG + rb"<(\w+:)?svg\b", "SVG", SAVE),
    (
        rb"(?i)" + PROLOG + rb"<(!doctype html|html|head|body)\b",
        "web page",
        "take the picture itself; a page was saved in its place",
    ),
    (rb"version https://git-lfs", "Git LFS pointer", "fetch the picture itself: git lfs pull"),
)
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
KINDS = tuple((re.compile(start, re.DOTALL), name, remedy) for start, name, remedy in STARTS)
READERS = (
    (re.escape(png_file.MAGIC), png_file.read),
    (jpeg_file.MAGIC, jpeg_file.read),
    (webp_file.MAGIC, webp_file.read),
)


def parse(content: bytes) -> PictureFile:
    """The structure of a PNG, JPEG or WebP file.

    Raises Foreign for other formats, and Unreadable for a structure that no decoder could follow.
    """
    for magic, read in READERS:
        if re.match(magic, content, re.DOTALL):
            try:
                file = read(memoryview(content))
            except (struct.error, IndexError, zlib.error) as error:
                raise damaged("it ends early") from error
            if not (file.width and file.height):
                raise damaged("it has no pixels")
            return file
    raise foreign(content)


def foreign(content: bytes) -> Foreign:
    """The error for a file of another format: it names the format if it is a usual one."""
    if not content:
        return Foreign("empty file", "copy it again")
    head = content[:1024]
    if head.startswith(BYTE_ORDER_MARKS):
        head = head.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"")  # of UTF-16, what is ASCII
    for start, name, remedy in KINDS:
        if start.match(head):
            return Foreign(name, remedy)
    return Foreign("text", "take the picture itself") if _is_text(head) else Foreign()


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "replace")[:-1]  # the last character may be cut
    return bool(text) and "\ufffd" not in text and all(each.isprintable() or each.isspace() for each in text)
