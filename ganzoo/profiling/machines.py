"""What a plan is for: a GPU of the table, or this machine after a short measurement."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganzoo.data import open_data
from ganzoo.errors import DataError, GanzooError
from ganzoo.plugins import LoadedPlugins
from ganzoo.profiling.gpus import find_gpu
from ganzoo.profiling.measuring import measure_parts, measure_rates, step_seconds
from ganzoo.profiling.phases import StepCost, Stretch, count_step, growth_of, stretches
from ganzoo.profiling.plan import Machine, plan_row
from ganzoo.profiling.roofline import rates_of
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training.system import System, choose_system, device_name

MAX_GPUS = 100_000
_STEP_SECONDS = 4.0  # a resolution whose step takes longer is not measured
_ALL_SECONDS = 20.0


def parse_numbers(flag: str, text: str) -> list[int]:
    """'1,8,64' -> [1, 8, 64]. Raises GanzooError for anything else."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) <= MAX_GPUS for part in parts):
        raise GanzooError(f"{flag} {text!r}: give one number or several, as 8 or 1,8,64, of at most {MAX_GPUS:,}")
    return [int(part) for part in parts]


def size_of_labels(recipe: Recipe, plugins: LoadedPlugins, classes: int | None) -> int:
    """Of the data, if they are here; otherwise ``classes``. Raises DataError if nobody knows."""
    if not recipe.data.labels:
        return 0
    if recipe.data.source is not None or (recipe.data.path is not None and os.path.exists(recipe.data.path)):
        return open_data(recipe.data, plugins.registry, log=lambda line: None, prepare=False).info.c_dim
    if classes is None:
        raise DataError(
            f"{recipe.data.path}: not here, and data.labels is true: say how many classes there are with --classes N, "
            "or give the data with --data PATH"
        )
    return classes


def gpu_machine(
    recipe: Recipe, name: str, precision: str | None, watts: float | None, measured: Path | None
) -> tuple[Machine, str, list[str]]:
    """A GPU of the table, the precision that training takes there, and what to know about the numbers."""
    gpu = find_gpu(name)
    asked = precision or (recipe.system.precision if recipe.system.precision != "auto" else None)
    if asked == "bf16" and not gpu.bf16:
        raise GanzooError(f"{gpu.name} does not compute in bf16; use --precision fp32")
    precision = asked or ("bf16" if gpu.bf16 else "fp32")
    notes = ["counted: operations, kernels, memory, bytes sent; estimated from the data sheet: seconds"]
    times = {} if measured is None else _read_measured(measured, precision)
    if measured is not None:
        notes = [f"measured: s/kimg of one device ({measured.name}); counted: operations, memory; estimated: the rest"]
    machine = Machine(gpu.name, rates_of(gpu, precision), gpu, times, watts=gpu.watts if watts is None else watts)
    return machine, precision, notes


def this_machine(
    recipe: Recipe,
    registry: Registry,
    precision: str | None,
    watts: float | None,
    measured: Path | None,
    *,
    c_dim: int,
    progress: Callable[[str], None],
    processes: int = 1,
) -> tuple[Machine, str, list[str]]:
    """This machine: its rates, and the time of the resolutions whose steps are short, which tells how far a step is
    from the rates."""
    config = recipe.system if precision is None else recipe.system.model_copy(update={"precision": precision})
    system = choose_system(config)
    progress("the rates of this machine")
    rates = measure_rates(system)
    name = f"this machine ({device_name(system.device)})"
    bare = Machine(name, rates, watts=watts)
    if measured is not None:
        times = _read_measured(measured, system.precision)
        notes = [f"measured: s/kimg ({measured.name}); counted: operations, memory; estimated: the rest"]
        return (
            Machine(name, rates, None, times, _factor(recipe, registry, bare, times, system, c_dim), watts),
            (system.precision),
            notes,
        )
    times = {}
    spent = 0.0
    for stretch in stretches(recipe, registry, 1):
        cost = count_step(recipe, registry, stretch, precision=system.precision, c_dim=c_dim)
        expected = 2 * plan_row(bare, stretch, cost).step_seconds
        if expected > _STEP_SECONDS or spent > _ALL_SECONDS:
            break
        progress(f"measuring {stretch.resolution} px")
        times[stretch.resolution] = _measure(recipe, registry, stretch, system, c_dim) / stretch.batch_size
        spent += 4 * times[stretch.resolution] * stretch.batch_size
    factor = _factor(recipe, registry, bare, times, system, c_dim) if times else 1.0
    how = (
        f"measured: s/kimg up to {max(times)} px; for the rest, {factor:.1f} times what this machine's rates say"
        if times
        else "no step is short enough to measure here: times follow from the rates of a plain convolution and a copy"
    )
    notes = [
        how,
        f"rates measured: {rates.bf16 / 1e9:,.0f} GFLOP/s in bf16, {rates.fp32 / 1e9:,.0f} in fp32, "
        f"{rates.bandwidth / 1e9:.0f} GB/s; counted: operations, kernels, memory",
    ]
    if processes > 1:
        notes.append("more processes: each has a device as this one to itself, and sending costs nothing")
    return Machine(name, rates, None, times, factor, watts), system.precision, notes


def _measure(recipe: Recipe, registry: Registry, stretch: Stretch, system: System, c_dim: int) -> float:
    """Seconds of a step."""
    growth = growth_of(recipe, registry, stretch)
    case = StepCase.build(recipe, registry, growth, system=system, c_dim=c_dim)
    return step_seconds(case, measure_parts(case, seconds=1.0))


def _factor(
    recipe: Recipe, registry: Registry, bare: Machine, times: dict[int, float], system: System, c_dim: int
) -> float:
    """How many times as long as the rates say the largest resolution takes that was measured."""
    found = [stretch for stretch in stretches(recipe, registry, 1) if stretch.resolution in times]
    if not found:
        return 1.0
    cost: StepCost = count_step(recipe, registry, found[-1], precision=system.precision, c_dim=c_dim)
    return times[found[-1].resolution] * found[-1].batch_size / plan_row(bare, found[-1], cost).step_seconds


def _read_measured(path: Path, precision: str) -> dict[int, float]:
    """Resolution -> seconds per image, of a file of ``ganzoo bench --json``."""
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))["rows"]
        times = {int(r["resolution"]): float(r["sec_per_kimg"]) / 1000 for r in rows if r["precision"] == precision}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GanzooError(f"{path}: no file that `ganzoo bench RECIPE --json FILE` wrote: {error}") from error
    if not times or not all(0 < seconds < 1e9 for seconds in times.values()):
        raise GanzooError(
            f"{path}: no measurement in {precision} is there; `ganzoo bench --precision {precision}` makes one"
        )
    return times
