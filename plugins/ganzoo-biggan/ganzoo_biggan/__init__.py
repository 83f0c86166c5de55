"""SNGAN, SAGAN and BigGAN (Brock et al. 2019, arXiv:1809.11096) for ganzoo.

Residual networks with spectral normalisation, self-attention and class labels, and their loss (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .networks import Generator, SAGANGenerator, SNGANGenerator

    register("biggan", Generator)
    register("sagan", SAGANGenerator)
    register("sngan", SNGANGenerator)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .networks import Discriminator, SAGANDiscriminator, SNGANDiscriminator

    register("biggan", Discriminator)
    register("sagan", SAGANDiscriminator)
    register("sngan", SNGANDiscriminator)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .losses import JointHingeLoss

    register("biggan-hinge", JointHingeLoss)


@hookimpl
def ganzoo_register_regularizers(register: Register) -> None:
    from .losses import Orthogonal

    register("orthogonal", Orthogonal)
