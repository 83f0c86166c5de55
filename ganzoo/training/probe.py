"""Before training: the peak of memory of every phase against what there is; see ``memory``."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganzoo import whole_batch
from ganzoo.data.cache import format_bytes
from ganzoo.errors import GanzooError, RecipeError
from ganzoo.interfaces import GrowthState, Phase
from ganzoo.recipe import Recipe
from ganzoo.registry import Registry
from ganzoo.training import distributed, memory, rng
from ganzoo.training.choices import Choice, Choices, describe, name_of
from ganzoo.training.compiling import in_one_line
from ganzoo.training.distributed import Processes
from ganzoo.training.memory import Verdict
from ganzoo.training.players import Players
from ganzoo.training.system import System, device_name


def probe(
    players: Players, registry: Registry, phases: Sequence[Phase], choices: Choices, processes: Processes, *, log: Any
) -> None:
    """Decide for every phase that is still to come how it fits into memory, and say so.

    Raises RecipeError, with what would work, if one does not. Nothing of the players, and no generator, is changed.
    All processes do as the first one finds.
    """
    told: dict[str, Any] = {}
    if processes.is_main:
        with rng.preserved(), whole_batch.alone():
            told = _examined(players, registry, phases, choices, processes)
    if processes.world_size > 1:
        data = torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)
        told = json.loads(distributed.gather_bytes(data, players.system.device)[0].numpy().tobytes())
    if told.get("refused"):
        raise RecipeError(told["refused"])
    for name, values in told.get("decided", {}).items():
        choices.decide(name, **values)
    for line in told.get("said", []):
        log(line)


def _examined(
    players: Players, registry: Registry, phases: Sequence[Phase], choices: Choices, processes: Processes
) -> dict[str, Any]:
    device = players.system.device
    available = memory.available_bytes(device, local_processes=processes.local_world_size)
    if available is None:
        return {}
    available += sum(map(_size, _held(players)))
    verdicts, said, decided = [], [], {}
    for phase in memory.largest_phases(phases):
        growth, name = memory.state_of(players.schedule, phase), name_of(phase)
        share = phase.batch_size // processes.world_size
        undecided = choices.open(name) & {"accumulate", "recompute"}
        if memory.is_certain([players.G, players.D], growth, share, available):
            decided[name] = {key: getattr(choices.rule, key) for key in undecided}
            continue
        try:
            verdict = memory.judge(
                phase, growth, choices.of(name), _peak_of(players, registry, processes), available,
                splits=memory.possible_splits(players.recipe, players.D, phase.batch_size, processes.world_size),
                may_split="accumulate" in undecided, may_recompute="recompute" in undecided,
            )  # fmt: skip
        except (ValueError, NotImplementedError, GanzooError) as error:  # of a component that cannot be had like this
            said.append(f"memory at {name}: not known: {in_one_line(error)}")
            continue
        decided[name] = {key: getattr(verdict.choice, key) for key in undecided}
        if verdict.choice != choices.of(name):
            said.append(f"memory at {name}: fits as {describe(verdict.choice)} ({format_bytes(verdict.peak)})")
        verdicts.append(verdict)
    hopeless = [v for v in verdicts if not v.fits and v.peak > available]
    if hopeless:
        return {"refused": str(memory.refusal(hopeless, available, device_name(device)))}
    return {"decided": {n: v for n, v in decided.items() if v}, "said": said + _summary(verdicts, available)}


def _summary(verdicts: Sequence[Verdict], available: float) -> list[str]:
    if not verdicts:
        return []
    most = max(verdicts, key=lambda verdict: verdict.peak)
    line = f"memory: a step needs at most {format_bytes(most.peak)}, at {name_of(most.phase)}"
    tight = [name_of(v.phase) for v in verdicts if not v.fits]
    warning = [f"warning: that is close to what there is: {', '.join(tight)} may not fit"] if tight else []
    return [f"{line}; {format_bytes(available)} are there", *warning]


def _peak_of(players: Players, registry: Registry, processes: Processes) -> Callable[[GrowthState, Choice], float]:
    if players.system.device.type == "cuda":
        return lambda growth, choice: _taken(players, growth, growth.batch_size // processes.world_size, choice)
    return lambda growth, choice: _counted(players, registry, processes, growth, choice)


def _counted(players: Players, registry: Registry, processes: Processes, growth: GrowthState, choice: Choice) -> float:
    G, recipe = players.G, players.recipe
    data = recipe.data.model_copy(update={"img_channels": G.img_channels})
    # Where precision is chosen yet, it is counted as fp32, which needs more.
    precision = recipe.system.precision if recipe.system.precision != "auto" else "fp32"
    system = System(torch.device("cpu"), precision, players.system.memory_format, players.system.threads, "")
    recipe = recipe.model_copy(update={"data": data})
    return counted_peak(recipe, registry, growth, choice, system=system, c_dim=G.c_dim, processes=processes)[0]


def counted_peak(
    recipe: Recipe,
    registry: Registry,
    growth: GrowthState,
    choice: Choice,
    *,
    system: System,
    c_dim: int = 0,
    processes: Processes | None = None,
) -> tuple[float, float]:
    """Bytes of a step with everything due in it, at its peak, and of what is there between steps.

    By tensors without numbers: nothing of that size is allocated. Torch's generators start anew.
    """
    from ganzoo.profiling.counting import CountSteps
    from ganzoo.profiling.step import StepCase

    processes = replace(processes or Processes(), rank=0)
    case = StepCase.build(
        recipe, registry, growth, system=system, c_dim=c_dim, processes=processes, fake=True
    )  # fmt: skip
    case.choice = choice
    with case.mode:
        for optimizer in (case.opt_G, case.opt_D):
            _make_state(optimizer)
    with case.mode, CountSteps(case.held()) as counted:
        case.step()
    return float(counted.peak_bytes), float(counted.held_bytes)


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _taken(players: Players, growth: GrowthState, n: int, choice: Choice) -> float:
    """Bytes of a step on a GPU, by taking two with copies of the players; infinite if there are not enough."""
    from ganzoo.training.trials import Rehearsal

    device = players.system.device
    twice = sum(_size(t) for module in (players.G, players.D) for t in (*module.parameters(), *module.buffers()))

    def take() -> float:
        rehearsal = Rehearsal(players, growth, n, choice)
        rehearsal.step_with_all()  # makes the optimisers' states
        torch.cuda.reset_peak_memory_stats(device)
        rehearsal.step_with_all()
        return float(torch.cuda.max_memory_allocated(device) - twice)

    try:
        return take()
    except torch.cuda.OutOfMemoryError:
        return math.inf
    finally:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _held(players: Players) -> list[Tensor]:
    found: list[Tensor] = []
    for module in players.trainee.modules.values():
        found += [*module.parameters(), *module.buffers()]
    for optimizer in (players.opt_G, players.opt_D):
        found += [v for slots in optimizer.state.values() for v in slots.values() if isinstance(v, Tensor)]
    return found


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
