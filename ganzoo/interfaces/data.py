"""Where images come from: data sets, and degradations that a translator learns to undo."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn


class Dataset(ABC):
    """A source of images, with random access. Decoding and fitting to size are core's work.

    name: short, for the run folder. fingerprint: hex string that changes whenever an image or a label does.
    labels: None, or int64 [N] class indices, or float32 [N, c_dim] vectors. class_names: by class index, or None.
    shards: sizes of consecutive stretches of images that lie close together, or None. If given, images are read as
    training goes and never packed, in an order that shuffles stretches, and images within a few of them.
    """

    name: str
    fingerprint: str
    labels: np.ndarray | None = None
    class_names: Sequence[str] | None = None
    shards: Sequence[int] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def filename(self, index: int) -> str:
        """What an error message should call image ``index``."""

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Image ``index`` as stored: uint8 or uint16, [H, W], [H, W, 1], [H, W, 2], [H, W, 3] or [H, W, 4].

        Channels are grey, grey + alpha, RGB, RGB + (straight) alpha. Raises DataError, naming the file, if broken.
        """


class Degradation(nn.Module, ABC):
    """What a translator learns to undo: real images -> the images to translate (``data.inputs``, kind ``degrade``).

    Neither learns nor remembers: no parameters, and buffers are constants.
    """

    @abstractmethod
    def forward(self, img: Tensor) -> Tensor:
        """img [N, C, R, R] in [-1, 1] -> [N, C', R, R] in [-1, 1]; C' = ``out_channels(C)``.

        R may be any power of two. Random numbers come from torch, so that resuming is exact. No gradient is taken.
        """

    def out_channels(self, img_channels: int) -> int:
        """Channels of what ``forward`` makes of images with ``img_channels``; ValueError if it cannot take those."""
        return img_channels
