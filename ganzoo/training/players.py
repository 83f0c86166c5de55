"""The players of a recipe, with all that a step of training works on; built alike for runs and for measurements."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from ganzoo import build
from ganzoo.interfaces import Discriminator, Generator, GrowthSchedule, GrowthState, Loss
from ganzoo.recipe import OptimizerConfig, Recipe
from ganzoo.recipe.models import RMSpropArgs
from ganzoo.registry import Registry
from ganzoo.training.checkpoint import Trainee, TrainingState
from ganzoo.training.choices import Choice, as_recipe_says
from ganzoo.training.extras import AugmentedDiscriminator, Regularizers
from ganzoo.training.remembering import RememberedFakes
from ganzoo.training.system import System


class Reals(Protocol):
    """Where a step gets its real images from; see ``RealImages``."""

    paired: bool

    @property
    def inputs(self) -> Tensor | None: ...

    def next(self, growth: GrowthState) -> tuple[Tensor, Tensor | None]: ...

    def random_labels(self, n: int) -> Tensor | None: ...


@dataclass
class Players:
    """G and D of a recipe on their device, with what trains them: all that a step of ``loop`` works on.

    D_seen is D, with its augmentation if there is one. trainee: what of it a checkpoint holds. choice: how a step is
    computed at present. fakes: for ``train.reuse_fakes``. ``state`` and ``reals`` are set by whoever takes steps,
    before the first one.
    """

    recipe: Recipe
    system: System
    G: Generator
    D: Discriminator
    G_ema: Generator
    D_seen: Discriminator
    loss: Loss
    regularizers: Regularizers
    schedule: GrowthSchedule
    opt_G: Optimizer
    opt_D: Optimizer
    trainee: Trainee
    choice: Choice
    fakes: RememberedFakes
    state: TrainingState = field(init=False)
    reals: Reals = field(init=False)

    def count_terms(self, player: str, logged: dict[str, Tensor], left_out: Tensor, *, lazy: bool) -> None:
        """Called after each update with its terms; a run keeps totals of them."""


def build_players(
    recipe: Recipe,
    registry: Registry,
    system: System,
    *,
    img_channels: int,
    c_dim: int,
    in_channels: int = 0,
    world_size: int = 1,
) -> Players:
    """Draws the weights from torch's generator, G's first. Raises RecipeError as the functions of ``build`` do."""
    sizes = {"img_channels": img_channels, "c_dim": c_dim, "in_channels": in_channels}
    G, D = build.build_networks(recipe, registry, **sizes, device="cpu")
    for player in (G, D):
        player.to(system.device).to(memory_format=system.memory_format)  # type: ignore[call-overload]
    return equip(recipe, registry, system, G, D, world_size=world_size)


def equip(
    recipe: Recipe, registry: Registry, system: System, G: Generator, D: Discriminator, *, world_size: int = 1
) -> Players:
    """Everything else that G and D, which are on their device, are trained with."""
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    schedule = build.build_growth(recipe, registry, world_size=world_size)
    loss, parts, augmentation = build.build_objective(recipe, registry, G, D)
    regularizers = Regularizers(parts)
    D_seen = D if augmentation is None else AugmentedDiscriminator(D, augmentation.to(system.device))
    opt_G = make_optimizer(recipe.optimizer, G, regularizers.steps_share("G"))
    opt_D = make_optimizer(recipe.optimizer, D, regularizers.steps_share("D"))
    modules: dict[str, nn.Module] = {"G": G, "D": D, "G_ema": G_ema}
    others = {"loss": loss, "augmentation": augmentation} | {f"regularizer{i}": r for i, r in enumerate(parts)}
    for name, part in others.items():
        if isinstance(part, nn.Module):  # with running statistics of its own
            modules[name] = part.to(system.device)
    trainee = Trainee(modules, {"opt_G": (G, opt_G), "opt_D": (D, opt_D)})
    choice = as_recipe_says(recipe, system)
    return Players(
        recipe, system, G, D, G_ema, D_seen, loss, regularizers, schedule, opt_G, opt_D, trainee, choice,
        RememberedFakes(G),
    )  # fmt: skip


def make_optimizer(config: OptimizerConfig, player: nn.Module, steps_share: float = 1.0) -> Optimizer:
    """Adam or RMSprop over all of a player's parameters; the schedule sets the learning rate before each step.

    steps_share: of ``Regularizers``.
    """
    if isinstance(config.args, RMSpropArgs):
        alpha, momentum = config.args.alpha**steps_share, config.args.momentum**steps_share
        return RMSprop(player.parameters(), lr=0.0, alpha=alpha, eps=config.args.eps, momentum=momentum)
    beta1, beta2 = (float(beta) ** steps_share for beta in config.args.betas)
    return Adam(player.parameters(), lr=0.0, betas=(beta1, beta2), eps=config.args.eps, fused=True)
