"""Between pixels and what networks are given and make, and to pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.files import atomic


def float_to_uint8(images: Tensor) -> Tensor:
    """Images [N, C, H, W], nominally in [-1, 1] -> uint8, same shape and device.

    ``x * 127.5 + 128``, clamped to [0, 255] and cut off: the convention of the official ProGAN and StyleGAN code.
    What is not a number becomes mid-grey.
    """
    return images.nan_to_num(nan=0.0).mul(127.5).add(128).clamp(0, 255).to(torch.uint8)


def uint8_to_float(pixels: Tensor) -> Tensor:
    """uint8 of any shape -> float32 in [-1, 1], same shape and device: ``x / 127.5 - 1``, what networks are given."""
    return pixels.float() / 127.5 - 1


def premultiply(pixels: np.ndarray) -> np.ndarray:
    """uint8 [..., 4] with straight alpha -> colours multiplied by alpha, rounded."""
    colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return np.concatenate([((colour * alpha + 127) // 255).astype(np.uint8), pixels[..., 3:]], axis=-1)


def unpremultiply(pixels: np.ndarray) -> np.ndarray:
    """uint8 [..., 4] with premultiplied alpha -> straight alpha; black where nothing can be seen."""
    colour, alpha = pixels[..., :3].astype(np.uint32), pixels[..., 3:].astype(np.uint32)
    straight = np.minimum(255, (colour * 255 + alpha // 2) // np.maximum(alpha, 1)) * (alpha > 0)
    return np.concatenate([straight.astype(np.uint8), pixels[..., 3:]], axis=-1)


def to_pillow(image: np.ndarray) -> Image.Image:
    """uint8 [C, H, W], C = 1 (grey), 3 (RGB) or 4 (RGBA, premultiplied) -> a picture with straight alpha."""
    pixels = np.ascontiguousarray(np.moveaxis(np.asarray(image), 0, -1))
    if pixels.shape[-1] == 1:
        return Image.fromarray(pixels[..., 0])
    return Image.fromarray(unpremultiply(pixels) if pixels.shape[-1] == 4 else pixels)


def save_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 [C, H, W] as grey (C = 1), RGB (3) or RGBA (4), whole or not at all.

    RGBA images are premultiplied by alpha everywhere in ganzoo, so that neither resizing nor a network meets the
    arbitrary colours under transparent pixels; files get straight alpha, as every viewer expects.
    Raises DataError if the file cannot be written.
    """
    with atomic(Path(path), error=DataError) as temporary:
        to_pillow(image).save(temporary)


def image_grid(images: np.ndarray, rows: int, cols: int) -> Image.Image:
    """uint8 [n, C, H, W] -> one RGB picture of rows x cols cells, filled row by row; missing cells stay white.

    RGBA images (premultiplied, see ``save_image``) are shown over a light checkerboard.
    """
    images = np.asarray(images)[: rows * cols]
    height, width = images.shape[2:]
    cells = np.full((rows * cols, height, width, 3), 255, np.uint8)
    cells[: len(images)] = np.moveaxis(visible(images), 1, -1)
    grid = cells.reshape(rows, cols, height, width, 3).swapaxes(1, 2).reshape(rows * height, cols * width, 3)
    return Image.fromarray(grid)


def visible(images: np.ndarray) -> np.ndarray:
    """uint8 [n, C, H, W], C = 1, 3 or 4 (RGBA, premultiplied) -> RGB [n, 3, H, W], transparency over a checkerboard."""
    if images.shape[1] != 4:
        return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
    pixels = np.moveaxis(images, 1, -1)
    height, width = pixels.shape[1:3]
    square = max(2, height // 8)
    y, x = np.mgrid[:height, :width] // square
    board = np.where((x + y) % 2, 255, 225)[..., None]
    seen_through = board * (255 - pixels[..., 3:].astype(np.int32)) // 255
    return np.moveaxis(np.minimum(255, pixels[..., :3] + seen_through).astype(np.uint8), -1, 1)
