"""The classic GANs (2014 to 2018) for ganzoo: perceptrons, DCGAN, and the losses of their time.

Networks, losses and regularizers are separate names that combine freely (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import Model, hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterModel


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .dcgan import Generator
    from .lapgan import Generator as LAPGANGenerator
    from .mlp import Generator as MLPGenerator

    register("dcgan", Generator)
    register("mlp", MLPGenerator)
    register("lapgan", LAPGANGenerator)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .dcgan import Discriminator
    from .lapgan import Discriminator as LAPGANDiscriminator
    from .mlp import Discriminator as MLPDiscriminator

    register("dcgan", Discriminator)
    register("mlp", MLPDiscriminator)
    register("lapgan", LAPGANDiscriminator)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .lapgan import LAPGANLoss
    from .losses import HingeLoss, LSGANLoss, MinimaxLoss, RelativisticLoss, WassersteinLoss

    register("minimax", MinimaxLoss)
    register("lsgan", LSGANLoss)
    register("wgan", WassersteinLoss)
    register("hinge", HingeLoss)
    register("relativistic", RelativisticLoss)
    register("lapgan", LAPGANLoss)


@hookimpl
def ganzoo_register_regularizers(register: Register) -> None:
    from .gdpp import GDPP
    from .regularizers import GradientPenalty, WeightClipping

    register("gdpp", GDPP)
    register("gradient-penalty", GradientPenalty)
    register("weight-clipping", WeightClipping)


@hookimpl
def ganzoo_register_importers(register: Register) -> None:
    from .importers import DCGANImporter

    register("dcgan", DCGANImporter)


@hookimpl
def ganzoo_register_models(register: RegisterModel) -> None:
    for model in (
        Model(
            name="gan",
            family="classic",
            title="Generative Adversarial Networks",
            authors="Goodfellow et al.",
            year=2014,
            url="https://arxiv.org/abs/1406.2661",
            recipes=("gan_mnist",),
        ),
        Model(
            name="cgan",
            family="classic",
            title="Conditional Generative Adversarial Nets",
            authors="Mirza, Osindero",
            year=2014,
            url="https://arxiv.org/abs/1411.1784",
            recipes=("cgan_mnist",),
        ),
        Model(
            name="lapgan",
            family="classic",
            title="Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks",
            authors="Denton et al.",
            year=2015,
            url="https://arxiv.org/abs/1506.05751",
            recipes=("lapgan_cifar10",),
        ),
        Model(
            name="dcgan",
            family="classic",
            title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
            authors="Radford et al.",
            year=2016,
            url="https://arxiv.org/abs/1511.06434",
            recipes=("dcgan_64", "classic_faces_cpu"),
        ),
        Model(
            name="minibatch-discrimination",
            family="classic",
            title="Improved Techniques for Training GANs",
            authors="Salimans et al.",
            year=2016,
            url="https://arxiv.org/abs/1606.03498",
            recipes=(),
        ),
        Model(
            name="acgan",
            family="classic",
            title="Conditional Image Synthesis with Auxiliary Classifier GANs",
            authors="Odena et al.",
            year=2017,
            url="https://arxiv.org/abs/1610.09585",
            recipes=("acgan_cifar10",),
        ),
        Model(
            name="lsgan",
            family="classic",
            title="Least Squares Generative Adversarial Networks",
            authors="Mao et al.",
            year=2017,
            url="https://arxiv.org/abs/1611.04076",
            recipes=("lsgan_64",),
        ),
        Model(
            name="wgan",
            family="classic",
            title="Wasserstein GAN",
            authors="Arjovsky et al.",
            year=2017,
            url="https://arxiv.org/abs/1701.07875",
            recipes=("wgan_64",),
        ),
        Model(
            name="wgan-gp",
            family="classic",
            title="Improved Training of Wasserstein GANs",
            authors="Gulrajani et al.",
            year=2017,
            url="https://arxiv.org/abs/1704.00028",
            recipes=("wgan-gp_cifar10",),
        ),
        Model(
            name="gdpp",
            family="classic",
            title="GDPP: Learning Diverse Generations Using Determinantal Point Processes",
            authors="Elfeki et al.",
            year=2019,
            url="https://arxiv.org/abs/1812.00068",
            recipes=(),
        ),
        Model(
            name="r3gan",
            family="classic",
            title="The GAN is dead; long live the GAN! A Modern GAN Baseline",
            authors="Huang et al.",
            year=2024,
            url="https://arxiv.org/abs/2501.05441",
            recipes=("r3gan_cifar10",),
        ),
    ):
        register(model)
