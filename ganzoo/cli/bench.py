"""``ganzoo bench``: how fast a recipe trains on this machine, resolution by resolution."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ganzoo.console import echo


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", metavar="PATH", help="Images to read beside the step. Sets data.path.")
@click.option("--resolution", type=int, multiple=True, metavar="R", help="Only this resolution; may be repeated.")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), multiple=True, help="What to compute in; may be repeated."
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps. Sets system.device.")
@click.option(
    "--seconds", type=click.FloatRange(0.01, 600), default=1.0, show_default=True, help="Of each case and round, about."
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Medians of them are shown.")
@click.option("--classes", type=click.IntRange(min=0), metavar="N", help="Size of labels, if the data are not here.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key, as a.b=value.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Also write numbers here.")
def bench(
    recipe: Path,
    data: str | None,
    resolution: tuple[int, ...],
    precision: tuple[str, ...],
    device: str | None,
    seconds: float,
    rounds: int,
    classes: int | None,
    overrides: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """Measure the training step of RECIPE at each of its resolutions.

    Updates of D and G, regularizers and augmentation are those of training; rounds are interleaved, and medians shown.
    If the data are not here, the step is measured on noise.
    """
    import os

    from ganzoo.data import open_data
    from ganzoo.files import write_text
    from ganzoo.plugins import load_plugins
    from ganzoo.profiling.bench import bench as measure
    from ganzoo.profiling.bench import chosen_stretches, describe
    from ganzoo.profiling.machines import size_of_labels
    from ganzoo.profiling.progress import counting_bar
    from ganzoo.recipe import load_recipe

    plugins = load_plugins()
    flags = [f"{key}={json.dumps(value)}" for key, value in (("data.path", data), ("system.device", device)) if value]
    loaded = load_recipe(recipe, plugins.registry, [*flags, *overrides])
    c_dim = size_of_labels(loaded, plugins, classes)
    found = chosen_stretches(loaded, plugins.registry, resolution)
    images = None
    if loaded.data.path is None or os.path.exists(loaded.data.path):
        images = open_data(loaded.data, plugins.registry, log=lambda line: echo(line, err=True))
    calls = len(found) * max(1, len(precision)) * (1 + rounds)
    with counting_bar(calls) as progress:
        result = measure(
            loaded,
            plugins.registry,
            resolutions=resolution,
            precisions=precision,
            data=images,
            c_dim=c_dim,
            seconds=seconds,
            rounds=rounds,
            progress=progress,
        )
    for line in describe(loaded, result):
        echo(line)
    if images is None:
        echo(f"{loaded.data.path} is not here: measured on noise, without reading")
    if json_path is not None:
        write_text(json_path, json.dumps(result.to_json(loaded), indent=1) + "\n")
