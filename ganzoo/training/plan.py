"""What a recipe will do, before it does it: parameters, the phase table, and what the data must bring."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ganzoo import build
from ganzoo.data import TrainingData, open_data
from ganzoo.errors import DataError
from ganzoo.interfaces import Phase, Regularizer
from ganzoo.plugins import LoadedPlugins
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.registry import Registry


def check_recipe(path: Path, registry: Registry, overrides: Sequence[str] = ()) -> None:
    """Raise GanzooError unless the recipe at ``path`` can be trained, as far as that shows without the images."""
    recipe = load_recipe(path, registry, overrides)
    sizes = assumed_sizes(recipe, registry, c_dim=2 if recipe.data.labels else 0)
    G, D = build.build_networks(recipe, registry, **sizes, device="meta")
    build.build_objective(recipe, registry, G, D)
    phases = build.build_growth(recipe, registry).phases(round(recipe.train.total_kimg * 1000))
    build.check_phases(recipe, registry, G, D, phases)


def describe_recipe(recipe: Recipe, plugins: LoadedPlugins) -> str:
    """The text of ``ganzoo run --dry-run``. Works without the data: then the recipe's own numbers are assumed."""
    lines, sizes = describe_data(recipe, plugins)
    G, D = build.build_networks(recipe, plugins.registry, **sizes, device="meta")
    phases = build.build_growth(recipe, plugins.registry).phases(round(recipe.train.total_kimg * 1000))
    _, regularizers, _ = build.build_objective(recipe, plugins.registry, G, D)
    build.check_phases(recipe, plugins.registry, G, D, phases)
    return "\n".join(
        [
            f"recipe: {recipe.name} (seed {recipe.seed}), {recipe.train.total_kimg:g} kimg",
            *describe_networks(recipe, G, D),
            *describe_losses(recipe, regularizers),
            *describe_phases(phases),
            *describe_evaluation(recipe),
            *lines,
        ]
    )


def describe_networks(recipe: Recipe, G: nn.Module, D: nn.Module) -> list[str]:
    """One line for each player, with its number of parameters by part."""
    lines = []
    for player, name, network in (("G", recipe.generator.name, G), ("D", recipe.discriminator.name, D)):
        total = sum(p.numel() for p in network.parameters())
        lines.append(f"{player}: {name}, {total:,} parameters")
        for part, module in network.named_children():
            count = sum(p.numel() for p in module.parameters())
            if count:
                lines.append(f"   {part:<12s} {count:>12,}")
    return lines


def describe_losses(recipe: Recipe, regularizers: Sequence[Regularizer]) -> list[str]:
    """Loss, regularizers with how often, augmentation."""
    parts = [recipe.loss.name]
    for component, regularizer in zip(recipe.regularizers, regularizers, strict=True):
        often = f" every {regularizer.every} steps" if regularizer.every > 1 else ""
        parts.append(f"{component.name} of {regularizer.player}{often}")
    lines = [f"loss: {', '.join(parts)}"]
    return lines if recipe.augmentation is None else [*lines, f"augmentation: {recipe.augmentation.name}"]


def describe_phases(phases: Sequence[Phase]) -> list[str]:
    """The growth schedule as a table."""
    lines = ["phases:     kimg            resolution   batch   lr G      lr D      steps"]
    for p in phases:
        steps = math.ceil((p.end_nimg - p.start_nimg) / p.batch_size)
        kimg = f"{round(p.start_nimg / 1000, 2):>8g} - {round(p.end_nimg / 1000, 2):<8g}"
        size = f"{p.resolution:>5d} {'fade  ' if p.fading else 'stable'}"
        lines.append(
            f"  {kimg} {size} {p.batch_size:>6d}   {p.g_lr:<8g}  {p.d_lr:<8g}  {steps:,}{', lr falling' * p.decaying}"
        )
    return lines


def describe_evaluation(recipe: Recipe) -> list[str]:
    """What is measured while training, and how often."""
    config = recipe.eval
    if config is None:
        return []
    times = math.ceil(recipe.train.total_kimg / config.every_kimg)
    names = ", ".join(metric.name for metric in config.metrics)
    return [f"metrics: {names} ({config.extractor}) of {config.num:,} images, {times} times"]


