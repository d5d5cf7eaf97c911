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
STARTS = (  # how a file begins, what it is, and what to do
    (rb"GIF8", "GIF", SAVE),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", SAVE),
    (rb"BM", "BMP", SAVE),
    (rb"....ftyp(avif|avis)|....ftyp(mif1|msf1).{0,40}avif", "AVIF", SAVE),
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIC", HEIC),
    (rb"....ftypcrx |FUJIFILMCCD-RAW|IIU\0|IIRO|FOVb", "camera raw", "export it as JPEG"),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "video", FRAME),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", SAVE),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", SAVE),
    (rb"8BPS", "Photoshop", SAVE),
    (rb"\0\0[\x01\x02]\0[^\0]", "icon", SAVE),
    (rb"%PDF", "PDF", SAVE),
    (rb"PK\x03\x04", "ZIP", "unpack it"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", "SVG", SAVE),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype )?html", "web page", "take the picture itself; a page was saved in its place"),
    (rb"version https://git-lfs", "Git LFS pointer", "fetch the picture itself: git lfs pull"),
)
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
                raise Foreign
            return file
    raise foreign(content)


def foreign(content: bytes) -> Foreign:
    """The error for a file of another format: it names the format if it is a usual one."""
    head = content[:1024]
    return next((Foreign(name, remedy) for start, name, remedy in KINDS if start.match(head)), Foreign())
