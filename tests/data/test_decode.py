from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.decode import decode, mode_of
from ganzoo.errors import DataError


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("1", (5, 7)), ("L", (5, 7)), ("LA", (5, 7, 2)), ("P", (5, 7, 3)), ("RGB", (5, 7, 3)), ("RGBA", (5, 7, 4))],
)
def test_modes_of_png(encode, mode, shape):
    image = Image.new("RGB", (7, 5), (200, 100, 50)).convert(mode)
    assert decode(encode(image), "x.png").shape == shape
    assert mode_of(encode(image)) == mode


def test_cmyk_jpeg_becomes_rgb(encode):
    red = decode(encode(Image.new("RGB", (8, 8), (255, 0, 0)).convert("CMYK"), "jpeg"), "x.jpg")
    assert red.shape == (8, 8, 3)
    assert np.abs(red.astype(int) - (255, 0, 0)).max() < 6


def test_one_bit_is_black_and_white(encode):
    image = Image.new("1", (4, 4), 1)
    image.putpixel((0, 0), 0)
    pixels = decode(encode(image), "x.png")
    assert (pixels[0, 0], pixels[1, 1]) == (0, 255)


def test_sixteen_bit_grey_stays_sixteen_bit(encode):
    values = np.array([[0, 257, 65535], [1000, 30000, 65278]], np.uint16)
    pixels = decode(encode(values), "x.png")
    assert pixels.dtype == np.uint16
    assert (pixels == values).all()


def test_transparent_palette_colour_becomes_alpha(encode):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    pixels = decode(encode(image, transparency=1), "x.png")
    assert pixels[0].tolist() == [[255, 0, 0, 255], [0, 255, 0, 0]]


def test_exif_orientation_is_applied(encode):
    image = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(encode(image, "jpeg", exif=exif), "x.jpg").shape == (6, 4, 3)


@pytest.mark.parametrize("format", ["png", "jpeg", "bmp", "webp"])
@pytest.mark.parametrize("kept", [0.6, 0.05])
def test_truncated_file_is_named(encode, pixels, format, kept):
    data = encode(pixels(1, 64), format)
    with pytest.raises(DataError, match=r"cats/7\.img: cannot be read as an image"):
        decode(data[: int(len(data) * kept)], "cats/7.img")


def test_not_an_image_is_named():
    with pytest.raises(DataError, match=r"7\.png: cannot be read as an image: it is none of PNG, JPEG, "):
        decode(b"<html>404</html>", "7.png")


@pytest.mark.parametrize("format", ["eps", "ico", "pdf"])
def test_decoders_of_other_formats_are_never_tried(encode, format):
    # whatever the file is called: Pillow gives EPS to Ghostscript, which is a language
    with pytest.raises(DataError, match="it is none of PNG"):
        decode(encode(Image.new("RGB", (16, 16)), format), "x.png")


def test_pictures_of_phones_with_several_frames_are_read(encode):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "mpo", save_all=True, append_images=frames[1:])
    assert decode(data, "x.jpg").shape == (4, 6, 3)


def test_decompression_bomb_is_refused_before_it_is_unpacked():
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"huge\.png: refused as a decompression bomb"):
        decode(data, "huge.png")


def test_pixels_without_an_agreed_white_are_refused(encode):
    with pytest.raises(DataError, match=r"depth\.tif: floating-point"):
        decode(encode(np.ones((4, 4), np.float32), "tiff"), "depth.tif")
    with pytest.raises(DataError, match=r"depth\.tif: 32-bit"):
        decode(encode(np.full((4, 4), 70_000, np.int32), "tiff"), "depth.tif")
