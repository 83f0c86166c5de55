"""What progressive growing saves: measured time for the same number of images, grown and at full size from the start.

    python benchmarks/progressive.py                                      # benchmarks/progan_128.yaml
    python benchmarks/progressive.py --recipe recipes/progan_cifar10_cpu.yaml --chart growing.png --json growing.json

Times the step of every phase of the recipe's schedule, fades at alpha 0.5 apart from the rest, and that of the final
resolution with the final batch, which is what training at full size consists of. It is the step of training itself:
updates of D and G, regularizers, G_ema. Phases take turns, round after round, and medians are printed, because shared
machines drift. The ratio at a number of images is the time at full size over the time grown; it falls as training goes
on, because more and more images are shown at full size.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cases import open_recipe
from train_step import ROOT, machine

from ganzoo.interfaces import Phase
from ganzoo.profiling.measuring import measure_parts, step_seconds
from ganzoo.profiling.step import StepCase
from ganzoo.training.system import choose_system

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Row:
    """A phase: seconds of a thousand images in it; hours from the start to its end, grown and at full size."""

    resolution: int
    fading: bool
    batch_size: int
    end_kimg: float
    sec_per_kimg: float
    grown_hours: float
    full_hours: float

    @property
    def ratio(self) -> float:
        return self.full_hours / self.grown_hours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(ROOT / "benchmarks" / "progan_128.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the machine's best")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each phase and round, about")
    parser.add_argument("--chart", type=Path, help="write hours over images here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    recipe, registry, schedule, phases = open_recipe(args.recipe, args.set)
    config = recipe.system.model_copy(update={"precision": args.precision} if args.precision else {})
    system = choose_system(config)

    cases: dict[tuple[int, bool, int], StepCase] = {}
    for phase in phases:
        if kind(phase) not in cases:
            growth = replace(schedule.at(phase.start_nimg), alpha=0.5 if phase.fading else 1.0)
            cases[kind(phase)] = StepCase.build(recipe, registry, growth, system=system)
    seconds = {key: value / key[2] * 1000 for key, value in take_turns(cases, args.rounds, args.seconds).items()}

    rows = table(phases, seconds)
    print(f"{machine()}, {system.precision}\n{args.recipe}, median of {args.rounds} interleaved rounds\n")
    print("  px         batch  up to kimg   s/kimg   hours: grown  full size    ratio")
    for row in rows:
        print(
            f"{row.resolution:>4d}  {'fade' if row.fading else 'stable':<6s} {row.batch_size:>5d} "
            f"{row.end_kimg:>11,.1f} {row.sec_per_kimg:>8.3g} {row.grown_hours:>14.4g} {row.full_hours:>10.4g} "
            f"{row.ratio:>8.2f}"
        )
    print(f"\nthe same {rows[-1].end_kimg:,.0f} thousand images at full size take {rows[-1].ratio:.2f} times as long")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    if args.chart:
        draw(rows, args.chart)


def kind(phase: Phase) -> tuple[int, bool, int]:
    """Phases of one kind have the same step."""
    return phase.resolution, phase.fading, phase.batch_size


def take_turns(
    cases: dict[Key, StepCase], rounds: int, seconds: float, between: Callable[[], None] = lambda: None
) -> dict[Key, float]:
    """Median seconds of a step of each case, over interleaved rounds, of about ``seconds`` for each."""
    times: dict[Key, list[float]] = {}
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", flush=True)
        between()
        for key, case in cases.items():
            of_parts = measure_parts(case, seconds=seconds, rounds=1)
            times.setdefault(key, []).append(step_seconds(case, of_parts))
    return {key: statistics.median(values) for key, values in times.items()}


def table(phases: list[Phase], seconds: dict[tuple[int, bool, int], float]) -> list[Row]:
    """Hours add up over the phases. At full size, every image costs what it does in the last one."""
    rows: list[Row] = []
    grown, full = 0.0, seconds[phases[-1].resolution, False, phases[-1].batch_size]
    for phase in phases:
        key, end = kind(phase), phase.end_nimg / 1000
        grown += (phase.end_nimg - phase.start_nimg) / 1000 * seconds[key]
        rows.append(Row(*key, end, seconds[key], grown / 3600, end * full / 3600))
    return rows


def draw(rows: list[Row], path: Path) -> None:
    """Hours over images, both ways, with the resolutions that growing passes through."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    kimg = [0.0, *(row.end_kimg for row in rows)]
    axes.plot(kimg, [0.0, *(row.full_hours for row in rows)], label=f"{rows[-1].resolution} px from the start")
    axes.plot(kimg, [0.0, *(row.grown_hours for row in rows)], label="grown", marker=".")
    for before, row in pairwise(rows):
        if not row.fading:
            middle = (before.end_kimg + row.end_kimg) / 2, (before.grown_hours + row.grown_hours) / 2
            axes.annotate(
                f"{row.resolution} px", middle, fontsize=8, ha="center", textcoords="offset points", xytext=(0, 10)
            )
    axes.set(xlabel="thousand images shown", ylabel="hours", title=f"{rows[-1].ratio:.1f} times as long at full size")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
