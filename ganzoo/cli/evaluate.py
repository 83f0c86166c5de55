"""``ganzoo eval``: FID and its kin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganzoo.console import echo

FLAGS = {
    "fid": "Fréchet Inception distance.",
    "kid": "Kernel Inception distance.",
    "isc": "Inception score.",
    "prc": "Precision, recall and their F score.",
    "ppl": "Perceptual path length (of a generator).",
    "swd": "Sliced Wasserstein distance (of ganzoo-progan).",
    "ms-ssim": "Diversity by MS-SSIM (of ganzoo-progan).",
}


def _metric_flags(command: Any) -> Any:
    for name, text in reversed(FLAGS.items()):
        command = click.option(f"--{name}", is_flag=True, help=text)(command)
    return command


@click.command("eval")
@click.argument("subject", type=click.Path(path_type=Path))
@click.option("--data", help="Real images: folder, zip or pack.  [default: those the snapshot was trained on]")
@_metric_flags
@click.option("--metric", "named", multiple=True, metavar="NAME", help="Any metric that `ganzoo plugins` lists.")
@click.option(
    "--num", type=click.IntRange(min=1), default=50_000, show_default=True, help="Images to generate, or to take."
)
@click.option("--num-real", type=click.IntRange(min=1), metavar="N", help="Real images to take.  [default: all]")
@click.option("--extractor", default="inception-v3-compat", show_default=True, help="Network behind the metrics.")
@click.option("--weights", metavar="FILE", help="Its weights.  [default: where torch keeps downloads]")
@click.option("--allow-download", is_flag=True, help="Fetch weights that are missing.")
@click.option("--resolution", type=int, metavar="R", help="Bring all images to R x R (a power of two).")
@click.option("--background", default="white", show_default=True, metavar="COLOUR", help="Behind transparency.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first generated image.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print everything about each result as JSON.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also write that to FILE.")
def evaluate(subject: Path, named: tuple[str, ...], as_json: bool, out: Path | None, **options: Any) -> None:
    """Measure SUBJECT: a snapshot, a run folder (then its newest snapshot), or images.

    \b
    ganzoo eval runs/00000-faces --fid --kid --num 10000
    ganzoo eval my-images/ --data real.zip --fid --weights inception.pth --out mine.json

    Nothing is downloaded unless --allow-download says so. If interrupted, the same command goes on from there.
    """
    from ganzoo.data.packing import progress_bar
    from ganzoo.evaluation import results as found
    from ganzoo.evaluation.evaluate import evaluate as run

    metrics = [name for name in FLAGS if options.pop(name.replace("-", "_"))] + list(named)
    if not metrics:
        raise click.UsageError(f"say what to measure: {' '.join(f'--{name}' for name in FLAGS)} or --metric NAME")
    try:
        results = run(
            subject,
            options.pop("data"),
            metrics,
            log=lambda line: echo(line, err=True),
            bar=progress_bar,
            **options,
        )
    except KeyboardInterrupt:
        echo("interrupted; what was computed is kept, and the same command goes on from there", err=True)
        raise SystemExit(130) from None
    if out is not None:
        found.save_results(out, results)
    if as_json:
        echo(found.to_json(results))
        return
    echo(found.table(results))
    echo(found.protocol(results))
    if out is not None:
        echo(f"written: {out}")
