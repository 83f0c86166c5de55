"""``ganzoo data inspect`` and ``ganzoo data pack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.console import echo
from ganzoo.errors import one_line

if TYPE_CHECKING:
    from ganzoo.data.inspect import Report


@click.group()
def data() -> None:
    """Inspect and pack images."""


def _png(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise click.BadParameter(f"{str(path)!r} does not end in .png")
    return path


@data.command()
@click.argument("path")
@click.option(
    "--contact-sheet",
    "sheet",
    type=click.Path(path_type=Path),
    callback=_png,
    metavar="FILE.png",
    help="Where the contact sheet goes.  [default: NAME-contact.png in the current folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and draw no sheet unless asked to.")
def inspect(path: str, sheet: Path | None, as_json: bool) -> None:
    """Decode every image of PATH (folder, zip or pack); say what is there and name every bad file."""
    import json

    from ganzoo.data import open_dataset
    from ganzoo.data.inspect import contact_sheet, inspect_data
    from ganzoo.data.packing import no_bar, progress_bar
    from ganzoo.errors import DataError
    from ganzoo.files import atomic

    dataset = open_dataset(path, lambda line: echo(line, err=True))
    with (no_bar if as_json else progress_bar)(len(dataset)) as advance:
        report, good = inspect_data(dataset, advance)
    if as_json:
        echo(json.dumps(report.to_dict(), indent=1))
    else:
        echo(_describe(report))
    if sheet is None and not as_json:
        sheet = Path(f"{report.name}-contact.png")
    if sheet is not None:
        with atomic(sheet, error=DataError) as temporary:
            contact_sheet(dataset, good).save(temporary)
        echo(f"contact sheet: {sheet}", err=as_json)


@data.command()
@click.argument("src")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--resolution", type=int, required=True, metavar="R", help="Width and height, a power of two.")
@click.option(
    "--fit",
    type=click.Choice(["crop", "resize", "pad"]),
    default="crop",
    show_default=True,
    help="Cut out the centre square, stretch, or add borders.",
)
@click.option(
    "--filter",
    type=click.Choice(["lanczos", "box"]),
    default="lanczos",
    show_default=True,
    help="How images are brought to size.",
)
@click.option("--channels", type=click.Choice(["1", "3", "4"]), help="Grey, RGB or RGBA.  [default: as the images are]")
@click.option(
    "--background", default="white", show_default=True, metavar="COLOUR", help="Behind transparency and padding."
)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only this class; may be repeated.")
@click.option("--max-images", type=click.IntRange(min=1), metavar="N", help="Only N, spread evenly over all.")
@click.option("--skip-bad", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out up to N bad files.")
def pack(src: str, dest: Path, **options: Any) -> None:
    """Bring the images of SRC to one size and write them to DEST.

    DEST.zip becomes a zip in the layout of NVIDIA's dataset_tool.py; any other name a pack folder, which trains faster.
    """
    from ganzoo.data.repack import pack_images

    channels, classes = options.pop("channels"), options.pop("classes")
    pack_images(
        src,
        dest,
        channels=None if channels is None else int(channels),
        classes=classes or None,
        log=echo,
        progress=True,
        **options,
    )


def _describe(report: Report) -> str:
    lines = [
        f"{report.name}: {report.num_images:,} images" + (f", and {len(report.bad):,} bad" if report.bad else ""),
        "          smallest   median  largest",
        "width   {:>10,} {:>8,} {:>8,}".format(*report.widths),
        "height  {:>10,} {:>8,} {:>8,}".format(*report.heights),
        f"square  {report.num_square:>10,} of {report.num_images:,}",
        "modes   " + ", ".join(f"{mode} {n:,}" for mode, n in report.modes.items()),
    ]
    if report.classes is not None:
        lines.append(f"classes ({len(report.classes)}):")
        names = {one_line(name): n for name, n in report.classes.items()}
        width = max(map(len, names))
        lines += [f"  {name:<{width}} {n:>8,}" for name, n in names.items()]
    elif report.label_size:
        lines.append(f"labels  vectors of {report.label_size}")
    else:
        lines.append("labels  none")
    if report.bad:
        lines += ["bad files:", *(f"  {message}" for message in report.bad)]
    return "\n".join([*lines, "for a recipe (data: ...):", *(f"  {line}" for line in report.advice)])
