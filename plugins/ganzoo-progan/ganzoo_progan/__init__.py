"""Progressive growing of GANs (Karras et al. 2018, arXiv:1710.10196) for ganzoo.

Networks, WGAN-GP loss and the fade-in schedule, equal to the authors' code number for number (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import Model, hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterModel


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .networks import Generator

    register("progan", Generator)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .networks import Discriminator

    register("progan", Discriminator)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .losses import WGANGPLoss

    register("wgan-gp", WGANGPLoss)


@hookimpl
def ganzoo_register_growth_schedules(register: Register) -> None:
    from .growth import FadeSchedule

    register("fade", FadeSchedule)


@hookimpl
def ganzoo_register_metrics(register: Register) -> None:
    from .ms_ssim import MultiScaleSSIM
    from .swd import SlicedWasserstein

    register("swd", SlicedWasserstein)
    register("ms-ssim", MultiScaleSSIM)


@hookimpl
def ganzoo_register_importers(register: Register) -> None:
    from .importers import GANZooImporter, GenforceImporter, TFImporter

    register("progan-tf", TFImporter)
    register("progan-genforce", GenforceImporter)
    register("progan-pgz", GANZooImporter)


@hookimpl
def ganzoo_register_models(register: RegisterModel) -> None:
    register(
        Model(
            name="progan",
            family="ProGAN",
            title="Progressive Growing of GANs for Improved Quality, Stability, and Variation",
            authors="Karras et al.",
            year=2018,
            url="https://arxiv.org/abs/1710.10196",
            recipes=(
                "progan_1024",
                "progan_256_lsun",
                "progan_cifar10",
                "progan_cifar10_cpu",
                "progan_emoji_128",
                "quickstart",
            ),
        )
    )