def describe_inputs(recipe: Recipe, data: TrainingData) -> list[str]:
    """Where the images to translate come from."""
    config = recipe.data.inputs
    if config is None:
        return []
    if config.degrade is not None:
        return [f"inputs: those images after {config.degrade.name}"]
    assert data.inputs is not None
    info = data.inputs.info
    return [f"inputs: {config.kind}, {info.num_images:,} images, {info.img_channels} channels"]


def describe_data(recipe: Recipe, plugins: LoadedPlugins) -> tuple[list[str], dict[str, int]]:
    """Lines about the data, and what networks are made for: img_channels, c_dim and in_channels.

    Where the data are not here yet, what the recipe says of them.
    """
    config = recipe.data
    if config.path is not None and not os.path.exists(config.path):
        channels = config.img_channels or 3
        per_image = config.img_resolution**2 * channels * 4 / 3 / 2**20  # MiB, all mip levels together
        lines = [
            f"data: {config.path} is not here; give your own with --data PATH",
            f"   needs a folder or zip of images, best at least {config.img_resolution} x {config.img_resolution} px, "
            f"{({1: 'grey', 3: 'RGB', 4: 'RGBA'})[channels]}{', with labels' if config.labels else ''}",
            f"   packed for training: {per_image:.2f} MiB an image, {per_image * 30_000 / 1024:.1f} GiB for 30,000",
        ]
        if config.labels:
            raise DataError(
                f"{config.path}: not here, and data.labels is true: the size of the labels, and so of the networks, "
                "comes from the data. Give the data with --data PATH."
            )
        if config.inputs is not None and config.inputs.degrade is None:
            lines.append(f"   and the images to translate: {config.inputs.kind}")
        return lines, assumed_sizes(recipe, plugins.registry)
    data = open_data(config, plugins.registry, log=lambda line: None, prepare=False)
    info = data.info
    lines = [
        f"data: {info.name}, {info.num_images:,} images, {info.img_resolution} px, {info.img_channels} channels"
        + (f", labels of size {info.c_dim}" if info.c_dim else ""),
        *describe_inputs(recipe, data),
    ]
    _, in_channels = build.build_degradation(recipe, plugins.registry, img_channels=info.img_channels)
    if data.inputs is not None:
        in_channels = data.inputs.info.img_channels
    return lines, {"img_channels": info.img_channels, "c_dim": info.c_dim, "in_channels": in_channels}


def assumed_sizes(recipe: Recipe, registry: Registry, *, c_dim: int = 0) -> dict[str, int]:
    """What networks are made for, by the recipe alone: img_channels, c_dim and in_channels."""
    channels, inputs = recipe.data.img_channels or 3, recipe.data.inputs
    _, in_channels = build.build_degradation(recipe, registry, img_channels=channels)
    if inputs is not None and inputs.degrade is None:
        in_channels = inputs.img_channels or 3
    return {"img_channels": channels, "c_dim": c_dim, "in_channels": in_channels}


def component_versions(recipe: Recipe, plugins: LoadedPlugins) -> dict[str, str]:
    """Distribution -> version of every component that the recipe uses."""
    versions = {}
    chosen = [
        ("generator", recipe.generator),
        ("discriminator", recipe.discriminator),
        ("loss", recipe.loss),
        ("growth", recipe.growth),
    ]
    chosen += [("regularizer", component) for component in recipe.regularizers]
    if recipe.augmentation is not None:
        chosen.append(("augmentation", recipe.augmentation))
    if recipe.data.inputs is not None and recipe.data.inputs.degrade is not None:
        chosen.append(("degradation", recipe.data.inputs.degrade))
    if recipe.data.source is not None:
        chosen.append(("dataset", recipe.data.source))
    for kind, component in chosen:
        owner = plugins.registry.get(kind, component.name).owner
        versions[owner.dist] = owner.version
    return versions
