"""Images to pictures for people: nothing transparent, nothing too small to see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ImageColor

from ganzoo.data.fit import on_background
from ganzoo.data.images import image_grid
from ganzoo.errors import GanzooError
from ganzoo.files import atomic

_LARGEST_GRID = 2**27  # pixels
_LARGEST_JPEG = 65_500  # pixels along a side, in libjpeg
_SMALLEST_CELL = 96


def opaque(image: np.ndarray, background: str) -> np.ndarray:
    """uint8 [C, H, W], C = 1, 3 or 4 (RGBA, premultiplied by alpha) -> RGB [3, H, W] in front of a colour."""
    if len(image) == 4:
        pixels = on_background(np.moveaxis(image, 0, -1), ImageColor.getrgb(background)[:3])
        return np.moveaxis(pixels, -1, 0)
    return np.broadcast_to(image, (3, *image.shape[1:]))


def save_grid(
    path: Path | str, images: Sequence[np.ndarray | None], rows: int, cols: int, *, background: str = "white"
) -> None:
    """Write a picture of rows x cols images uint8 [C, R, R], row by row; None leaves a cell white.

    Images smaller than 96 px are enlarged by a whole factor. background: colour behind RGBA. Raises GanzooError as
    ``check_grid``, for suffixes other than .png and .jpg, and if the file cannot be written.
    """
    path = Path(path)
    size = next(image.shape[-1] for image in images if image is not None)
    check_grid(path, rows, cols, size)
    white = np.full((3, size, size), 255, np.uint8)
    cells = np.stack([white if image is None else opaque(image, background) for image in images])
    factor = _enlargement(size)
    with atomic(path) as temporary:
        image_grid(cells.repeat(factor, axis=2).repeat(factor, axis=3), rows, cols).save(temporary)


def check_grid(path: Path, rows: int, cols: int, size: int) -> None:
    """Raise GanzooError if ``save_grid`` could not write such a picture: better known before making the images."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise GanzooError(
            f"{path}: cannot write a picture of the kind {path.suffix or 'without a suffix'!r}: use .png or .jpg"
        )
    if path.suffix.lower() != ".png" and max(rows, cols) * size * _enlargement(size) > _LARGEST_JPEG:
        raise GanzooError(f"{path}: {rows} x {cols} images of {size} px are too many for a JPEG; use .png")
    if rows * cols * (size * _enlargement(size)) ** 2 > _LARGEST_GRID:
        raise GanzooError(f"{path}: {rows} x {cols} images of {size} px are too many for one picture")


def _enlargement(size: int) -> int:
    return max(1, -(-_SMALLEST_CELL // size))
