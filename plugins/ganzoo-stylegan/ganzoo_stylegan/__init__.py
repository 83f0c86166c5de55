"""StyleGAN (Karras et al. 2019, arXiv:1812.04948) and what followed from it, for ganzoo.

Networks with an intermediate latent space, the logistic loss and its regularizers (see README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo import hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register, RegisterCommand


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
def ganzoo_register_commands(register: RegisterCommand) -> None:
    from .commands import directions, edit, mix, project

    register("mix", mix)
    register("project", project)
    register("directions", directions)
    register("edit", edit)
