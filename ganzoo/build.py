"""A recipe and the registry to live objects. The only place where components are constructed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch

from ganzoo.errors import GanzooError, RecipeError
from ganzoo.interfaces import (
    Augmentation,
    Dataset,
    Degradation,
    Discriminator,
    Extractor,
    Generator,
    GrowthSchedule,
    Loss,
    Metric,
    Phase,
    Regularizer,
    Translator,
)
from ganzoo.recipe import Component, Recipe
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Registry, constructor_parameters


def build_networks(
    recipe: Recipe,
    registry: Registry,
    *,
    img_channels: int,
    c_dim: int,
    in_channels: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[Generator, Discriminator]:
    """G and D on ``device``; 'meta' gives shapes without memory. Random numbers come from torch's generator, G first.

    in_channels: of the images to translate, 0 = none. Raises RecipeError, naming component and owner, if a constructor
    refuses its arguments, or if only one of generator and ``data.inputs`` is about translation.
    """
    _check_translates(recipe, registry)
    sizes = {"img_channels": img_channels, "c_dim": c_dim, "in_channels": in_channels}
    G = build_generator(recipe, registry, **sizes, device=device)
    D = _build_player("discriminator", recipe, registry, **sizes, device=device)
    return G, D


def build_generator(
    recipe: Recipe,
    registry: Registry,
    *,
    img_channels: int,
    c_dim: int,
    in_channels: int = 0,
    device: torch.device | str = "cpu",
) -> Generator:
    """G alone, as ``build_networks`` makes it."""
    sizes = {"img_channels": img_channels, "c_dim": c_dim, "in_channels": in_channels}
    return _build_player("generator", recipe, registry, **sizes, device=device)


def build_degradation(recipe: Recipe, registry: Registry, *, img_channels: int) -> tuple[Degradation | None, int]:
    """What makes the images to translate of the real ones, and their channels; (None, 0) if the recipe has none.

    Raises RecipeError as ``build_networks`` does, and with the reason if it cannot take images with ``img_channels``.
    """
    if recipe.data.inputs is None or recipe.data.inputs.degrade is None:
        return None, 0
    component = recipe.data.inputs.degrade
    degradation: Degradation = _build("degradation", component, registry)
    try:
        return degradation, degradation.out_channels(img_channels)
    except ValueError as error:
        owner = registry.get("degradation", component.name).owner
        raise RecipeError(f"degradation {component.name!r} of {owner}: {error}") from error


def build_objective(
    recipe: Recipe, registry: Registry, G: Generator, D: Discriminator
) -> tuple[Loss, list[Regularizer], Augmentation | None]:
    """Loss, regularizers in the recipe's order, and what D sees in place of images (None: the images).

    Raises RecipeError as ``build_networks`` does, and with the reason if one of them makes no sense with G and D.
    """
    paired = recipe.data.inputs is not None and recipe.data.inputs.paired
    loss: Loss = _build("loss", recipe.loss, registry, paired=paired)
    regularizers: list[Regularizer] = [
        _build("regularizer", one, registry, paired=paired) for one in recipe.regularizers
    ]
    augmentation: Augmentation | None = None
    parts: list[tuple[str, Component, Any]] = [("loss", recipe.loss, loss)]
    parts += [("regularizer", *pair) for pair in zip(recipe.regularizers, regularizers, strict=True)]
    if recipe.augmentation is not None:
        augmentation = _build("augmentation", recipe.augmentation, registry)
        parts.append(("augmentation", recipe.augmentation, augmentation))
    for kind, component, part in parts:
        try:
            if D.sees_source:
                _check_source(kind, part, paired=paired)
            part.check(G, D)
        except ValueError as error:
            owner = registry.get(kind, component.name).owner
            raise RecipeError(
                f"{kind} {component.name!r} of {owner} does not go with generator {recipe.generator.name!r} and "
                f"discriminator {recipe.discriminator.name!r}: {error}"
            ) from error
    return loss, regularizers, augmentation


def build_growth(recipe: Recipe, registry: Registry, *, world_size: int = 1) -> GrowthSchedule:
    """The growth schedule for ``world_size`` processes. Raises RecipeError as ``build_networks`` does."""
    return _build("growth", recipe.growth, registry, img_resolution=recipe.data.img_resolution, world_size=world_size)


def check_phases(
    recipe: Recipe, registry: Registry, G: Generator, D: Discriminator, phases: Iterable[Phase], *, world_size: int = 1
) -> None:
    """Raise RecipeError for the first phase that G or D cannot do, or whose batches cannot be divided."""
    accumulate = 1 if recipe.train.accumulate == "auto" else recipe.train.accumulate  # which finds what divides
    for phase in phases:
        where = f"growth: a batch of {phase.batch_size} at {phase.resolution} px"
        if phase.batch_size % world_size:
            raise RecipeError(f"{where} cannot be shared by {world_size} processes; use a multiple of {world_size}")
        if phase.batch_size % (world_size * accumulate):
            raise RecipeError(
                f"{where} does not divide into train.accumulate {accumulate} micro-batches"
                + (f" in each of {world_size} processes" if world_size > 1 else "")
                + f"; use a multiple of {world_size * accumulate}, or another train.accumulate"
            )
        for kind, player in (("generator", G), ("discriminator", D)):
            try:
                player.check_resolution(phase.resolution)
                if isinstance(player, Translator) and phase.resolution % player.size_multiple:
                    raise ValueError(f"it translates images whose size is a multiple of {player.size_multiple} px")
                if isinstance(player, Discriminator):
                    seen = world_size if not recipe.system.whole_batch else 1
                    player.check_batch_size(phase.batch_size // seen // accumulate)
            except ValueError as error:
                entry = registry.get(kind, getattr(recipe, kind).name)
                raise RecipeError(f"{where}: {kind} {entry.name!r} of {entry.owner}: {error}") from error


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


def _build_player(kind: str, recipe: Recipe, registry: Registry, *, device: torch.device | str, **sizes: int) -> Any:
    with torch.device(device):
        return _build(kind, getattr(recipe, kind), registry, img_resolution=recipe.data.img_resolution, **sizes)


def _check_translates(recipe: Recipe, registry: Registry) -> None:
    """Raise RecipeError unless there are images to translate if, and only if, the generator translates."""
    chosen = registry.get("generator", recipe.generator.name)
    translators = [e.name for e in registry.entries() if e.kind == "generator" and issubclass(e.cls, Translator)]
    if recipe.data.inputs is None and chosen.name in translators:
        raise RecipeError(
            f"generator {chosen.name!r} of {chosen.owner} translates images, and the recipe does not say which: add "
            "data.inputs, as {kind: unpaired, a: trainA, b: trainB}, or choose a generator that starts from latents"
        )
    if recipe.data.inputs is not None and chosen.name not in translators:
        raise RecipeError(
            f"data.inputs: generator {chosen.name!r} of {chosen.owner} starts from latents and would never see them; "
            f"leave data.inputs out, or choose one that translates; installed: {', '.join(translators) or 'none'}"
        )


def _check_source(kind: str, part: Any, *, paired: bool) -> None:
    """Raise ValueError if a D that judges pairs of images would be shown one alone by ``part``, or two strangers."""
    if kind == "augmentation":
        raise ValueError("it would move the image and not the source that D compares it with")
    if not paired:
        raise ValueError(
            "this D judges an image together with its source, and real images have none here; set up D to judge images "
            "alone, or use data.inputs of another kind than unpaired"
        )
    if not part.passes_source:
        raise ValueError(
            "this D judges an image together with its source, which the "
            f"{kind} does not show it; set up D to judge images alone, or choose a {kind} that passes the source"
        )


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
    except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
        if not is_too_large(error):
            raise
        reason = str(error).partition("\n")[0] or "no memory"
        raise RecipeError(
            f"{kind} {component.name!r} of {entry.owner}: is too large to be made ({reason}); use smaller arguments"
        ) from error


def is_too_large(error: Exception) -> bool:
    """Whether an exception is about a size that no memory or no integer can hold, rather than a bug."""
    return isinstance(error, (MemoryError, OverflowError)) or bool(
        re.search(r"alloc|overflow|not enough memory|out of memory|Storage size|too large", str(error), re.IGNORECASE)
    )
