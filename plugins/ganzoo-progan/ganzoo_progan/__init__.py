"""Progressive growing of GANs (Karras et al. 2018, arXiv:1710.10196) for ganzoo.

Networks, WGAN-GP loss and the fade-in schedule, equal to the authors' code number for number (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register


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
