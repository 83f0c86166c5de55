"""pix2pix (Isola et al. 2017, arXiv:1611.07004): one way, from pairs."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import Batch, Discriminator, GrowthState
from ganzoo import Generator as AnyGenerator

from .adversarial import GANMode, d_fake, d_real, g_fake, l1, refuse_classes
from .layers import Norm, append_labels, refuse_growing
from .networks import Blocks, Body, Downs, Dropout, GeneratorWidth, make_body


class Generator(ganzoo.Translator):
    """Source [N, in_channels, R, R] and labels [N, c_dim] to images [N, img_channels, R, R] in (-1, 1).

    Labels are constant maps beside the channels of the source. With ``fill``, the source's last channel is a mask:
    images are painted where it is above 0, and are the source elsewhere, as in Yu et al. 2018 (arXiv:1801.07892).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        network: Body = "unet",
        ngf: GeneratorWidth = 64,
        num_downs: Downs = None,
        n_blocks: Blocks = 9,
        norm: Norm = "batch",
        dropout: Dropout = True,
        fill: Annotated[
            bool, Field(description="paint where the source's last channel, a mask, says, and keep the rest")
        ] = False,
    ) -> None:
        """Raises ValueError for ``fill`` if the source is not an image and a mask."""
        super().__init__(in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        if fill and in_channels != img_channels + 1:
            raise ValueError(
                f"fill needs the image ({img_channels} channels) and a mask, and the source has {in_channels} "
                "channels: set mask to true in the arguments of the degradation inpaint, or fill to false"
            )
        self.fill = fill
        self.body = make_body(
            network,
            in_channels + c_dim,
            img_channels,
            img_resolution=img_resolution,
            n_blocks=n_blocks,
            num_downs=num_downs,
            ngf=ngf,
            norm=norm,
            dropout=dropout,
        )
        self.size_multiple = self.body.size_multiple

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("pix2pix", self.img_resolution, resolution)

    def forward(self, source: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.check_resolution(growth.resolution)
        painted = self.body(append_labels(source, c, self.c_dim))
        if not self.fill:
            return painted
        return torch.where(source[:, -1:] > 0, painted, source[:, :-1].to(painted.dtype))


class Loss(ganzoo.Loss):
    """Equations 1 to 4: the game of patches or pairs, and ``l1_weight`` times the mean distance to the real image.

    D minimises half of its loss of generated and of real images, so that it learns slower than G (section 3.3).
    """

    passes_source = True

    def __init__(
        self,
        *,
        paired: bool,
        mode: GANMode = "vanilla",
        l1_weight: Annotated[
            float, Field(ge=0, allow_inf_nan=False, description="of the distance in G's loss; 0 = without, as unpaired")
        ] = 100.0,
    ) -> None:
        self.paired = paired
        self.mode: GANMode = mode
        self.l1_weight = l1_weight

    def check(self, G: AnyGenerator, D: Discriminator) -> None:
        if not isinstance(G, ganzoo.Translator):
            raise ValueError("pix2pix translates images, and G makes them of latents: use the generator pix2pix")
        refuse_classes(D)
        if self.l1_weight > 0 and not self.paired:
            raise ValueError(
                "l1_weight is above 0, and the data are unpaired, so that no real image is known for a source: use "
                "generator, discriminator and loss cyclegan, or set l1_weight to 0, or data.inputs.kind to same-name, "
                "side-by-side or degrade"
            )

    def d_loss(self, G: AnyGenerator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = G(batch.z, batch.gen_c, growth=batch.growth)
        # Generated images first, as in the paper's code: batch norm's running statistics depend on the order.
        fake_logits = judge(D, fake, batch.gen_c, batch)
        real_logits = judge(D, batch.real, batch.c, batch)
        return {"fake": d_fake(fake_logits, self.mode) / 2, "real": d_real(real_logits, self.mode) / 2}

    def g_loss(self, G: AnyGenerator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        fake = G(batch.z, batch.gen_c, growth=batch.growth)
        terms = {"fake": g_fake(judge(D, fake, batch.gen_c, batch), self.mode)}
        if self.l1_weight > 0:
            terms["l1"] = l1(fake, batch.real) * self.l1_weight
        return terms


class L1(ganzoo.Regularizer):
    """weight * mean absolute difference of G's image and the real one of the pair (equation 3), with any loss.

    G is run for it once more; the loss pix2pix has it built in.
    """

    player = "G"
    passes_source = True  # D is not asked

    def __init__(
        self,
        *,
        paired: bool,
        weight: Annotated[float, Field(ge=0, allow_inf_nan=False, description="of the distance")] = 100.0,
        every: Annotated[
            int, Field(ge=1, description="1: in every step; k: after every k-th one, k times as strong")
        ] = 1,
    ) -> None:
        self.paired = paired
        self.weight = weight
        self.every = every

    def check(self, G: AnyGenerator, D: Discriminator) -> None:
        if not isinstance(G, ganzoo.Translator):
            raise ValueError("G makes images of latents, which no real image belongs to: use the generator pix2pix")
        if not self.paired:
            raise ValueError(
                "the data are unpaired, and no real image belongs to a source: set data.inputs.kind to same-name, "
                "side-by-side or degrade"
            )

    def terms(self, G: AnyGenerator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        return {"l1": l1(G(batch.z, batch.c, growth=batch.growth), batch.real) * self.weight}


def judge(D: Discriminator, img: Tensor, c: Tensor | None, batch: Batch) -> Tensor:
    """D's logits, of pairs if it judges pairs."""
    pair = {"source": batch.z} if D.sees_source else {}
    return D(img, c, growth=batch.growth, **pair)
