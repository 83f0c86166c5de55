"""Image files to arrays."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganzoo.errors import DataError

# The only decoders that files from strangers get to see: Pillow goes by content, and has many more; that of EPS runs
# Ghostscript. Older Pillows have no AVIF.
Image.init()
_FORMATS: list[str] = [
    f for f in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "TGA", "AVIF") if f in Image.OPEN
]

# Camera and print modes that hold colour but that nobody trains on.
_TO_RGB = frozenset({"CMYK", "YCbCr", "LAB", "HSV", "RGBX"})


def decode(data: bytes, filename: str) -> np.ndarray:
    """An encoded image -> uint8 or uint16, [H, W] grey, [H, W, 2] grey + alpha, [H, W, 3] RGB or [H, W, 4] RGBA.

    The EXIF orientation is applied. Palettes, CMYK and the like become RGB, 1-bit becomes grey, a transparent colour
    becomes alpha. 16-bit grey stays 16-bit; of 16-bit colour, Pillow reads the upper byte.
    Raises DataError, naming the file, if it is damaged, too large to be an honest picture, or of no usable mode.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return _to_array(ImageOps.exif_transpose(image), filename)
    except DataError:
        raise
    except Image.DecompressionBombError as problem:
        raise DataError(
            f"{filename}: refused as a decompression bomb ({problem}). If it is a real picture, scale it down first."
        ) from problem
    except MemoryError as problem:
        raise DataError(f"{filename}: does not fit into memory. Scale the picture down first.") from problem
    except UnidentifiedImageError as problem:
        raise DataError(
            f"{filename}: cannot be read as an image: it is none of {', '.join(_FORMATS)}. Convert or remove it."
        ) from problem
    except Exception as problem:  # damaged files make Pillow's decoders raise nearly anything
        raise DataError(f"{filename}: cannot be read as an image ({problem}). Repair or remove it.") from problem


def mode_of(data: bytes) -> str:
    """Pillow's name for the mode of a readable image: L, RGB, RGBA, P, CMYK, I;16 ..."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        return image.mode


def _to_array(image: Image.Image, filename: str) -> np.ndarray:
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise DataError(f"{filename}: 32-bit pixel values. Convert the image to 8 or 16 bit.")
        return values.astype(np.uint16)
    if mode == "F":
        raise DataError(f"{filename}: floating-point pixels have no agreed white. Convert the image to 8 or 16 bit.")
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if mode in ("1", "L", "LA", "La"):
        image = image.convert("LA" if transparent else "L")
    elif mode in ("P", "PA", "RGB", "RGBA", "RGBa") or mode in _TO_RGB:
        image = image.convert("RGBA" if transparent else "RGB")
    else:
        raise DataError(f"{filename}: mode {mode} is not supported. Convert the image to RGB.")
    return np.asarray(image)
