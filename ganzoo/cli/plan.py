"""``ganzoo plan``: what a recipe will need and how long it will take, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ganzoo.console import echo


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", metavar="PATH", help="The images, if their labels decide on the networks. Sets data.path.")
@click.option(
    "--gpus", default="1", show_default=True, metavar="N[,N...]", help="Processes; several numbers are compared."
)
@click.option("--gpu-type", metavar="NAME", help="Estimate for this GPU (a100, h100, ...) in place of this machine.")
@click.option(
    "--measured", type=click.Path(path_type=Path), metavar="FILE", help="Take seconds from what `bench --json` wrote."
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="What to compute in, if not the device's best.")
@click.option(
    "--batch-per-gpu",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="N",
    help="Images of a process where the recipe's batch cannot be shared by so many.",
)
@click.option("--classes", type=click.IntRange(min=0), metavar="N", help="Size of labels, if the data are not here.")
@click.option("--watts", type=click.FloatRange(min=0), metavar="W", help="Power of a device, if not the maker's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key, as a.b=value.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Also write numbers here.")
def plan(
    recipe: Path,
    data: str | None,
    gpus: str,
    gpu_type: str | None,
    measured: Path | None,
    precision: str | None,
    batch_per_gpu: int,
    classes: int | None,
    watts: float | None,
    overrides: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """Say what RECIPE takes: parameters, operations, memory, time by resolution, communication, energy.

    Operations and memory are counted without data, GPU or memory. Seconds come from a short measurement on this
    machine, or with --gpu-type from the GPU's data sheet.
    """
    from ganzoo.files import write_text
    from ganzoo.plugins import load_plugins
    from ganzoo.profiling.machines import gpu_machine, parse_numbers, size_of_labels, this_machine
    from ganzoo.profiling.plan import describe, make_plan
    from ganzoo.profiling.progress import counting_bar
    from ganzoo.recipe import load_recipe

    plugins = load_plugins()
    flags = [] if data is None else [f"data.path={json.dumps(data)}"]
    loaded = load_recipe(recipe, plugins.registry, [*flags, *overrides])
    processes = parse_numbers("--gpus", gpus)
    c_dim = size_of_labels(loaded, plugins, classes)
    options = {"c_dim": c_dim, "share": batch_per_gpu}
    with counting_bar() as progress:
        if gpu_type is not None:
            machine, precision, notes = gpu_machine(loaded, gpu_type, precision, watts, measured)
        else:
            machine, precision, notes = this_machine(
                loaded,
                plugins.registry,
                precision,
                watts,
                measured,
                c_dim=c_dim,
                progress=progress,
                processes=max(processes),
            )
        plans = [
            make_plan(loaded, plugins.registry, machine, precision=precision, processes=n, progress=progress, **options)
            for n in processes
        ]
    for line in describe(loaded, plans, precision=precision, notes=notes):
        echo(line)
    if json_path is not None:
        numbers = {"recipe": loaded.name, "precision": precision, "notes": notes, "plans": [p.to_json() for p in plans]}
        write_text(json_path, json.dumps(numbers, indent=1) + "\n")
