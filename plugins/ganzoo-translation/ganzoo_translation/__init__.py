"""Images to images for ganzoo: CycleGAN, pix2pix, PatchGAN, and degradations to undo (see README.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import Model, hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterCommand, RegisterModel


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .cyclegan import Generator as CycleGANGenerator
    from .pix2pix import Generator as Pix2PixGenerator

    register("cyclegan", CycleGANGenerator)
    register("pix2pix", Pix2PixGenerator)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .cyclegan import Discriminator as CycleGANDiscriminator
    from .patchgan import Discriminator as PatchGANDiscriminator

    register("cyclegan", CycleGANDiscriminator)
    register("patchgan", PatchGANDiscriminator)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .cyclegan import Loss as CycleGANLoss
    from .pix2pix import Loss as Pix2PixLoss

    register("cyclegan", CycleGANLoss)
    register("pix2pix", Pix2PixLoss)


@hookimpl
def ganzoo_register_regularizers(register: Register) -> None:
    from .pix2pix import L1

    register("l1", L1)


@hookimpl
def ganzoo_register_degradations(register: Register) -> None:
    from .degradations import Grey, Inpaint, Sketch, SuperResolution

    register("super-resolution", SuperResolution)
    register("grey", Grey)
    register("inpaint", Inpaint)
    register("sketch", Sketch)


@hookimpl
def ganzoo_register_commands(register: RegisterCommand) -> None:
    from .commands import translate

    register("translate", translate)


@hookimpl
def ganzoo_register_importers(register: Register) -> None:
    from .importers import CycleGANImporter, SingleImporter

    register("cyclegan", CycleGANImporter)
    register("pix2pix", SingleImporter)


@hookimpl
def ganzoo_register_models(register: RegisterModel) -> None:
    register(
        Model(
            name="pix2pix",
            family="translation",
            title="Image-to-Image Translation with Conditional Adversarial Networks",
            authors="Isola et al.",
            year=2017,
            url="https://arxiv.org/abs/1611.07004",
            recipes=("pix2pix_facades", "pix2pix_emoji_cpu", "inpaint_emoji_cpu", "super-resolution_emoji_cpu"),
        )
    )
    register(
        Model(
            name="cyclegan",
            family="translation",
            title="Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
            authors="Zhu et al.",
            year=2017,
            url="https://arxiv.org/abs/1703.10593",
            recipes=("cyclegan_horse2zebra", "cyclegan_emoji_cpu"),
        )
    )
