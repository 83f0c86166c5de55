"""How good images are: metrics, the extractors of features behind them, and the sets that they compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor


class ImageSet(Protocol):
    """Images to evaluate, all of one size, with random access."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """uint8 [n, C, R, R]; C is 1 or 3."""
        ...


class Extractor(ABC):
    """Images to feature vectors, for metrics that compare sets of images by them.

    Constructors may declare ``weights`` (path of a file, or None), ``device`` and ``allow_download``: core passes them.
    layers: names of the features on offer. weights_hash: SHA-256 (hex) of the weights, 'none' if there are none.
    resize: how images are brought to the size of the network, in words, for the record.
    """

    layers: Sequence[str]
    weights_hash: str
    resize: str

    @abstractmethod
    def layer_for(self, metric: str) -> str:
        """The layer that ``metric`` uses unless told otherwise."""

    @abstractmethod
    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """images uint8 [N, 3, R, R], on any device -> float32 [N, D] for each of ``layers``, on the CPU."""


class Metric(ABC):
    """One number, or a few, that tell how good a set of images is.

    needs: what ``compute`` gets: 'features' (float32 [N, D] of an Extractor's layer), 'images' (an ImageSet) or
    'generator' (a callable generator, see ganzoo.load_generator). compares: whether real images are wanted too.
    results: name of each number -> whether lower is better; the first is the one to go by. min_samples: fewer images
    give no meaningful number. max_samples: more are not used (None = no limit).
    """

    needs: Literal["features", "images", "generator"] = "features"
    compares: bool = True
    results: ClassVar[Mapping[str, bool]]
    min_samples: int = 2
    max_samples: int | None = None

    @abstractmethod
    def compute(self, fake: Any, real: Any | None) -> dict[str, float]:
        """The numbers of ``results``, or those of them that exist for images of this size (SWD has one a scale).

        The same sets give the same numbers. real: None unless ``compares``.
        """

    def standard_errors(self, fake: Any, real: Any | None) -> dict[str, float | None] | None:
        """Of the numbers that ``compute`` gives for the same sets; None for one that is not known.

        By default None as a whole: core computes the numbers of five disjoint fifths, and takes their spread.
        """
        return None

    def settings_for(self, num_fake: int, num_real: int) -> dict[str, Any]:
        """For sets of these sizes: what values depend on beside the constructor's arguments, for the record."""
        return {}
