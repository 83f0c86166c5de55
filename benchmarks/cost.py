"""What an image costs in training: milliseconds by resolution and by batch, beside the floor of its operations.

    python benchmarks/cost.py                                             # benchmarks/progan_128.yaml
    python benchmarks/cost.py --recipe recipes/quickstart.yaml --by-batch 32 --chart cost.png --json cost.json

It is the step of training itself, outside fades, on noise in memory: updates of D and G, regularizers, G_ema. Its
floor is the number of floating-point operations of a step over the rate that this machine reaches in one plain
convolution of that precision. Cases take turns, round after round, and medians are printed, because shared machines
drift.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cases import open_recipe
from progressive import take_turns
from train_step import ROOT, machine

from ganzoo.interfaces import GrowthSchedule, Phase
from ganzoo.profiling.measuring import PlainConvolution
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training.system import choose_system


@dataclass(frozen=True)
class Row:
    """ms, floor_ms: of one image, D and G together."""

    precision: str
    resolution: int
    batch_size: int
    ms: float
    floor_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(ROOT / "benchmarks" / "progan_128.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--batch", type=int, default=16, help="images a step, by resolution")
    parser.add_argument("--by-batch", type=int, default=32, metavar="PX", help="the resolution of the figures by batch")
    parser.add_argument("--batches", default="1,2,4,8,16,32", help="comma-separated")
    parser.add_argument("--precision", default="fp32,bf16", help="comma-separated: fp32, bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case and round, about")
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    opened = open_recipe(args.recipe, args.set)
    rows = [row for precision in args.precision.split(",") for row in measure(*opened, precision, args)]
    print(f"\n{machine()}\n{args.recipe}, median of {args.rounds} interleaved rounds\n")
    print("        px  batch  ms an image   floor  of floor")
    for row in rows:
        print(
            f"{row.precision}  {row.resolution:>4d}  {row.batch_size:>5d} {row.ms:>12.2f} {row.floor_ms:>7.2f} "
            f"{row.floor_ms / row.ms:>9.0%}"
        )
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    if args.chart:
        draw(rows, args.batch, args.by_batch, args.chart)


def measure(
    recipe: Recipe,
    registry: Registry,
    schedule: GrowthSchedule,
    phases: list[Phase],
    precision: str,
    args: argparse.Namespace,
) -> list[Row]:
    """All resolutions with one batch, and one resolution with all batches."""
    system = choose_system(recipe.system.model_copy(update={"precision": precision}))
    start = {phase.resolution: phase.start_nimg for phase in reversed(phases)}
    if args.by_batch not in start:
        raise SystemExit(f"{recipe.name} has no {args.by_batch} px: it has {sorted(start)}")
    batches = map(int, args.batches.split(","))
    wanted = sorted({(r, args.batch) for r in start} | {(args.by_batch, b) for b in batches})
    cases = {}
    for r, b in wanted:
        growth = replace(schedule.at(start[r]), alpha=1.0, batch_size=b)
        cases[r, b] = StepCase.build(recipe, registry, growth, system=system)
    convolution, rates = PlainConvolution(system.device, precision), []

    def between() -> None:
        rates.append(convolution.rate(args.seconds / 5))

    seconds = take_turns(cases, args.rounds, args.seconds, between)
    rate = statistics.median(rates)
    flops = {key: sum(part.per_step * case.count(part).flops for part in case.parts()) for key, case in cases.items()}
    return [Row(precision, r, b, seconds[r, b] / b * 1e3, flops[r, b] / b / rate * 1e3) for r, b in wanted]


def draw(rows: list[Row], batch: int, by_batch: int, path: Path) -> None:
    """Milliseconds an image, by resolution and by batch, with the floor below."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    sides: list[tuple[Any, str, str, list[Row]]] = [
        (panels[0], "resolution", f"batch {batch}, by resolution", [r for r in rows if r.batch_size == batch]),
        (panels[1], "batch_size", f"{by_batch} px, by batch", [r for r in rows if r.resolution == by_batch]),
    ]
    for axes, key, title, side in sides:
        for precision, colour in (("fp32", "tab:blue"), ("bf16", "tab:red")):
            shown = sorted((row for row in side if row.precision == precision), key=lambda row: getattr(row, key))
            if shown:
                at = [getattr(row, key) for row in shown]
                axes.plot(at, [row.ms for row in shown], color=colour, marker=".", label=precision)
                axes.plot(at, [row.floor_ms for row in shown], color=colour, linestyle=":", label=f"{precision}, floor")
        axes.set(xscale="log", yscale="log", title=title, xlabel=title.split()[-1], ylabel="ms an image")
        places = sorted({getattr(row, key) for row in side})
        axes.set_xticks(places, [str(place) for place in places])
        axes.set_xticks([], minor=True)
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(ScalarFormatter())
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.suptitle(machine(), fontsize=9)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
