"""Files as cameras, phones and editors make them: what is sound is read, what is damaged is said, the rest is named."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from samebench.serving.application import Application
from samebench.serving.artifact import Artifact
from samebench.serving.upload import Content
from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_transform import NOTHING, OUTSIDE, ImageTransform
from samebench.tasks.image_classification.picture_file import (
    CHECKSUM,
    CUT,
    METADATA,
    PROFILE,
    UNTURNED,
    Foreign,
    Unreadable,
    orientation,
)
from samebench.tasks.image_classification.serving import is_outside
from tests.samebench.pictures import boot, quarters

from .conftest import Server, change_spec, encoded
from .picture_bytes import (
    COLOURS,
    ENDLESS,
    GARBAGE,
    bomb,
    display_p3,
    prepared,
    resized,
    with_chunk,
    with_segment,
    with_webp_chunk,
)
from .test_picture import preparation, transformed

__all__ = ["preparation"]  # a fixture


TEXT = PngInfo()
for _ in range(3):
    TEXT.add_text("a", "b" * 900_000, zip=True)
WRONG_TYPE = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 2, 1, 6) + bytes(4)
NO_SUCH_SIDE = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 77, 0) + bytes(4)


@pytest.mark.parametrize("exif", [GARBAGE, b"", b"II*\0", WRONG_TYPE, NO_SUCH_SIDE, ENDLESS], ids=range(6))
def test_broken_exif_leaves_the_picture_as_it_is_with_a_warning(exif: bytes) -> None:
    upright = prepared(encoded(COLOURS)).pixels
    for content in (with_chunk(b"eXIf", exif), with_webp_chunk(b"EXIF", exif)):
        got = prepared(content)
        assert np.array_equal(got.pixels, upright)
        assert got.damage == (UNTURNED,)
    got = prepared(with_segment(0xE1, b"Exif\0\xff" + exif))
    assert got.damage == (UNTURNED,)
    got = prepared(with_segment(0xE1, b"Exif\0\0" + exif))
    assert got.damage == (UNTURNED,)
    assert np.array_equal(got.pixels, prepared(with_segment(0xFE, b"")).pixels)


def test_an_orientation_of_any_byte_order_and_size_is_read_and_zero_means_upright() -> None:
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        for kind, letter in ((1, "B3x"), (3, "H2x"), (4, "I")):
            exif = magic + struct.pack(f"{order}IHHHI{letter}", 8, 1, 0x0112, kind, 1, 6)
            assert orientation(exif) == orientation(b"Exif\0\0" + exif) == 6
        assert orientation(magic + struct.pack(f"{order}IHHHIH2x", 8, 1, 0x0112, 3, 1, 0)) == 1


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (with_chunk(b"iCCP", b"a\0\1" + zlib.compress(GARBAGE)), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + zlib.compress(GARBAGE)), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + GARBAGE), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000))), (PROFILE,)),
        (with_chunk(b"tEXt", b"a\0b", checksum=1), (METADATA,)),
        (with_chunk(b"tRNS", b"\0\0\0\0\0\0", checksum=1), (METADATA,)),
        (with_chunk(b"iCCP", GARBAGE, checksum=1), (METADATA,)),
        (with_chunk(b"gAMA", b"\0"), (METADATA,)),
        (with_chunk(b"pHYs", b""), (METADATA,)),
        (with_chunk(b"zzZz", GARBAGE), ()),
        (with_chunk(b"zTXt", GARBAGE), ()),
        (encoded(COLOURS, pnginfo=TEXT), ()),
        (encoded(COLOURS) + GARBAGE * 1000, ()),
        (encoded(COLOURS)[:-12], (CUT,)),
        (encoded(COLOURS)[:-13] + b"?" + encoded(COLOURS)[-12:], (CHECKSUM,)),
        (with_webp_chunk(b"ICCP", GARBAGE), (PROFILE,)),
        (encoded(COLOURS, "WEBP", lossless=True) + GARBAGE, ()),
    ],
)
def test_what_is_broken_beside_the_pixels_leaves_them_as_they_are(content: bytes, damage: tuple[str, ...]) -> None:
    got = prepared(content)
    assert np.array_equal(got.pixels, prepared(encoded(COLOURS)).pixels)
    assert got.damage == damage


def test_a_picture_that_says_to_have_no_pixels_is_a_damaged_one() -> None:
    for content in (bomb(0, 60), resized(encoded(COLOURS, "JPEG"), 120, 0)):
        with pytest.raises(Unreadable, match=r"^a damaged picture: it has no pixels"):
            prepared(content)


def test_a_webp_that_is_cut_behind_its_pixels_is_read_with_a_warning() -> None:
    webp, more = with_webp_chunk(b"EXIF", ENDLESS), encoded(COLOURS, "WEBP", lossless=True)
    film = encoded(
        COLOURS, "WEBP", lossless=True, save_all=True, append_images=[boot(size=COLOURS.size).convert("RGB")]
    )
    long = more[:4] + struct.pack("<I", len(more) + 100) + more[8:]
    for content in (webp[:-20], webp[: -8 - len(ENDLESS)], long, film[:-5]):
        got = prepared(content)
        assert got.damage == (CUT,)
        assert np.array_equal(got.pixels, prepared(more).pixels)
    for content in (webp[: -11 - len(ENDLESS)], more[:-3], more[: len(more) // 2], film[: len(film) // 4]):
        with pytest.raises(Unreadable, match="a damaged picture"):
            prepared(content)


def test_around_a_picture_that_does_not_fill_its_animation_it_is_white() -> None:
    part, width, height = quarters((60, 50)), 120, 90
    picture = encoded(part, "WEBP", lossless=True)[12:]
    numbers = (30 // 2, 20 // 2, part.width - 1, part.height - 1, 100)  # place, size and milliseconds
    frame = b"".join(each.to_bytes(3, "little") for each in numbers) + b"\0" + picture
    body = struct.pack("<4sIB3x", b"VP8X", 10, 2) + b"".join(
        each.to_bytes(3, "little") for each in (width - 1, height - 1)
    )
    body += b"ANIM" + struct.pack("<IIH", 6, 0xFF00FF00, 0) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(part, (30, 20))
    film = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    assert np.array_equal(prepared(film).pixels, prepared(encoded(canvas)).pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_colours_of_a_wide_gamut_become_those_of_srgb(kind: str) -> None:
    image = Image.new("RGB", (90, 90), (200, 100, 100))
    ways: dict[str, dict[str, Any]] = {"PNG": {}, "JPEG": {"quality": 100}, "WEBP": {"lossless": True}}
    options = ways[kind]
    wide = prepared(encoded(image, kind, icc_profile=display_p3(), **options))
    assert np.abs(wide.pixels[:, 14, 14].astype(int) - [215, 95, 98]).max() <= 4, "redder than in sRGB"
    assert wide.damage == ()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(
        prepared(encoded(image, kind, icc_profile=srgb, **options)).pixels,
        prepared(encoded(image, kind, **options)).pixels,
    )
    half = image.convert("RGBA")
    half.putalpha(128)
    if kind != "JPEG":
        got = prepared(encoded(half, kind, icc_profile=display_p3(), **options)).pixels[:, 14, 14].astype(int)
        assert np.abs(got - [235, 175, 176]).max() <= 4


def test_a_profile_for_other_pixels_is_ignored_with_a_warning() -> None:
    grey = Image.new("L", (90, 90), 100)
    got = prepared(encoded(grey, icc_profile=display_p3()))
    assert (got.damage, set(got.pixels.flatten().tolist())) == ((PROFILE,), {100})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"BM6\0\0\0", "BMP"),
        (b"\xff\x0a\0", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"<!-- drawn -->\n<!DOCTYPE svg [<!ENTITY a '>'>]>\n<svg:svg xmlns:svg='x'>", "SVG"),
        ('<?xml version="1.0" encoding="utf-16"?><svg/>'.encode("utf-16"), "SVG"),
        (b"\xef\xbb\xbf\n<HTML lang='en'>", "web page"),
        (b"<!-- saved from -->\n<html>", "web page"),
        (b"<head><title>404</title>", "web page"),
        (b'{"error": "not found"}', "text"),
        ("Größe".encode()[:-1], "text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video"),
        (b"P6\n2 2\n255\n\0", "PNM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"v/1\x01\2\0", "OpenEXR or Radiance"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "PNG copied as text"),
        (b"\x89PNG\r\r\n\x1a\r\n\0\0\0\rIHDR", "PNG copied as text"),
        (b"\x80nothing that is known\0", ""),
        (bytes(2000), ""),
        (b"", "empty file"),
    ],
)
def test_another_format_is_named_with_what_to_do(content: bytes, name: str) -> None:
    with pytest.raises(Foreign, match=r"^no PNG, JPEG or WebP picture") as refused:
        decode_image.open_image(content)
    assert refused.value.name == name
    assert (f"but {name}; " in str(refused.value)) == bool(name)
    assert bool(refused.value.remedy) == bool(name)


def test_a_picture_of_one_colour_or_none_has_nothing_to_see(server: Server, preparation: ImageTransform) -> None:
    for image in (Image.new("RGB", (80, 60), (9, 99, 200)), Image.new("RGBA", (80, 60)), Image.new("L", (28, 28), 3)):
        assert transformed(encoded(image), preparation).is_empty
        assert NOTHING in server.predict(encoded(image)).json()["warnings"]
    assert not transformed(encoded(boot()), preparation).is_empty


def test_the_server_says_of_a_file_what_is_damaged(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json()
    known = document["components"]["schemas"]["Answer"]["properties"]["warnings"]["items"]["enum"]
    for content, warning in ((with_chunk(b"eXIf", GARBAGE), UNTURNED), (encoded(boot(), "JPEG")[:-2], CUT)):
        answer = server.predict(content).json()
        assert warning in answer["warnings"]
        assert set(answer["warnings"]) <= set(known)
    refused = server.predict(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert refused.status == 415
    assert "but HEIC; export it as JPEG" in refused.json()["detail"]


def test_a_picture_far_outside_of_the_training_pixels_is_said_to_be_so(artifact: Artifact) -> None:
    light, dark = (np.full((28, 28), level, np.uint8) for level in (200, 30))
    assert not is_outside(light, artifact.spec["levels"]), "without levels it has learned from all"
    levels: tuple[tuple[int, int], ...] = ((100, 120),)
    assert [is_outside(each, levels) for each in (light, dark, dark + 80)] == [True, True, False]
    speck = np.full((28, 28), 110, np.uint8)
    speck[3, 3:6] = 255
    assert not is_outside(speck, levels)
    application = Application(change_spec(artifact, levels=levels))
    (answer,) = application.answers([Content(encoded(light), "image/png")], seen=False)
    assert OUTSIDE in answer["warnings"]
    levels = ((0, 255), (0, 255), (9, 9))
    assert is_outside(np.stack([light, dark, light]), levels)
    assert not is_outside(np.stack([light, light, dark]), levels)


def test_an_export_tells_the_levels_of_its_training_pixels() -> None:
    images = torch.tensor([[3, 200], [7, 90]], dtype=torch.uint8).view(2, 2, 1, 1)
    assert Split(images, torch.tensor([0, 1])).levels() == [[3, 7], [90, 200]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_cut_picture_that_needs_no_conversion_is_damaged_too(mode: str, preparation: ImageTransform) -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).convert(mode))
    with pytest.raises(Unreadable, match="a damaged picture"):
        transformed(content[: len(content) // 2], preparation)
