"""``ganzoo import``: the weights of other projects as snapshots."""

from __future__ import annotations

from pathlib import Path

import click

from ganzoo.console import echo


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="SNAPSHOT", help="A name.safetensors to write."
)
@click.option("--family", default="auto", show_default=True, help="Whose weights these are; docs/import.md has a list.")
@click.option("--name", help="Of the snapshot's recipe.  [default: the file's]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="What the file does not say, as img_size=512; docs/import.md has a list.",
)
@click.option("--force", is_flag=True, help="Replace SNAPSHOT if it exists.")
def import_(
    files: tuple[Path, ...], out: Path, family: str, name: str | None, settings: tuple[str, ...], force: bool
) -> None:
    """Make a snapshot of the weights in FILE, which another project wrote, without running any of its code.

    \b
    ganzoo import ffhq.pkl --out ffhq.safetensors
    ganzoo import latest_net_G_A.pth latest_net_G_B.pth --out horse2zebra.safetensors
    ganzoo sample ffhq.safetensors --seeds 0-35

    A pickle can run anything: FILE is read by a process of its own, with limits, that knows what weights need and
    refuses all else by name. Nothing is written unless all is well.
    """
    from ganzoo.importing.convert import import_weights

    found = import_weights(
        files,
        out,
        family=family,
        name=name,
        options=_options(settings),
        force=force,
        log=lambda line: echo(line, err=True),
    )
    G, growth = found.G, found.growth
    echo(f"family:   {found.family} ({found.title})")
    size = f"{growth.resolution} px" + (f" of {G.img_resolution}" if growth.resolution < G.img_resolution else "")
    facts = [f"{size}, {G.img_channels} channels", f"z of {G.z_dim}" if G.z_dim else "images to images"]
    facts += [f"{G.c_dim} classes"] if G.c_dim else []
    echo(f"network:  {', '.join(facts)}")
    for note in found.notes:
        echo(f"note:     {note}")
    if found.left_out:
        shown = ", ".join(found.left_out[:8])
        more = f" and {len(found.left_out) - 8} more" if len(found.left_out) > 8 else ""
        echo(f"left out: {shown}{more}")
    echo(f"snapshot: {found.path}")


def _options(settings: tuple[str, ...]) -> dict[str, object]:
    from ganzoo.recipe import strict_yaml

    options: dict[str, object] = {}
    for setting in settings:
        key, sep, text = setting.partition("=")
        if not sep or not key.isidentifier():
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="--set")
        options[key] = strict_yaml.read_value(text, f"--set {setting}").data[None]
    return options
