"""Frames to an .mp4 or a .gif."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganzoo.errors import GanzooError
from ganzoo.files import atomic
from ganzoo.generation.pictures import opaque

_MIN_PIXELS = 256  # smaller frames are enlarged: players show them tiny, and H.264 halves the resolution of colour


def write_video(path: Path | str, frames: Iterable[np.ndarray], *, fps: int = 30, background: str = "white") -> None:
    """Write frames uint8 [C, R, R] (grey, RGB, or RGBA premultiplied by alpha) to ``path``, whole or not at all.

    The suffix decides: .gif needs nothing, .mp4 (H.264) the optional dependency ganzoo[video]. A GIF counts time in
    hundredths of a second, shows 50 frames a second at most, and repeats for ever. Frames smaller than 256 px are
    enlarged by a whole factor.
    background: colour behind RGBA. Raises GanzooError for other suffixes, if the dependency is missing, or if the file
    cannot be written.
    """
    path = Path(path)
    check_video_path(path)
    pictures = (_to_rgb(frame, background) for frame in frames)
    with atomic(path) as temporary:
        (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(temporary, pictures, fps)


def can_write_mp4() -> bool:
    """Whether the optional dependency is here."""
    return find_spec("imageio") is not None and find_spec("imageio_ffmpeg") is not None


def check_video_path(path: Path) -> None:
    """Raise GanzooError if ``write_video`` could not write such a file: better known before making the frames."""
    if path.suffix.lower() == ".gif":
        return
    if path.suffix.lower() != ".mp4":
        raise GanzooError(
            f"{path}: cannot write a video of the kind {path.suffix or 'without a suffix'!r}: use .mp4 or .gif"
        )
    if not can_write_mp4():
        raise GanzooError(
            f"{path}: writing .mp4 needs an optional dependency: pip install 'ganzoo[video]'. A .gif needs nothing"
        )


def _to_rgb(frame: np.ndarray, background: str) -> np.ndarray:
    """uint8 [C, R, R] -> [H, W, 3], large enough to watch, height and width even as H.264 wants them."""
    pixels = np.moveaxis(opaque(frame, background), 0, -1)
    factor = -(-_MIN_PIXELS // pixels.shape[0])
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    pixels = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
    return np.ascontiguousarray(pixels)


def _write_mp4(path: Path, pictures: Iterator[np.ndarray], fps: int) -> None:
    import imageio.v2 as imageio

    writer: Any = imageio.get_writer(path, fps=fps, codec="libx264", quality=8, macro_block_size=2)
    with writer as video:
        for picture in pictures:
            video.append_data(picture)


def _write_gif(path: Path, pictures: Iterator[np.ndarray], fps: int) -> None:
    first = Image.fromarray(next(pictures))
    rest = (Image.fromarray(picture) for picture in pictures)
    # Browsers take a delay of one hundredth for a mistake, and wait ten.
    first.save(path, save_all=True, append_images=rest, duration=10 * max(2, round(100 / fps)), loop=0)
