"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593): two generators and two discriminators, from images without pairs.

Domain a has the images to translate (``data.inputs``), domain b the data's real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GrowthState, whole_batch
from ganzoo import Discriminator as AnyDiscriminator
from ganzoo import Generator as AnyGenerator

from .adversarial import GANMode, d_fake, d_real, g_fake, l1
from .layers import Norm, refuse_growing, refuse_labels
from .networks import Blocks, Downs, Dropout, GeneratorWidth, make_body
from .patchgan import Layers, Patches, Width, check_patches

Side = Literal["a", "b"]
Lambda = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Generator(ganzoo.Translator):
    """A pair: G_ab from a to b, which ``forward`` is, and G_ba from b to a, in (-1, 1)."""

    directions: ClassVar[Sequence[str]] = ("a2b", "b2a")

    def __init__(
        self,
        *,
        in_channels: int,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        network: Annotated[Literal["resnet", "unet"], Field(description="of both generators")] = "resnet",
        ngf: GeneratorWidth = 64,
        n_blocks: Blocks = 9,
        num_downs: Downs = None,
        norm: Norm = "instance",
        dropout: Dropout = False,
    ) -> None:
        refuse_labels("cyclegan", c_dim)
        super().__init__(in_channels=in_channels, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        options: dict[str, Any] = {
            "img_resolution": img_resolution,
            "n_blocks": n_blocks,
            "num_downs": num_downs,
            "ngf": ngf,
            "norm": norm,
            "dropout": dropout,
        }
        self.G_ab = make_body(network, in_channels, img_channels, **options)
        self.G_ba = make_body(network, img_channels, in_channels, **options)
        self.size_multiple = self.G_ab.size_multiple

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("cyclegan", self.img_resolution, resolution)

    def forward(self, source: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return self.translate(source, c, growth=growth)

    def translate(
        self, source: Tensor, c: Tensor | None = None, *, direction: str = "a2b", growth: GrowthState
    ) -> Tensor:
        self.check_resolution(growth.resolution)
        if direction not in self.directions:
            raise ValueError(f"no direction {direction!r}; there are: {', '.join(self.directions)}")
        return (self.G_ab if direction == "a2b" else self.G_ba)(source)


class Discriminator(ganzoo.Discriminator):
    """A pair of PatchGANs, one for images of each domain: logits [N, 1, h, w].

    side b, which every other loss asks, judges images [N, img_channels, R, R]; side a judges [N, in_channels, R, R].
    """

    def __init__(
        self,
        *,
        in_channels: int,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        n_layers: Layers = 3,
        ndf: Width = 64,
        norm: Norm = "instance",
    ) -> None:
        refuse_labels("cyclegan", c_dim)
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        check_patches(n_layers, img_resolution)
        if in_channels == 0:
            raise ValueError(
                "cyclegan judges images of two domains, and there is one: give data.inputs, or use the discriminator "
                "patchgan"
            )
        self.in_channels = in_channels
        self.D_a = Patches(in_channels, n_layers=n_layers, ndf=ndf, norm=norm)
        self.D_b = Patches(img_channels, n_layers=n_layers, ndf=ndf, norm=norm)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("cyclegan", self.img_resolution, resolution)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState, side: Side = "b") -> Tensor:
        self.check_resolution(growth.resolution)
        return (self.D_a if side == "a" else self.D_b)(img)


class ImagePool(nn.Module):
    """Generated images of earlier steps, so that D does not forget what G used to do (Shrivastava et al. 2017).

    Once ``size`` images are in, each new one is returned as it is half of the time, and otherwise takes the place of
    one that is returned instead. The images are a buffer, and chance is torch's generator: resuming is exact.
    Several processes have the same pool, of the images of all of them.
    """

    images: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(0))

    def exchange(self, new: Tensor) -> Tensor:
        """new [n, C, R, R] -> as many."""
        if self.size == 0:
            return new
        new = whole_batch.gather(new.detach())
        if self.images.shape[1:] != new.shape[1:]:
            self.images = new[:0]
        room = self.size - len(self.images)
        self.images = torch.cat([self.images, new[:room]])
        given = new.clone()
        # On the CPU: a GPU's numbers would have to be waited for.
        chances = whole_batch.rand(len(new), batch_dim=None).tolist()
        places = whole_batch.randint(0, self.size, (len(new),), batch_dim=None).tolist()
        for i in range(room, len(new)):
            if chances[i] > 0.5:
                given[i] = self.images[places[i]]
                self.images[places[i]] = new[i]
        return whole_batch.share(given)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # As many images as were in it, of whatever size.
        saved = state_dict.get(f"{prefix}images")
        if saved is not None:
            self.images = torch.zeros_like(saved, device=self.images.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Loss(ganzoo.Loss, nn.Module):
    """Section 3: the game in both domains, and what is translated there and back is to be what it was.

    identity: an image that is in the target domain already is to stay as it is (section 5.2). D minimises half of its
    loss of real and of generated images, the latter out of a pool (section 4).
    """

    def __init__(
        self,
        *,
        mode: GANMode = "lsgan",
        lambda_a: Annotated[Lambda, Field(description="weight of the cycle a to b to a, an L1 distance")] = 10.0,
        lambda_b: Annotated[Lambda, Field(description="weight of the cycle b to a to b")] = 10.0,
        identity: Annotated[
            Lambda, Field(description="weight of the identity terms, times lambda_a and lambda_b; 0 = without")
        ] = 0.5,
        pool_size: Annotated[
            int, Field(ge=0, le=10_000, description="generated images kept a domain for D to see again; 0 = none")
        ] = 50,
    ) -> None:
        super().__init__()
        self.mode: GANMode = mode
        self.lambda_a = lambda_a
        self.lambda_b = lambda_b
        self.identity = identity
        self.pool_a = ImagePool(pool_size)
        self.pool_b = ImagePool(pool_size)

    def check(self, G: AnyGenerator, D: AnyDiscriminator) -> None:
        if not isinstance(G, ganzoo.Translator) or "b2a" not in G.directions:
            raise ValueError("G does not translate there and back: use the generator cyclegan")
        if not isinstance(D, Discriminator):
            raise ValueError("D does not judge images of both domains: use the discriminator cyclegan")
        if self.identity > 0 and G.in_channels != G.img_channels:
            raise ValueError(
                f"images of a have {G.in_channels} channels and those of b {G.img_channels}, so that none of a can be "
                "left as it is in b: set identity to 0, or the img_channels of data and data.inputs to the same"
            )

    def d_loss(self, G: AnyGenerator, D: AnyDiscriminator, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(G, ganzoo.Translator)
        a, b, growth = batch.z, batch.real, batch.growth
        with torch.no_grad():
            fake_b = self.pool_b.exchange(G.translate(a, growth=growth))
            fake_a = self.pool_a.exchange(G.translate(b, direction="b2a", growth=growth))
        terms = {}
        for side, real, fake in (("b", b, fake_b), ("a", a, fake_a)):
            terms[f"real_{side}"] = d_real(D(real, growth=growth, side=side), self.mode) / 2
            terms[f"fake_{side}"] = d_fake(D(fake, growth=growth, side=side), self.mode) / 2
        return terms

    def g_loss(self, G: AnyGenerator, D: AnyDiscriminator, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(G, ganzoo.Translator)
        a, b, growth = batch.z, batch.real, batch.growth
        fake_b = G.translate(a, growth=growth)
        fake_a = G.translate(b, direction="b2a", growth=growth)
        terms = {
            "fake_b": g_fake(D(fake_b, growth=growth, side="b"), self.mode),
            "fake_a": g_fake(D(fake_a, growth=growth, side="a"), self.mode),
        }
        if self.lambda_a > 0:
            terms["cycle_a"] = l1(G.translate(fake_b, direction="b2a", growth=growth), a) * self.lambda_a
        if self.lambda_b > 0:
            terms["cycle_b"] = l1(G.translate(fake_a, growth=growth), b) * self.lambda_b
        if self.identity > 0:
            same_a = G.translate(a, direction="b2a", growth=growth)
            same_b = G.translate(b, growth=growth)
            terms["identity_a"] = l1(same_a, a) * (self.lambda_a * self.identity)
            terms["identity_b"] = l1(same_b, b) * (self.lambda_b * self.identity)
        return terms
