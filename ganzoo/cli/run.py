"""``ganzoo run``: train a recipe, or go on with a run."""

from __future__ import annotations

from pathlib import Path

import click

from ganzoo.training import LATEST


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--data", metavar="PATH", help="Images to train on: a folder, a zip or a pack. Sets data.path.")
@click.option("--kimg", type=float, metavar="N", help="Thousands of real images to show in all. Sets train.total_kimg.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random. Sets seed.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps. Sets system.device.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key, as a.b=value.")
@click.option(
    "--outdir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go."
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=LATEST,
    metavar="[RUN_DIR]",
    help="Go on from the newest checkpoint of RUN_DIR, or of this recipe's newest run in --outdir.",
)
@click.option(
    "--gpus",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train with N GPUs of this machine, or with --device cpu in N processes.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="With --gpus: how often to go on from the last checkpoint if a process is lost.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print parameters, phases and data needs; train nothing.")
def run(
    recipe: Path | None,
    data: str | None,
    kimg: float | None,
    seed: int | None,
    device: str | None,
    overrides: tuple[str, ...],
    outdir: Path,
    resume: str | None,
    gpus: int | None,
    max_restarts: int,
    dry_run: bool,
) -> None:
    """Train RECIPE in a new run folder, or go on with an earlier run (--resume).

    Ctrl-C and SIGTERM finish the step, write a checkpoint and say how to go on.
    """
    from ganzoo.plugins import load_plugins
    from ganzoo.training.launch import resolve_run
    from ganzoo.training.loop import train
    from ganzoo.training.plan import describe_recipe

    flags = {"data.path": data, "train.total_kimg": kimg, "seed": seed, "system.device": device}
    plugins = load_plugins()
    resolved, resume_from = resolve_run(recipe, plugins, flags=flags, overrides=overrides, outdir=outdir, resume=resume)
    if dry_run:
        click.echo(describe_recipe(resolved, plugins))
        return
    if gpus is not None:
        from ganzoo.training.group import check_group, run_group

        check_group(gpus, resolved.system.device)
        if gpus > 1:
            raise SystemExit(run_group(gpus, _arguments(click.get_current_context()), max_restarts=max_restarts))
    result = train(resolved, plugins=plugins, outdir=outdir, resume_from=resume_from)
    raise SystemExit(result.exit_code)


def _arguments(context: click.Context) -> list[str]:
    """The command line again, without what is for the group."""
    arguments = []
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if parameter.name in ("gpus", "max_restarts", "dry_run") or value is None:
            continue
        if isinstance(parameter, click.Argument):
            arguments += ["--", str(value)]
        else:
            for one in value if parameter.multiple else [value]:
                arguments.append(f"{parameter.opts[0]}={one}")
    # What follows `--` is no option, and comes last.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at] + arguments[at + 2 :] + arguments[at : at + 2]
