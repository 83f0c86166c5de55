"""The beginning of a phase: how its steps are computed is looked up, or chosen, and the players are set up for it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ganzoo.errors import GanzooError
from ganzoo.interfaces import GrowthState
from ganzoo.training import arithmetic
from ganzoo.training.choices import Choice, name_of, rearrange
from ganzoo.training.compiling import CompiledLoss, CompiledRegularizer, in_one_line, what_fails, without_compiler
from ganzoo.training.extras import Regularizers
from ganzoo.training.players import Players
from ganzoo.training.shortage import can_be_undone
from ganzoo.training.system import format_called, name_of_format
from ganzoo.training.trials import Rehearsal, trial_batch, without_trace

if TYPE_CHECKING:
    from ganzoo.training.session import Session


def enter(s: Session, growth: GrowthState, *, begun: bool) -> bool:
    """Before every step: where resolution or batch have changed, compute as was chosen for them, or is chosen now.

    begun: whether some of the phase is trained already; what was not chosen then stays as the rule has it. False:
    training has diverged, and was rolled back instead. Raises GanzooError as ``Session.meet_divergence``.
    """
    name = name_of(growth)
    if name == s.entered:
        return True
    writes = not begun and can_be_undone(s)
    if writes and s.meet_divergence():
        return False
    allowed = arithmetic.candidates(s.recipe, s.choices.rule, s.system.device)
    if len(allowed) > 1 and "precision" in s.choices.open(name):
        chosen, why = allowed[0], "as before"
        if s.processes.world_size > 1:  # none can take a step without the others
            why = "not measured with several processes"
        elif not begun:
            chosen, why = choose_arithmetic(s, growth, s.choices.of(name), allowed)
        s.choices.decide(name, precision=chosen[0], memory_format=chosen[1])
        s.report.log(f"{name}: {chosen[0]}, {chosen[1]} ({why})")
    decides = "compile" in s.choices.open(name)
    why = "as the recipe says"
    if decides:
        chosen_compile = s.recipe.system.compile is True
        if s.recipe.system.compile == "auto":
            chosen_compile, why = compiles_faster(s, growth, s.choices.of(name), begun=begun)
        s.choices.decide(name, **{**s.choices.decided(name), "compile": chosen_compile})
    adopt(s, s.choices.of(name))
    if s.choice.compile:
        with s.watchdog.paused():
            problem = what_fails(s, trial_batch(s, growth, world_size=s.processes.world_size), compare=decides)
        if problem:
            s.choices.decide(name, **{**s.choices.decided(name), "compile": False})
            adopt(s, s.choices.of(name))
            s.report.log(f"warning: {name}: nothing is compiled; {problem}")
            decides = False
    if decides:
        s.report.log(f"{name}: {'compiled' if s.choice.compile else 'not compiled'} ({why})")
    s.entered = name
    if writes:
        s.save_checkpoint()
    return True


def adopt(players: Players, choice: Choice) -> None:
    """Set the players and the system up for it."""
    system, memory_format = players.system, format_called(choice.memory_format)
    if name_of_format(system.memory_format) != choice.memory_format:
        rearrange([players.G, players.D, players.G_ema], [players.opt_G, players.opt_D], memory_format)
    system.use(choice.precision, memory_format)
    players.choice = choice
    players.loss = without_compiler(players.loss)
    players.regularizers = Regularizers([without_compiler(r) for r in players.regularizers.all])
    if choice.compile:
        torch._dynamo.reset()  # what was made for another resolution counts against a limit
        players.loss = CompiledLoss(players.loss)
        players.regularizers = Regularizers([CompiledRegularizer(r) for r in players.regularizers.all])


def compiles_faster(s: Session, growth: GrowthState, choice: Choice, *, begun: bool) -> tuple[bool, str]:
    """Whether compiled losses make a step of this resolution faster, and why they are taken or not: on a GPU alone.

    On CPUs they gained nothing in measurements, for most of a minute of compiling.
    """
    if s.system.device.type != "cuda" or s.processes.world_size > 1 or begun:
        return False, "auto: on one GPU only, and from the start of a resolution"
    seconds = []
    try:
        with s.watchdog.paused(), without_trace(s.system):
            for compiled in (False, True):
                trial = Rehearsal(s, replace(growth, alpha=1.0), growth.batch_size, choice)
                trial.system.use(choice.precision, format_called(choice.memory_format))
                adopt(trial.players, replace(choice, compile=compiled))
                for _ in range(3):
                    trial.step()
                seconds.append(min(_seconds_of(trial) for _ in range(5)))
    except Exception as error:  # of the compiler, which has many of its own
        return False, in_one_line(error)
    why = f"{seconds[1]:.3g} s a step, {seconds[0]:.3g} without"
    return seconds[1] < 0.97 * seconds[0], why


def _seconds_of(trial: Rehearsal) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    trial.step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def choose_arithmetic(
    s: Session, growth: GrowthState, choice: Choice, allowed: list[arithmetic.Candidate]
) -> tuple[arithmetic.Candidate, str]:
    """Precision and memory format of one process, and why."""
    n = growth.batch_size
    key = arithmetic.cache_key(s.recipe, s.system, growth, n // choice.accumulate, json.loads(s.metadata["plugins"]))
    known = arithmetic.remembered(key, allowed)
    if known is not None:
        return known, "measured before"
    try:
        with without_trace(s.system):
            chosen, seconds = arithmetic.choose(Rehearsal(s, growth, n, choice), allowed)
    except (ValueError, RuntimeError, MemoryError, GanzooError) as error:  # such as a share that D does not take alone
        return allowed[0], f"not measured: {in_one_line(error)}"
    if not seconds:
        return chosen, "not measured: a step is too small to matter"
    why = "a step: " + ", ".join(f"{p} {f} {t:.3g} s" for (p, f), t in seconds.items())
    arithmetic.remember(key, chosen, f"{s.recipe.name}, {name_of(growth)}: {why}")
    return chosen, why
