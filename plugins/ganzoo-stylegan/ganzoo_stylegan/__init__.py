"""StyleGAN (Karras et al. 2019, arXiv:1812.04948) and what followed from it, for ganzoo.

Networks with an intermediate latent space, the logistic loss and its regularizers (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import Model, hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterCommand, RegisterModel


# Imports sit inside the hooks: importing the package is cheap, and a part that fails to import is named.
@hookimpl
def ganzoo_register_generators(register: Register) -> None:
    from .stylegan1 import Generator
    from .stylegan2 import Generator as Generator2
    from .stylegan3 import Generator as Generator3

    register("stylegan", Generator)
    register("stylegan2", Generator2)
    register("stylegan3", Generator3)


@hookimpl
def ganzoo_register_discriminators(register: Register) -> None:
    from .stylegan1 import Discriminator
    from .stylegan2 import Discriminator as Discriminator2

    register("stylegan", Discriminator)
    register("stylegan2", Discriminator2)


@hookimpl
def ganzoo_register_losses(register: Register) -> None:
    from .losses import LogisticLoss

    register("non-saturating", LogisticLoss)


@hookimpl
def ganzoo_register_regularizers(register: Register) -> None:
    from .losses import R1, R2, PathLength

    register("r1", R1)
    register("r2", R2)
    register("path-length", PathLength)


@hookimpl
def ganzoo_register_augmentations(register: Register) -> None:
    from .ada import AdaptiveAugmentation
    from .diffaugment import DiffAugment

    register("ada", AdaptiveAugmentation)
    register("diffaugment", DiffAugment)


@hookimpl
def ganzoo_register_importers(register: Register) -> None:
    from .import_stylegan1 import GANZooImporter, GenforceImporter, TFImporter
    from .import_stylegan2 import GenforceImporter as GenforceImporter2
    from .import_stylegan2 import RosinalityImporter, TorchImporter
    from .import_stylegan2 import TFImporter as TFImporter2
    from .import_stylegan3 import TorchImporter as TorchImporter3

    register("stylegan-tf", TFImporter)
    register("stylegan-genforce", GenforceImporter)
    register("stylegan-pgz", GANZooImporter)
    register("stylegan2-torch", TorchImporter)
    register("stylegan2-tf", TFImporter2)
    register("stylegan2-genforce", GenforceImporter2)
    register("stylegan2-rosinality", RosinalityImporter)
    register("stylegan3-torch", TorchImporter3)


@hookimpl
def ganzoo_register_commands(register: RegisterCommand) -> None:
    from .commands import directions, edit, mix, project

    register("mix", mix)
    register("project", project)
    register("directions", directions)
    register("edit", edit)


@hookimpl
def ganzoo_register_models(register: RegisterModel) -> None:
    for model in (
        Model(
            name="stylegan",
            family="StyleGAN",
            title="A Style-Based Generator Architecture for Generative Adversarial Networks",
            authors="Karras et al.",
            year=2019,
            url="https://arxiv.org/abs/1812.04948",
            recipes=("stylegan_ffhq_1024", "stylegan_faces_cpu"),
        ),
        Model(
            name="stylegan2",
            family="StyleGAN",
            title="Analyzing and Improving the Image Quality of StyleGAN",
            authors="Karras et al.",
            year=2020,
            url="https://arxiv.org/abs/1912.04958",
            recipes=("stylegan2_ffhq_1024", "stylegan2_ffhq_256"),
        ),
        Model(
            name="stylegan2-ada",
            family="StyleGAN",
            title="Training Generative Adversarial Networks with Limited Data",
            authors="Karras et al.",
            year=2020,
            url="https://arxiv.org/abs/2006.06676",
            recipes=("stylegan2_ada_cifar10", "stylegan2_ada_emoji", "stylegan2_fewshot"),
        ),
        Model(
            name="diffaugment",
            family="StyleGAN",
            title="Differentiable Augmentation for Data-Efficient GAN Training",
            authors="Zhao et al.",
            year=2020,
            url="https://arxiv.org/abs/2006.10738",
            recipes=(),
        ),
        Model(
            name="stylegan3",
            family="StyleGAN",
            title="Alias-Free Generative Adversarial Networks",
            authors="Karras et al.",
            year=2021,
            url="https://arxiv.org/abs/2106.12423",
            recipes=("stylegan3_t_ffhq_1024", "stylegan3_r_ffhq_1024"),
        ),
    ):
        register(model)
