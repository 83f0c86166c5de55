"""SNGAN, SAGAN and BigGAN (Brock et al. 2019, arXiv:1809.11096) for ganzoo.

Residual networks with spectral normalisation, self-attention and class labels, and their loss (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import Model, hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterModel


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


@hookimpl
def ganzoo_register_importers(register: Register) -> None:
    from .importers import BigGANImporter

    register("biggan", BigGANImporter)


@hookimpl
def ganzoo_register_models(register: RegisterModel) -> None:
    for model in (
        Model(
            name="sngan",
            family="BigGAN",
            title="Spectral Normalization for Generative Adversarial Networks",
            authors="Miyato et al.",
            year=2018,
            url="https://arxiv.org/abs/1802.05957",
            recipes=("sngan_cifar10",),
        ),
        Model(
            name="sagan",
            family="BigGAN",
            title="Self-Attention Generative Adversarial Networks",
            authors="Zhang et al.",
            year=2019,
            url="https://arxiv.org/abs/1805.08318",
            recipes=("sagan_128",),
        ),
        Model(
            name="biggan",
            family="BigGAN",
            title="Large Scale GAN Training for High Fidelity Natural Image Synthesis",
            authors="Brock et al.",
            year=2019,
            url="https://arxiv.org/abs/1809.11096",
            recipes=("biggan_128_imagenet", "biggan_cifar10", "biggan_faces_cpu"),
        ),
    ):
        register(model)
