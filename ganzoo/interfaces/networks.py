"""The players: generators of several kinds, and the discriminator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ganzoo.interfaces.growth import GrowthState

Noise = Literal["random", "const", "none"]


class Generator(nn.Module, ABC):
    """Latents to images."""

    def __init__(self, *, z_dim: int, c_dim: int, img_resolution: int, img_channels: int) -> None:
        """z_dim: size of the latent. c_dim: size of the label, 0 = unconditional. img_resolution: final size."""
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels

    @abstractmethod
    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, R, R], nominally in [-1, 1].

        R = growth.resolution. Values may leave the range (ProGAN's last layer is linear); whoever shows them clips.
        """

    def check_resolution(self, resolution: int) -> None:
        """Raise ValueError, saying what would work, if there are no images of that size to be had.

        Core asks for every phase of the growth schedule before training starts.
        """


class Translator(Generator):
    """A generator whose latent is an image: pix2pix, CycleGAN and their kin. z_dim is 0.

    Recipes that train one have a section ``data.inputs``, and ``Batch.z`` holds images of it, so that every loss that
    calls ``G(batch.z, batch.gen_c, growth=...)`` works. Images of domain a become images of b, the data's real ones.

    in_channels: of the images to translate. directions: what ``translate`` can do, "a2b" first. size_multiple:
    ``forward`` accepts heights and widths that are multiples of it; a network that is fully convolutional can translate
    images of other sizes than it was trained on.
    """

    directions: ClassVar[Sequence[str]] = ("a2b",)
    size_multiple: int = 1

    def __init__(self, *, in_channels: int, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(z_dim=0, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.in_channels = in_channels

    @abstractmethod
    def forward(self, source: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """source [N, in_channels, R, R] in [-1, 1], c [N, c_dim] or None -> images [N, img_channels, R, R].

        R = growth.resolution. Nominally in [-1, 1], as for any generator.
        """

    def translate(
        self, source: Tensor, c: Tensor | None = None, *, direction: str = "a2b", growth: GrowthState
    ) -> Tensor:
        """``forward``; a network that translates both ways overrides this and ``directions``.

        b2a: source [N, img_channels, R, R] -> [N, in_channels, R, R]. Raises ValueError for other directions.
        """
        if direction != "a2b":
            raise ValueError(f"no direction {direction!r}; there is: {', '.join(self.directions)}")
        return self(source, c, growth=growth)


class StyleGenerator(Generator):
    """A generator with an intermediate latent space: z -> w, and one w for each layer -> image (StyleGAN and its kin).

    ``forward`` is ``synthesis(broadcast(mapping(z, c)), growth=growth)``: in eval mode with the stored noise, in
    training mode with new noise and whatever a network does to styles in between (mixing, following the mean of w).
    Truncation, mixing, projection and path length regularisation work with any subclass.

    w_dim: size of w. num_ws: how many layers take a w of their own, at the final resolution. w_avg [w_dim]: a buffer,
    the running mean of w.
    """

    w_avg: Tensor

    def __init__(
        self, *, z_dim: int, w_dim: int, num_ws: int, c_dim: int, img_resolution: int, img_channels: int
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @abstractmethod
    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> w [N, w_dim], without truncation. Changes no buffer."""

    @abstractmethod
    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: Noise = "random") -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, img_channels, R, R], R = growth.resolution; layers beyond R are not used.

        noise: 'random' draws anew, 'const' takes the stored maps, 'none' leaves it out; without effect where a network
        has none.
        """

    def num_ws_at(self, resolution: int) -> int:
        """How many of the ws matter at ``resolution``: all of them, where a network does not grow."""
        return self.num_ws

    def broadcast(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> ws [N, num_ws, w_dim]: the same for every layer."""
        return w.unsqueeze(1).repeat(1, self.num_ws, 1)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Draw the first ``cutoff`` of ws [N, num_ws, w_dim] (None = all) towards the mean: psi 1 changes nothing.

        The truncation trick in w (Karras et al. 2019, section 3 and appendix B).
        """
        cutoff = self.num_ws if cutoff is None else cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)


class Discriminator(nn.Module, ABC):
    """Images to logits. aux_dim: number of class logits behind the first column (AC-GAN), 0 = none.

    sees_source: whether it judges an image together with the one that it was translated from (pix2pix): it is then
    called with ``source=batch.z``, [N, in_channels, R, R], and only by losses and regularizers that pass it.
    has_features: whether there is more to be had than logits, see ``features``.
    """

    aux_dim: int = 0
    sees_source: bool = False
    has_features: bool = False

    def __init__(self, *, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels

    @abstractmethod
    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """img [N, img_channels, R, R], c [N, c_dim] or None -> logits [N, 1 + aux_dim] or [N, 1, h, w], no sigmoid."""

    def score_both(
        self,
        fake: Tensor,
        real: Tensor,
        fake_c: Tensor | None = None,
        real_c: Tensor | None = None,
        *,
        growth: GrowthState,
    ) -> tuple[Tensor, Tensor]:
        """Logits of N generated and of N real images: those of two calls, which is what it does.

        A D whose images do not depend on each other, or that keeps the two apart, may do both in one pass instead,
        which is quicker. A loss asks for it if it wants no more than the logits.
        """
        return self(fake, fake_c, growth=growth), self(real, real_c, growth=growth)

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """What the last layer makes logits of, for images and labels as in ``forward``: float32 [N, F].

        Differentiable, and there only if ``has_features``: who asks for it checks that first. Raises ValueError else.
        """
        raise ValueError(f"{type(self).__name__} has no features to give: its has_features is false")

    def check_resolution(self, resolution: int) -> None:
        """As ``Generator.check_resolution``."""

    def check_batch_size(self, n: int) -> None:
        """Raise ValueError, saying what would work, if ``forward`` refuses n images: a batch over all processes, or
        with ``train.accumulate`` the micro-batches that it is cut into (``system.whole_batch: false``: the share of one
        process).

        Core asks for every phase before training starts: such a mistake must not end a run after days.
        """
