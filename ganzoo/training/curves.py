"""The curves picture of a run: losses and metrics over images shown, with the resolutions as background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganzoo.files import atomic


def draw_curves(records: list[dict[str, Any]], path: Path, *, metrics: Sequence[dict[str, Any]] = ()) -> None:
    """Draw ``stats.jsonl`` records: the players' total losses above, every single term below, fades shaded.

    metrics: records of ``metrics.jsonl``; each metric gets a panel of its own on top, with standard errors.
    """
    if len(records) < 2:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kimg = [r["nimg"] / 1000 for r in records]
    names = sorted({name for r in records for name in r["loss"]})
    totals, terms = [n for n in names if n in ("D", "G")], [n for n in names if n not in ("D", "G")]

    measured = list(dict.fromkeys(result["metric"] for record in metrics for result in record["results"]))
    figure = Figure(figsize=(9, 8 + 2 * len(measured)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(measured) + 4, 1, sharex=True, height_ratios=[2.5] * len(measured) + [3, 3, 1.2, 1])
    upper, lower, health, speed = panels[-4:]
    for axes, metric in zip(panels, measured, strict=False):
        _draw_metric(axes, metric, metrics)
    for axes, chosen in ((upper, totals), (lower, terms)):
        for name in chosen:
            axes.plot(kimg, [r["loss"].get(name, float("nan")) for r in records], label=name, linewidth=1.2)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize=8, ncols=2)
    upper.set_ylabel("loss")
    lower.set_ylabel("terms")
    for name in records[-1].get("augmentation", {}):
        adapted = upper.twinx()
        adapted.plot(kimg, [r.get("augmentation", {}).get(name, float("nan")) for r in records], color="grey")
        adapted.set_ylabel(f"augmentation {name} (grey)", fontsize=9)
    for sign, label in (("diversity", "diversity of the grid"), ("d_advantage", "D's advantage")):
        values = [r.get("collapse", {}).get(sign, float("nan")) for r in records]
        health.plot(kimg, values, label=label, linewidth=1.2)
    health.set_ylabel("collapse")
    health.set_ylim(-0.1, 1.3)
    health.grid(alpha=0.3)
    health.legend(loc="upper right", fontsize=8, ncols=2)
    speed.plot(kimg, [r["timing"]["sec_per_kimg"] for r in records], color="grey", linewidth=1.2)
    speed.set_ylabel("sec/kimg")
    speed.set_yscale("log")
    speed.grid(alpha=0.3)
    speed.set_xlabel("kimg (thousands of real images shown)")

    for start, end, resolution, fading in _stretches(records):
        for axes in panels:
            if fading:
                axes.axvspan(start, end, color="tab:orange", alpha=0.12, linewidth=0)
            axes.axvline(start, color="grey", alpha=0.4, linewidth=0.8)
        panels[0].annotate(
            f"{resolution} px{' fade' if fading else ''}",
            ((start + end) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=7,
        )
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_metric(axes: Any, metric: str, records: Sequence[dict[str, Any]]) -> None:
    """All numbers of one metric: a line each, with a band of a standard error on either side."""
    names = dict.fromkeys(r["name"] for record in records for r in record["results"] if r["metric"] == metric)
    for name in names:
        found = [(record["nimg"] / 1000, r) for record in records for r in record["results"] if r["name"] == name]
        kimg, values = [at for at, _ in found], [r["value"] for _, r in found]
        errors = [r["standard_error"] or 0.0 for _, r in found]
        (line,) = axes.plot(kimg, values, label=name, linewidth=1.2, marker="o", markersize=3)
        low, high = zip(*((v - e, v + e) for v, e in zip(values, errors, strict=True)), strict=True)
        axes.fill_between(kimg, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    results = [r for record in records for r in record["results"] if r["metric"] == metric]
    values = [r["value"] for r in results]
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
    axes.set_ylabel(metric + (f" ({results[0]['extractor']})" if results[0]["extractor"] else ""), fontsize=9)
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend(loc="upper right", fontsize=8, ncols=2)


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
