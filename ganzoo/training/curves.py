"""The curves picture of a run: losses over images shown, with the resolutions as background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganzoo.files import atomic


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw ``stats.jsonl`` records: the players' total losses above, every single term below, fades shaded."""
    if len(records) < 2:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kimg = [r["nimg"] / 1000 for r in records]
    names = sorted({name for r in records for name in r["loss"]})
    totals, terms = [n for n in names if n in ("D", "G")], [n for n in names if n not in ("D", "G")]

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower, speed = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1])
    for axes, chosen in ((upper, totals), (lower, terms)):
        for name in chosen:
            axes.plot(kimg, [r["loss"].get(name, float("nan")) for r in records], label=name, linewidth=1.2)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize=8, ncols=2)
    upper.set_ylabel("loss")
    lower.set_ylabel("terms")
    speed.plot(kimg, [r["timing"]["sec_per_kimg"] for r in records], color="grey", linewidth=1.2)
    speed.set_ylabel("sec/kimg")
    speed.set_yscale("log")
    speed.grid(alpha=0.3)
    speed.set_xlabel("kimg (thousands of real images shown)")

    for start, end, resolution, fading in _stretches(records):
        for axes in (upper, lower, speed):
            if fading:
                axes.axvspan(start, end, color="tab:orange", alpha=0.12, linewidth=0)
            axes.axvline(start, color="grey", alpha=0.4, linewidth=0.8)
        upper.annotate(
            f"{resolution} px{' fade' if fading else ''}",
            ((start + end) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=7,
        )
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _stretches(records: list[dict[str, Any]]) -> list[tuple[float, float, int, bool]]:
    """(start kimg, end kimg, resolution, fading) of each stretch of equal resolution and phase."""
    stretches: list[tuple[float, float, int, bool]] = []
    previous = 0.0
    for record in records:
        end, key = record["nimg"] / 1000, (record["resolution"], record["alpha"] < 1)
        if stretches and stretches[-1][2:] == key:
            stretches[-1] = (stretches[-1][0], end, *key)
        else:
            stretches.append((previous, end, *key))
        previous = end
    return stretches
