"""Any image to the square, 8-bit, channels-first array that training wants."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image, ImageColor

from ganzoo.data.images import premultiply
from ganzoo.errors import DataError

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
# Modes with so many independent 8-bit channels; CMYK because Pillow must not treat the fourth as alpha.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass(frozen=True)
class Fit:
    """How images are brought to size.

    resolution: a power of two. channels: 1, 3 or 4 (RGBA premultiplied by alpha). mode: "crop" cuts out the centre
    square, "resize" stretches, "pad" adds borders. filter: "lanczos" or "box". background: colour of the borders, and
    of what shines through when transparent images lose their alpha; with 4 channels the borders are transparent.
    """

    resolution: int
    channels: int
    mode: Literal["crop", "resize", "pad"] = "crop"
    filter: Literal["lanczos", "box"] = "lanczos"
    background: str = "white"

    def __post_init__(self) -> None:
        if not 1 <= self.resolution <= 16384:
            raise DataError(f"img_resolution: {self.resolution} is not between 1 and 16384")
        if self.resolution & (self.resolution - 1):
            raise DataError(f"img_resolution: {self.resolution} is not a power of two; use 32, 64, 128, ...")
        if self.channels not in _MODES:
            raise DataError(f"img_channels: {self.channels} is not supported; use 1 (grey), 3 (RGB) or 4 (RGBA)")
        if self.mode not in ("crop", "resize", "pad") or self.filter not in _FILTERS:
            raise DataError(f"fit: {self.mode!r} with {self.filter!r} is no way to bring images to size")
        self.colour  # noqa: B018  (an unknown colour is an error here, not at the first image)

    @cached_property
    def colour(self) -> tuple[int, ...]:
        """``background`` as RGB."""
        try:
            return ImageColor.getrgb(self.background)[:3]
        except ValueError as problem:
            raise DataError(
                f"background: {self.background!r} is not a colour; use a name such as white, or #rrggbb"
            ) from problem

    @property
    def levels(self) -> list[int]:
        """Every resolution that training may ask for, largest first: 32, 16, 8, 4, 2, 1."""
        return [self.resolution >> k for k in range(self.resolution.bit_length())]

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one image with all its levels."""
        return self.channels * sum(r * r for r in self.levels)

    def fingerprint(self, source: str) -> str:
        """Fingerprint of the images of ``source`` (a data set's fingerprint) fitted like this."""
        return hashlib.sha256(json.dumps([source, asdict(self)], sort_keys=True).encode()).hexdigest()[:32]

    def enlarges(self, image: np.ndarray) -> bool:
        """Whether ``image`` [H, W, ...] has fewer pixels than are asked for."""
        height, width = image.shape[:2]
        return (max if self.mode == "pad" else min)(height, width) < self.resolution

    def __call__(self, image: np.ndarray, filename: str) -> np.ndarray:
        """What ``Dataset.image`` returned -> uint8 [channels, resolution, resolution].

        Raises DataError, naming the file, if ``image`` is nothing that the contract allows.
        """
        pixels = to_channels(to_8bit(image, filename), self.channels, self.colour)
        if pixels.shape[:2] != (self.resolution, self.resolution):
            pixels = self._to_size(pixels)
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def _to_size(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        mode = _MODES[self.channels]
        image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
        size = self.resolution
        if self.mode == "pad":
            scale = size / max(width, height)
            inner = (max(1, round(width * scale)), max(1, round(height * scale)))
            canvas = Image.new(mode, (size, size), self._border())
            canvas.paste(image.resize(inner, _FILTERS[self.filter]), ((size - inner[0]) // 2, (size - inner[1]) // 2))
            image = canvas
        else:
            if self.mode == "crop":
                side = min(width, height)
                left, top = (width - side) // 2, (height - side) // 2
                image = image.crop((left, top, left + side, top + side))
            image = image.resize((size, size), _FILTERS[self.filter])
        fitted = np.asarray(image).reshape(size, size, self.channels)
        if self.channels == 4:  # Lanczos rings; a premultiplied colour cannot exceed its alpha
            fitted = np.concatenate([np.minimum(fitted[..., :3], fitted[..., 3:]), fitted[..., 3:]], axis=-1)
        return fitted

    def _border(self) -> int | tuple[int, ...]:
        if self.channels == 4:
            return (0, 0, 0, 0)
        if self.channels == 3:
            return self.colour
        return Image.new("RGB", (1, 1), self.colour).convert("L").tobytes()[0]


def mip_levels(images: np.ndarray) -> dict[int, np.ndarray]:
    """uint8 [n, C, R, R] -> every level {R: ..., R/2: ..., 1: ...} by 2x2 means, each rounded from the exact means.

    This is how the official ProGAN data tool makes its lower resolutions.
    """
    levels = {images.shape[-1]: images}
    exact = images.astype(np.float32)
    while exact.shape[-1] > 1:
        exact = (
            exact[..., 0::2, 0::2] + exact[..., 0::2, 1::2] + exact[..., 1::2, 0::2] + exact[..., 1::2, 1::2]
        ) * np.float32(0.25)
        levels[exact.shape[-1]] = np.rint(exact).astype(np.uint8)
    return levels


def to_8bit(image: np.ndarray, filename: str) -> np.ndarray:
    """uint8 or uint16, [H, W] or [H, W, 1..4] -> uint8 [H, W, C]; 16 bit by value / 257, rounded."""
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or not image.size:
        raise DataError(
            f"{filename}: an array {image.dtype} {list(image.shape)} is not an image; "
            "a data set must give uint8 or uint16, [H, W] or [H, W, channels]"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] > 4:
        raise DataError(f"{filename}: {image.shape[-1]} channels; an image has 1 (grey), 2, 3 (RGB) or 4 (RGBA)")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image


def to_channels(pixels: np.ndarray, channels: int, background: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, 1..4], straight alpha -> [H, W, channels]; 4 channels come out premultiplied by alpha.

    background: RGB behind transparency, where alpha goes.
    """
    if pixels.shape[-1] == channels != 4:
        return pixels
    if pixels.shape[-1] <= 2:  # grey to RGB
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=-1)
    if channels == 4:
        if pixels.shape[-1] == 4:
            return premultiply(pixels)
        return np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)
    if pixels.shape[-1] == 4:
        pixels = on_background(premultiply(pixels), background)
    if channels == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return pixels


def on_background(pixels: np.ndarray, background: tuple[int, ...]) -> np.ndarray:
    """uint8 [..., 4] premultiplied by alpha, in front of an RGB colour -> [..., 3]."""
    behind = np.array(background, np.uint16) * (255 - pixels[..., 3:].astype(np.uint16))
    return np.minimum(255, pixels[..., :3] + (behind + 127) // 255).astype(np.uint8)
