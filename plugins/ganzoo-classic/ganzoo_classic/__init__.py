"""The classic GANs (2014 to 2018) for ganzoo: perceptrons, DCGAN, and the losses of their time.

Networks, losses and regularizers are separate names that combine freely (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .dcgan import Generator
    from .mlp import Generator as MLPGenerator

    register("dcgan", Generator)
    register("mlp", MLPGenerator)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .dcgan import Discriminator
    from .mlp import Discriminator as MLPDiscriminator

    register("dcgan", Discriminator)
    register("mlp", MLPDiscriminator)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .losses import HingeLoss, LSGANLoss, MinimaxLoss, RelativisticLoss, WassersteinLoss

    register("minimax", MinimaxLoss)
    register("lsgan", LSGANLoss)
    register("wgan", WassersteinLoss)
    register("hinge", HingeLoss)
    register("relativistic", RelativisticLoss)


@hookimpl
def ganzoo_register_regularizers(register: Register) -> None:
    from .regularizers import GradientPenalty

    register("gradient-penalty", GradientPenalty)
