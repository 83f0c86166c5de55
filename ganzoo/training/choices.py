"""How the steps of one resolution are computed, where the recipe leaves it open: chosen once, and remembered.

What is chosen decides on the last bits of the weights, and the number of micro-batches on more. So a choice is part of
the state of a run: it lies in its folder from the moment it is made, and in every checkpoint, and a run that is resumed
computes as it did before and measures nothing anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from ganzoo.files import write_text
from ganzoo.interfaces import GrowthState, Phase
from ganzoo.recipe import Recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.system import System, name_of_format

CHOICES_FILE = "choices.json"


@dataclass(frozen=True)
class Choice:
    """How a step is computed: see ``train.accumulate`` and ``system`` of recipes, which can say ``auto`` to all."""

    precision: str = "fp32"
    memory_format: str = "channels_last"
    accumulate: int = 1
    recompute: int | None = None
    compile: bool = False


def as_recipe_says(recipe: Recipe, system: System) -> Choice:
    """What the recipe says; for what it leaves open, the rule: of ``choose_system``, and nothing to save memory."""
    accumulate, recompute = recipe.train.accumulate, recipe.system.recompute
    return Choice(
        system.precision,
        name_of_format(system.memory_format),
        1 if accumulate == "auto" else accumulate,
        None if recompute == "auto" else recompute,
        recipe.system.compile is True,
    )


def left_open(recipe: Recipe) -> set[str]:
    """Names of what a choice is made of, as far as the recipe does not decide it."""
    config = recipe.system
    values = {
        "precision": config.precision,
        "memory_format": config.memory_format,
        "accumulate": recipe.train.accumulate,
        "recompute": config.recompute,
        "compile": config.compile,
    }
    # Whether compiling works is found out, too.
    return {name for name, value in values.items() if value == "auto" or (name == "compile" and value is True)}


def _makes_sense(key: str, value: Any) -> bool:
    """Whether it can be what was chosen: a run's folder can be edited by hand."""
    if key in ("accumulate", "recompute"):
        return (key == "recompute" and value is None) or (type(value) is int and value >= 1)
    if key == "compile":
        return isinstance(value, bool)
    return value in {"precision": ("fp32", "bf16"), "memory_format": ("channels_last", "contiguous")}[key]


def name_of(where: GrowthState | Phase) -> str:
    """Steps of one resolution and batch are computed alike."""
    return f"{where.resolution} px, batch {where.batch_size}"


class Choices:
    """Those of a run, by ``name_of``. They are kept in the state of training, for checkpoints, and in the run's folder.

    Those made on another kind of device are not taken over, nor are micro-batches with another number of processes,
    whose shares of a batch are others.
    """

    def __init__(self, recipe: Recipe, system: System, state: TrainingState, *, kind: str, world_size: int = 1) -> None:
        """kind: of device, such as its name."""
        self._open, self._state, self._kind, self._world_size = left_open(recipe), state, kind, world_size
        self.rule = as_recipe_says(recipe, system)
        self._path: Path | None = None

    def load(self, run_dir: Path) -> None:
        """What was chosen in the run of that folder, also since its last checkpoint."""
        path = run_dir / CHOICES_FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self._state.choices |= {str(name): dict(values) for name, values in found.items()}
        except (ValueError, TypeError, AttributeError):  # edited by hand; the checkpoint has them as well
            pass

    def attach(self, run_dir: Path, *, writes: bool) -> None:
        """From now on keep them in ``run_dir``, too. writes: only one process does."""
        self._path = run_dir / CHOICES_FILE if writes else None
        self._write()

    def decided(self, name: str) -> dict[str, Any]:
        """What was chosen for steps of that name, of what the recipe leaves open."""
        values = self._state.choices.get(name, {})
        if values.get("on") != self._kind:
            return {}
        mine = {key: value for key, value in values.items() if key in self._open and _makes_sense(key, value)}
        if values.get("processes", self._world_size) != self._world_size:
            mine.pop("accumulate", None)
        return mine

    def of(self, name: str) -> Choice:
        """How to compute steps of that name, as far as it is known."""
        return replace(self.rule, **self.decided(name))

    def open(self, name: str) -> set[str]:
        """What is to be chosen yet."""
        return self._open - self.decided(name).keys()

    def decide(self, name: str, **values: Any) -> None:
        """Remember a choice, and write it down before anything is computed by it."""
        kept = {key: value for key, value in values.items() if key in self._open}
        self._state.choices[name] = {**self.decided(name), **kept, "on": self._kind, "processes": self._world_size}
        self._write()

    def _write(self) -> None:
        if self._path is not None and self._state.choices:
            write_text(self._path, json.dumps(self._state.choices, indent=2) + "\n")


def rearrange(modules: list[torch.nn.Module], optimizers: list[Optimizer], memory_format: torch.memory_format) -> None:
    """Lay weights, and what the optimisers keep of them, out in another memory format; values stay the same."""
    for module in modules:
        module.to(memory_format=memory_format)  # type: ignore[call-overload]
    for optimizer in optimizers:
        for slots in optimizer.state.values():
            for slot, value in slots.items():
                if isinstance(value, torch.Tensor) and value.ndim == 4:
                    slots[slot] = value.contiguous(memory_format=memory_format)


def describe(choice: Choice) -> str:
    """For the log: 'bf16, channels_last, 2 micro-batches, blocks from 64 px recomputed'."""
    parts = [choice.precision, choice.memory_format]
    if choice.accumulate > 1:
        parts.append(f"{choice.accumulate} micro-batches")
    if choice.recompute is not None:
        parts.append(f"blocks from {choice.recompute} px recomputed")
    if choice.compile:
        parts.append("compiled")
    return ", ".join(parts)
