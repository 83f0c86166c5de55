"""A recipe and the registry to live objects. The only place where components are constructed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ganzoo.errors import GanzooError, RecipeError
from ganzoo.interfaces import Dataset, Discriminator, Extractor, Generator, GrowthSchedule, Loss, Metric, Phase
from ganzoo.recipe import Component, Recipe
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Registry, constructor_parameters


def build_networks(
    recipe: Recipe, registry: Registry, *, img_channels: int, c_dim: int, device: torch.device | str = "cpu"
) -> tuple[Generator, Discriminator]:
    """G and D on ``device``; 'meta' gives shapes without memory. Random numbers come from torch's generator, G first.

    Raises RecipeError, naming component and owner, if a constructor refuses its arguments.
    """
    G = build_generator(recipe, registry, img_channels=img_channels, c_dim=c_dim, device=device)
    D = _build_player("discriminator", recipe, registry, img_channels=img_channels, c_dim=c_dim, device=device)
    return G, D


def build_generator(
    recipe: Recipe, registry: Registry, *, img_channels: int, c_dim: int, device: torch.device | str = "cpu"
) -> Generator:
    """G alone, as ``build_networks`` makes it."""
    return _build_player("generator", recipe, registry, img_channels=img_channels, c_dim=c_dim, device=device)


def build_loss(recipe: Recipe, registry: Registry) -> Loss:
    """The loss. Raises RecipeError as ``build_networks`` does."""
    return _build("loss", recipe.loss, registry)


def build_growth(recipe: Recipe, registry: Registry, *, world_size: int = 1) -> GrowthSchedule:
    """The growth schedule for ``world_size`` processes. Raises RecipeError as ``build_networks`` does."""
    return _build("growth", recipe.growth, registry, img_resolution=recipe.data.img_resolution, world_size=world_size)


def check_batch_sizes(
    recipe: Recipe, registry: Registry, D: Discriminator, phases: Iterable[Phase], *, world_size: int = 1
) -> None:
    """Raise RecipeError for the first phase whose batches the processes cannot share, or ``D`` does not take."""
    for phase in phases:
        where = f"growth: a batch of {phase.batch_size} at {phase.resolution} px"
        if phase.batch_size % world_size:
            raise RecipeError(f"{where} cannot be shared by {world_size} processes; use a multiple of {world_size}")
        try:
            D.check_batch_size(phase.batch_size // world_size)
        except ValueError as error:
            entry = registry.get("discriminator", recipe.discriminator.name)
            raise RecipeError(f"{where}: discriminator {entry.name!r} of {entry.owner}: {error}") from error


def build_dataset(
    component: Component, registry: Registry, *, img_resolution: int, img_channels: int | None = None
) -> Dataset:
    """A registered source of images. img_channels: what the recipe asks for, None = as the images are."""
    return _build("dataset", component, registry, img_resolution=img_resolution, img_channels=img_channels)


def build_extractor(
    component: Component, registry: Registry, *, weights: str | None, device: str, allow_download: bool
) -> Extractor:
    """A feature extractor. weights: path of a file, None = where its own are kept."""
    return _build("extractor", component, registry, weights=weights, device=device, allow_download=allow_download)


def build_metric(component: Component, registry: Registry, *, num: int, device: str, allow_download: bool) -> Metric:
    """A metric. num: generated images that it is to look at."""
    return _build("metric", component, registry, num=num, device=device, allow_download=allow_download)


def _build_player(
    kind: str, recipe: Recipe, registry: Registry, *, img_channels: int, c_dim: int, device: torch.device | str
) -> Any:
    sizes = {"img_resolution": recipe.data.img_resolution, "img_channels": img_channels, "c_dim": c_dim}
    with torch.device(device):
        return _build(kind, getattr(recipe, kind), registry, **sizes)


def _build(kind: str, component: Component, registry: Registry, **injected: Any) -> Any:
    entry = registry.get(kind, component.name)
    declared = constructor_parameters(entry.cls)
    try:
        args = args_model(entry).model_validate(component.args)
        values = {name: getattr(args, name) for name in type(args).model_fields}
        return entry.cls(**values, **{name: value for name, value in injected.items() if name in declared})
    except GanzooError:
        raise
    except ValueError as error:
        raise RecipeError(f"{kind} {component.name!r} of {entry.owner}: {error}") from error
