"""The multi-layer perceptrons of the first GAN (Goodfellow et al. 2014), and with labels of the first conditional one.

Sizes are those of the paper's code for MNIST. Labels are concatenated to what goes in (Mirza and Osindero 2014).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState
from ganzoo_progan.layers import at_least_fp32

from .layers import append_labels, logits_dim, refuse_growing

Layers = Annotated[int, Field(ge=1, le=1000, description="hidden layers")]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Generator(ganzoo.Generator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R] in (-1, 1): ReLU layers, then tanh.

    The paper ends in a sigmoid: the same function, for images in [0, 1] and twice the last layer's input.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: Annotated[int, Field(ge=1, description="size of the latent vector")] = 100,
        hidden_dim: Annotated[int, Field(ge=1, description="width of the hidden layers")] = 1200,
        hidden_layers: Layers = 2,
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        widths = [z_dim + c_dim, *[hidden_dim] * hidden_layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(hidden_dim, img_channels * img_resolution**2)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("mlp", self.img_resolution, resolution)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.check_resolution(growth.resolution)
        x = append_labels(z, c, self.c_dim)
        for layer in self.hidden:
            x = F.relu(layer(x), inplace=True)
        img = torch.tanh(at_least_fp32(self.out(x)))
        return img.reshape(-1, self.img_channels, self.img_resolution, self.img_resolution)


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] and labels [N, c_dim] to logits [N, 1], or with ``aux`` [N, 1 + c_dim].

    Maxout layers (Goodfellow et al. 2013) with dropout before each layer, as in the paper. With ``aux`` labels are not
    looked at: columns 1 and on classify the image (Odena et al. 2017).
    """

    has_features = True

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        hidden_dim: Annotated[int, Field(ge=1, description="width of the hidden layers")] = 240,
        hidden_layers: Layers = 2,
        pieces: Annotated[
            int, Field(ge=1, description="linear pieces a maxout unit is the largest of; 1: leaky ReLU instead")
        ] = 5,
        input_dropout: Annotated[Dropout, Field(description="share of pixels set to 0 while training")] = 0.2,
        dropout: Annotated[Dropout, Field(description="share of hidden features set to 0 while training")] = 0.5,
        aux: Annotated[bool, Field(description="classify images (AC-GAN) in place of looking at labels")] = False,
    ) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        out_features = logits_dim(c_dim, aux)
        self.aux_dim = out_features - 1
        self.seen_c_dim = 0 if aux else c_dim
        self.pieces = pieces
        self.dropouts = [input_dropout, *[dropout] * hidden_layers]
        widths = [img_channels * img_resolution**2 + self.seen_c_dim, *[hidden_dim] * hidden_layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b * pieces) for a, b in pairwise(widths))
        self.out = nn.Linear(hidden_dim, out_features)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("mlp", self.img_resolution, resolution)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        x = self.features(img, c, growth=growth)
        # bfloat16 has three digits: too few for scores whose differences the loss is made of.
        with torch.autocast(x.device.type, enabled=False):
            return self.out(x)

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """[N, hidden_dim], with dropout while training, as the last layer gets them."""
        self.check_resolution(growth.resolution)
        # Labels are not dropped: an image without its label cannot be judged.
        x = F.dropout(img.flatten(1), self.dropouts[0], self.training)
        x = append_labels(x, c, self.seen_c_dim)
        for layer, dropout in zip(self.hidden, self.dropouts[1:], strict=True):
            x = layer(x)
            x = F.leaky_relu(x, 0.2) if self.pieces == 1 else x.unflatten(1, (-1, self.pieces)).amax(dim=2)
            x = F.dropout(x, dropout, self.training)
        return at_least_fp32(x)
