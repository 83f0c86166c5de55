"""``ganzoo compare``: two evaluations side by side, if they were made alike."""

from __future__ import annotations

from pathlib import Path

import click

from ganzoo.console import echo


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
def compare(a: Path, b: Path) -> None:
    """Compare the results that `ganzoo eval --out` wrote to A and to B.

    Results that were measured in different ways are refused, with what differs (exit code 2).
    """
    from ganzoo.evaluation.results import compare as put_side_by_side
    from ganzoo.evaluation.results import load_results

    comparisons = put_side_by_side(load_results(a), load_results(b), (str(a), str(b)))
    width = max(len(found.a.name) for found in comparisons)
    for found in comparisons:
        error = "" if found.error is None else f" ± {found.error:.2g}"
        echo(
            f"{found.a.name:<{width}}  {found.a.value:.6g} -> {found.b.value:.6g}  "
            f"({found.difference:+.4g}{error})  {found.verdict}"
        )
    versions = sorted(
        {
            f"{dist} {version} against {found.b.versions.get(dist, 'none')}"
            for found in comparisons
            for dist, version in found.a.versions.items()
            if found.b.versions.get(dist) != version
        }
    )
    if versions:
        echo(f"note: versions differ: {', '.join(versions)}", err=True)
