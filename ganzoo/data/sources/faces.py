"""The built-in images: cartoon faces, so that everything runs without a download."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from ganzoo.data.sources.face_parts import draw_face
from ganzoo.interfaces import Dataset

HAIR_STYLES = ("bald", "short", "spiky", "bob", "long", "curly", "bun")
# attribute -> its values and how often each occurs
CHOICES: dict[str, dict[str, float]] = {
    "hair_style": {"bald": 1, "short": 1.5, "spiky": 1.2, "bob": 1.2, "long": 1.5, "curly": 1.3, "bun": 1.2},
    "hair_colour": {"black": 3, "brown": 3, "auburn": 2, "blond": 3, "grey": 1.5, "pink": 1, "blue": 1},
    "skin": {"porcelain": 2, "light": 2, "olive": 2, "tan": 2, "brown": 2, "dark": 2},
    "background": {"sky": 1, "mint": 1, "peach": 1, "lemon": 1, "lilac": 1, "coral": 1, "teal": 1, "navy": 1},
    "shirt": {"red": 1, "blue": 1, "green": 1, "yellow": 1, "white": 1, "purple": 1},
    "eyes": {"brown": 3, "blue": 2, "green": 2},
    "mouth": {"smile": 4, "grin": 3, "neutral": 2, "surprised": 1, "sad": 1},
    "glasses": {"none": 7, "round": 2, "square": 1.5},
    "beard": {"none": 6, "full": 2, "moustache": 1.5},
}
# attribute -> range of a number, in fractions of the picture
RANGES: dict[str, tuple[float, float]] = {
    "face_width": (0.27, 0.31),
    "face_height": (0.315, 0.355),
    "x": (0.485, 0.515),
    "y": (0.535, 0.555),
    "gaze": (-0.012, 0.012),
    "brow": (-0.012, 0.012),
}


class CartoonFaces(Dataset):
    """Procedural cartoon faces, RGB, drawn when asked for. Image ``i`` depends on ``seed``, ``i`` and size alone.

    The labels are the hair styles (7 classes); ``attributes`` tells the rest.
    """

    name = "faces"

    def __init__(
        self,
        *,
        img_resolution: int,
        num_images: Annotated[int, Field(ge=1, le=10_000_000, description="how many faces")] = 10_000,
        seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="which faces")] = 0,
    ) -> None:
        """img_resolution: pixels, any number from 4 on."""
        if img_resolution < 4:
            raise ValueError(f"img_resolution must be 4 or more, not {img_resolution}")
        self.img_resolution = img_resolution
        self.seed = seed
        self._num_images = num_images
        # One row an image, so that a larger set begins with the smaller one.
        uniform = np.random.RandomState(seed).random_sample((num_images, len(CHOICES) + len(RANGES)))
        self._choices = {}
        for column, (attribute, weights) in zip(uniform.T, CHOICES.items(), strict=False):
            limits = np.cumsum(list(weights.values()))
            self._choices[attribute] = np.searchsorted(limits / limits[-1], column, side="right")
        # Beards go with the short styles only: a bob that hides in a beard is hard to tell from hair all round.
        beardless = np.isin(self._choices["hair_style"], [HAIR_STYLES.index(style) for style in ("bob", "long", "bun")])
        self._choices["beard"][beardless] = 0
        self._numbers = {
            attribute: low + (high - low) * column
            for column, (attribute, (low, high)) in zip(uniform.T[len(CHOICES) :], RANGES.items(), strict=True)
        }
        self.labels = self._choices["hair_style"].astype(np.int64)
        self.class_names = HAIR_STYLES

    def __len__(self) -> int:
        return self._num_images

    def filename(self, index: int) -> str:
        return f"face {index} of seed {self.seed}"

    def attributes(self, index: int) -> dict[str, str | float]:
        """What face ``index`` is made of: names for the keys of ``CHOICES``, numbers for those of ``RANGES``."""
        chosen: dict[str, str | float] = {a: list(CHOICES[a])[v[index]] for a, v in self._choices.items()}
        return chosen | {attribute: float(values[index]) for attribute, values in self._numbers.items()}

    def image(self, index: int) -> np.ndarray:
        """uint8 [img_resolution, img_resolution, 3]."""
        factor = max(128 // self.img_resolution, 4 if self.img_resolution <= 128 else 2)  # drawn larger, for soft edges
        canvas = Image.new("RGB", (self.img_resolution * factor,) * 2)
        draw_face(ImageDraw.Draw(canvas), self.attributes(index), canvas.width)
        return np.asarray(canvas.reduce(factor))

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Over the numbers that make the set and its first faces, because another Pillow may draw differently."""
        digest = hashlib.sha256(f"faces {len(self)} {self.img_resolution} {self.seed}".encode())
        for index in range(min(64, len(self))):
            digest.update(self.image(index).tobytes())
        return digest.hexdigest()[:32]
