"""Whether every phase of a run fits into memory, found out before its first step; and what to do where one does not.

On a CPU a step of each resolution is counted with tensors that have shapes and no numbers (``profiling``); on a GPU it
is taken, by copies of the players. Either way, weights, optimisers' states, gradients and lazy regularizers are in it,
and training is left as it was.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ganzoo.data.cache import format_bytes
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Discriminator, GrowthSchedule, GrowthState, Phase
from ganzoo.recipe import Recipe
from ganzoo.training.choices import Choice

MARGIN = 0.9  # of what there is may be planned for: allocators lose some in fragments, libraries need workspaces
_CERTAIN = 0.25  # where a crude bound is below that share of what there is, nothing is counted

Peak = Callable[[GrowthState, Choice], float]  # bytes that a step needs at most, with all that is there between steps


@dataclass(frozen=True)
class Verdict:
    """Of one phase. peak: bytes with ``choice``; fits: whether they are there. helps: choices that would fit."""

    phase: Phase
    choice: Choice
    peak: float
    fits: bool
    helps: tuple[Choice, ...] = ()


def largest_phases(phases: Sequence[Phase]) -> list[Phase]:
    """One of each resolution and batch: the fade, where both branches are there, if there is one."""
    found: dict[tuple[int, int], Phase] = {}
    for phase in phases:
        key = (phase.resolution, phase.batch_size)
        if key not in found or (phase.fading and not found[key].fading):
            found[key] = phase
    return list(found.values())


def state_of(schedule: GrowthSchedule, phase: Phase) -> GrowthState:
    """A growth state within it: as the schedule has it, in a fade where both branches count."""
    growth = schedule.at(phase.start_nimg)
    return replace(growth, alpha=0.5) if phase.fading else growth


def judge(
    phase: Phase,
    growth: GrowthState,
    choice: Choice,
    peak_of: Peak,
    available: float,
    *,
    splits: Sequence[int],
    may_split: bool,
    may_recompute: bool,
) -> Verdict:
    """Whether a phase fits as ``choice`` has it; if not, with what it does.

    may_split, may_recompute: whether the recipe leaves that open: then the first choice that fits is taken, recomputing
    before splitting, since that keeps statistics over a batch as they are. Else it is advice.
    """
    limit = MARGIN * available
    peak = peak_of(growth, choice)
    if peak <= limit:
        return Verdict(phase, choice, peak, True)
    *_, strongest = (choice, *_ways_out(choice, growth, splits, split=True, again=True))
    if peak_of(growth, strongest) > limit:
        return Verdict(phase, choice, peak, False)
    for other in _ways_out(choice, growth, splits, split=may_split, again=may_recompute):
        needed = peak_of(growth, other)
        if needed <= limit:
            return Verdict(phase, other, needed, True)
    advice: list[Choice] = []
    for split, again in ((False, True), (True, False), (True, True)):
        if not advice or not (split and again):
            others = _ways_out(choice, growth, splits, split=split, again=again)
            advice += [next((other for other in others if peak_of(growth, other) <= limit), choice)]
            advice = [other for other in advice if other != choice]
    return Verdict(phase, choice, peak, False, tuple(advice))


def _ways_out(
    choice: Choice, growth: GrowthState, splits: Sequence[int], *, split: bool, again: bool
) -> Iterator[Choice]:
    """Choices that need less memory, those that cost less first."""
    thresholds = sorted({max(growth.resolution // 2, 1), 8, 1} - {0}, reverse=True)
    thresholds = [r for r in thresholds if r <= growth.resolution]
    last = choice
    if again and choice.recompute is None:
        for r in thresholds:
            last = replace(choice, recompute=r)
            yield last
    if split:
        for k in splits:
            if k > choice.accumulate:
                yield replace(last, accumulate=k)


def possible_splits(recipe: Recipe, D: Discriminator, batch_size: int, world_size: int) -> list[int]:
    """Numbers of micro-batches that divide each process's share, of sizes that D takes; ascending."""
    share = batch_size // world_size
    seen = 1 if recipe.system.whole_batch else world_size
    found = []
    for k in range(1, share + 1):
        if share % k == 0:
            try:
                D.check_batch_size(batch_size // seen // k)
            except ValueError:
                continue
            found.append(k)
    return found


def available_bytes(device: torch.device, *, local_processes: int = 1) -> float | None:
    """What a process can have on ``device`` beside what it has; None where nobody can tell."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    limits = [limit for limit in (_of_machine(), _of_cgroup()) if limit is not None]
    return min(limits) / local_processes if limits else None


def _of_machine() -> float | None:
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    lines = {line.partition(":")[0]: line.partition(":")[2] for line in info.read_text().splitlines()}
    return float(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _of_cgroup(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What containers are allowed, less what is in use and could not be dropped; version 2 and version 1."""
    for limit, usage, statistics, reclaimable in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            allowed, used = (root / limit).read_text().strip(), float((root / usage).read_text())
            counts = dict(line.split()[:2] for line in (root / statistics).read_text().splitlines() if line.strip())
        except (OSError, ValueError):
            continue
        if allowed.isdigit():
            return max(0.0, float(allowed) - used + float(counts.get(reclaimable, 0)))
    return None


def crude_bound(networks: Sequence[torch.nn.Module], growth: GrowthState, n: int) -> float:
    """More bytes than a step of n images can need: as if every layer had the most maps, at the full resolution."""
    weights = [p for network in networks for p in network.parameters()]
    widest = max((max(p.shape[:2]) for p in weights if p.ndim == 4), default=1)
    layers = sum(p.ndim >= 2 for p in weights)
    activations = 32.0 * n * growth.resolution**2 * widest * layers * 4
    return activations + 8 * sum(p.numel() for p in weights) * 4


def is_certain(networks: Sequence[torch.nn.Module], growth: GrowthState, n: int, available: float) -> bool:
    """Whether a phase fits without a closer look."""
    return crude_bound(networks, growth, n) < _CERTAIN * available


def refusal(verdicts: Sequence[Verdict], available: float, device_name: str) -> RecipeError:
    """What to tell of a run that would end for want of memory."""
    lines = [
        f"  {v.phase.resolution} px{' fading' if v.phase.fading else ''}, batch {v.phase.batch_size}: "
        f"{format_bytes(v.peak)}; {_advice(v)}"
        for v in verdicts
    ]
    return RecipeError(
        f"{device_name} has {format_bytes(available)} of memory, and a step will need more:\n"
        + "\n".join(lines)
        + "\nOr choose a smaller growth.args.batch_size, more processes, or let `train.accumulate: auto` and "
        "`system.recompute: auto` find what fits."
    )


def _advice(verdict: Verdict) -> str:
    if not verdict.helps:
        return "no train.accumulate or system.recompute makes it fit"
    return "would fit with " + ", or with ".join(_as_settings(choice, verdict.choice) for choice in verdict.helps)


def _as_settings(choice: Choice, before: Choice) -> str:
    parts = []
    if choice.accumulate != before.accumulate:
        parts.append(f"train.accumulate: {choice.accumulate}")
    if choice.recompute != before.recompute:
        parts.append(f"system.recompute: {choice.recompute}")
    return " and ".join(parts)
