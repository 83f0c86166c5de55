"""``ganzoo bench``: the training step of a recipe on this machine, beside what the machine could do."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ganzoo.data import TrainingData, batches
from ganzoo.errors import GanzooError
from ganzoo.profiling.measuring import PlainConvolution, measure_rates, once_or_more, step_seconds, time_of
from ganzoo.profiling.phases import Stretch, count_step, growth_of, stretches
from ganzoo.profiling.plan import Machine, format_bytes, plan_row
from ganzoo.profiling.step import TOGETHER, StepCase
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training.system import System, choose_system, device_name

TOO_LONG = 60.0  # seconds of a step that nobody wants to wait for, several times


@dataclass(frozen=True)
class Measured:
    """One resolution and precision.

    d_seconds, g_seconds: of an update, lazy regularizers' not included; None where both are one, for
    ``train.reuse_fakes``. sec_per_kimg: of whole steps in the mean. flops_per_image: counted. conv_flops: FLOP/s of a
    plain convolution. of_floor: share of a step that these operations would take at that rate. peak_bytes: of memory.
    loader: images per second that reading alone brings, None without data.
    """

    resolution: int
    precision: str
    batch_size: int
    d_seconds: float | None
    g_seconds: float | None
    sec_per_kimg: float
    flops_per_image: float
    conv_flops: float
    of_floor: float
    peak_bytes: int
    loader: float | None


@dataclass(frozen=True)
class Bench:
    """All that was measured, and what was left out and why. hours: of the recipe, None if a resolution is missing."""

    system: System
    rows: list[Measured]
    left_out: list[str]
    hours: dict[str, float | None]

    def to_json(self, recipe: Recipe) -> dict[str, Any]:
        """What ``ganzoo plan --measured`` reads."""
        return {
            "recipe": recipe.name,
            "device": device_name(self.system.device),
            "threads": self.system.threads,
            "torch": torch.__version__,
            "hours": self.hours,
            "left_out": self.left_out,
            "rows": [asdict(row) for row in self.rows],
        }


def chosen_stretches(recipe: Recipe, registry: Registry, resolutions: Sequence[int]) -> list[Stretch]:
    """Those of the recipe at ``resolutions``, or all. Raises GanzooError for a resolution that it does not have."""
    found = stretches(recipe, registry, 1)
    have = sorted({stretch.resolution for stretch in found})
    if missing := [r for r in resolutions if r not in have]:
        raise GanzooError(f"{recipe.name} does not train at {missing[0]} px; it does at: {', '.join(map(str, have))}")
    return [stretch for stretch in found if not resolutions or stretch.resolution in resolutions]


def bench(
    recipe: Recipe,
    registry: Registry,
    *,
    resolutions: Sequence[int] = (),
    precisions: Sequence[str] = (),
    data: TrainingData | None = None,
    c_dim: int = 0,
    seconds: float = 1.0,
    rounds: int = 3,
    progress: Callable[[str], None] = lambda what: None,
) -> Bench:
    """Measure. precisions: none = the device's best. seconds: about, of each case and round; medians count."""
    found = chosen_stretches(recipe, registry, resolutions)
    system = _system(recipe, precisions[0] if precisions else None)
    precisions = precisions or [system.precision]
    rates = measure_rates(system, seconds / 5)
    rows: list[Measured] = []
    left_out = []
    for stretch in found:
        cost = count_step(recipe, registry, stretch, precision=precisions[0], c_dim=c_dim)
        expected = plan_row(Machine("", rates), stretch, cost).step_seconds
        room = _memory(system)
        if cost.peak_bytes > room:
            left_out.append(
                f"{stretch.resolution} px: a step needs {format_bytes(cost.peak_bytes)}, and there are "
                f"{format_bytes(room)}; raise train.accumulate, or lower growth.args.batch_size"
            )
        elif expected > TOO_LONG:
            left_out.append(
                f"{stretch.resolution} px: a step would take about {expected:.0f} s here; `ganzoo plan` estimates it"
            )
        else:
            rows += _measure(recipe, registry, stretch, precisions, data, c_dim, seconds, rounds, progress)
    return Bench(system, rows, left_out, {p: _hours(recipe, registry, rows, p) for p in precisions})


def _measure(
    recipe: Recipe,
    registry: Registry,
    stretch: Stretch,
    precisions: Sequence[str],
    data: TrainingData | None,
    c_dim: int,
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> list[Measured]:
    """All precisions of one resolution, in turn."""
    growth = growth_of(recipe, registry, stretch)
    cases: dict[str, StepCase] = {}
    counts, convolutions = {}, {}
    for precision in precisions:
        progress(f"{stretch.resolution} px, {precision}")
        system = _system(recipe, precision)
        case = StepCase.build(recipe, registry, growth, system=system, data=data, c_dim=c_dim)
        case.state.d_step = case.state.g_step = 1  # lazy ones are not due
        case.step()
        counts[precision] = [(part, case.count(part)) for part in case.parts()]
        cases[precision], convolutions[precision] = case, PlainConvolution(system.device, precision)
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds):
        for precision, case in cases.items():
            progress(f"{stretch.resolution} px, {precision}, round {turn + 1} of {rounds}")
            _system(recipe, precision)  # sets torch's switches
            parts = case.parts()
            for part in parts:
                taken = once_or_more(part.run, case.synchronize, seconds / len(parts))
                times.setdefault((precision, part.name), []).append(taken)
            times.setdefault((precision, "conv"), []).append(convolutions[precision].rate(seconds / 5))
    for case in cases.values():
        case.close()
    loader = None if data is None else _loader_rate(recipe, data, stretch, seconds)
    median = {key: statistics.median(values) for key, values in times.items()}
    rows = []
    for precision, case in cases.items():
        step = step_seconds(case, {name: value for (p, name), value in median.items() if p == precision})
        flops = sum(part.per_step * n.flops for part, n in counts[precision])
        conv = median[precision, "conv"]
        rows.append(
            Measured(
                stretch.resolution,
                precision,
                stretch.batch_size,
                None if (precision, TOGETHER) in median else median[precision, "D"],
                median.get((precision, "G")),
                step / stretch.batch_size * 1000,
                flops / stretch.batch_size,
                conv,
                flops / conv / step,
                max(n.peak_bytes for _, n in counts[precision]),
                loader,
            )
        )
    return rows


def _loader_rate(recipe: Recipe, data: TrainingData, stretch: Stretch, seconds: float) -> float:
    """Images per second, read ahead as training does."""
    reader = batches(
        data,
        resolution=stretch.resolution,
        batch_size=stretch.batch_size,
        start=0,
        seed=recipe.seed,
        mirror=recipe.data.mirror,
        workers=recipe.system.workers,
    )
    try:
        return stretch.batch_size / time_of(lambda: next(reader), torch.device("cpu"), seconds / 2)
    finally:
        reader.close()


def _hours(recipe: Recipe, registry: Registry, rows: Sequence[Measured], precision: str) -> float | None:
    """Of the whole recipe, if every resolution was measured."""
    found = {(row.resolution, row.batch_size): row.sec_per_kimg for row in rows if row.precision == precision}
    total = 0.0
    for stretch in stretches(recipe, registry, 1):
        total += stretch.kimg * found.get((stretch.resolution, stretch.batch_size), math.nan) / 3600
    return None if math.isnan(total) else total


def _system(recipe: Recipe, precision: str | None) -> System:
    config = recipe.system if precision is None else recipe.system.model_copy(update={"precision": precision})
    return choose_system(config)


def _memory(system: System) -> float:
    """Bytes that the device has free, or for a CPU whose memory nobody knows, infinity."""
    if system.device.type == "cuda":
        return float(torch.cuda.mem_get_info(system.device)[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) * 0.9
    except (AttributeError, ValueError, OSError):  # not on Windows, nor everywhere on macOS
        return math.inf


def _rate(row: Measured, seconds: float | None) -> str:
    return "" if seconds is None else f"{row.batch_size / seconds:,.1f}"


def describe(recipe: Recipe, result: Bench) -> list[str]:
    """The table, for a terminal of 100 columns."""
    lines = [
        f"bench: {recipe.name} on {device_name(result.system.device)}, {result.system.threads} thread(s), "
        f"torch {torch.__version__}",
        "",
        "     px  batch  prec.   D img/s  G img/s   s/kimg  GFLOP/img  conv GF/s  floor    memory  loader/s",
    ]
    for row in result.rows:
        loader = "" if row.loader is None else f"{row.loader:,.0f}"
        lines.append(
            f"{row.resolution:>7d} {row.batch_size:>6d}  {row.precision:<5s} "
            f"{_rate(row, row.d_seconds):>9s} {_rate(row, row.g_seconds):>8s} "
            f"{row.sec_per_kimg:>8,.3g} {row.flops_per_image / 1e9:>10,.3g} {row.conv_flops / 1e9:>10,.0f} "
            f"{row.of_floor:>6.0%} {format_bytes(row.peak_bytes):>9s} {loader:>9s}"
        )
    lines += [f"left out: {line}" for line in result.left_out]
    lines += [
        "",
        "floor: share of the step that its convolutions and products take at the rate of a plain convolution",
    ]
    for precision, hours in result.hours.items():
        if hours is not None:
            lines.append(
                f"the whole recipe, {recipe.train.total_kimg:,g} kimg in {precision}: {hours:,.2f} h, without metrics"
            )
    return lines
