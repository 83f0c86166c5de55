"""Which precision and memory format are fastest at a resolution: a short measurement of the step itself, on copies.

It is made on CPUs, where the recipe leaves the precision open, once for each resolution and batch. GPUs take the rule
of ``choose_system``. So do steps of less than ``LEAST_FLOP``, some hundredths of a second with nothing to be won,
and CPUs without bf16 instructions take no bf16. What was measured is kept in ``choices.json`` of the cache folder, for
the same kind of CPU, number of threads, torch, components and sizes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo.data.cache import cache_root
from ganzoo.errors import GanzooError
from ganzoo.files import write_text
from ganzoo.interfaces import GrowthState
from ganzoo.recipe import Recipe
from ganzoo.training.choices import Choice
from ganzoo.training.system import System, cpu_computes_in_bf16

LEAST_FLOP = 2e9  # of a step of D and one of G
_SECONDS = 2.0  # of repeating what takes less
_MARGIN = 0.97  # of the rule's time: less is no reason to leave it

Candidate = tuple[str, str]  # precision, memory format


def candidates(recipe: Recipe, rule: Choice, device: torch.device) -> list[Candidate]:
    """What may be chosen, the rule first."""
    first = (rule.precision, rule.memory_format)
    if recipe.system.precision != "auto" or device.type != "cpu":
        return [first]
    precisions = ["bf16", "fp32"] if cpu_computes_in_bf16() else ["fp32"]
    wanted = recipe.system.memory_format
    formats = ["channels_last", "contiguous"] if wanted == "auto" else [wanted]
    return sorted(((p, f) for p in precisions for f in formats), key=lambda candidate: candidate != first)


def choose(trial: Trial, allowed: Sequence[Candidate]) -> tuple[Candidate, dict[Candidate, float]]:
    """The fastest of those that are allowed, and seconds of a step of each, by a trial; none where it does not matter.

    The first one, the rule, is left for one that is clearly faster only.
    """
    rule = allowed[0]
    if len(allowed) == 1:
        return rule, {}
    trial.use(rule)
    with CountFlop() as counter:
        trial.step()
    return fastest(trial, allowed) if counter.total >= LEAST_FLOP else (rule, {})


def fastest(trial: Trial, allowed: Sequence[Candidate]) -> tuple[Candidate, dict[Candidate, float]]:
    """As ``choose``. Each is run once to warm up, and then in turn, for ``_SECONDS`` in all, or up to five times.

    Where one round takes longer than a minute, the first one has to do.
    """
    times = {candidate: [_seconds(trial, candidate)] for candidate in allowed}
    first = sum(seconds for (seconds,) in times.values())
    best = min(seconds for (seconds,) in times.values())
    running = [candidate for candidate, (seconds,) in times.items() if seconds < 2 * best]
    for _ in range(min(max(int(_SECONDS / first), 1), 5) if first < 60 else 0):
        for candidate in running:
            times[candidate].append(_seconds(trial, candidate))
    medians = {c: statistics.median(seconds[1:] or seconds) for c, seconds in times.items()}
    rule = allowed[0]
    winner = min(medians, key=lambda candidate: medians[candidate])
    return (winner if medians[winner] < _MARGIN * medians[rule] else rule), medians


class CountFlop(TorchDispatchMode):
    """Floating-point operations of the convolutions and products inside."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


class Trial(Protocol):
    """Something whose step can be computed in several ways."""

    def use(self, candidate: Candidate) -> None:
        """From now on."""

    def step(self) -> None: ...


def _seconds(trial: Trial, candidate: Candidate) -> float:
    trial.use(candidate)
    started = time.perf_counter()
    trial.step()
    return time.perf_counter() - started


def cache_key(recipe: Recipe, system: System, growth: GrowthState, n: int, versions: Mapping[str, str]) -> str:
    """Of everything that the speed of a step of ``n`` images depends on. versions: of the plugins in use."""
    recorded = recipe.model_dump()
    parts = {key: recorded[key] for key in ("generator", "discriminator", "loss", "regularizers", "augmentation")}
    parts |= {"cpu": cpu_model(), "threads": system.threads, "torch": torch.__version__, "versions": dict(versions)}
    parts |= {"resolution": growth.resolution, "n": n, "img_resolution": recipe.data.img_resolution}
    parts |= {"system": {key: recorded["system"][key] for key in ("precision", "memory_format", "recompute")}}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def cpu_model() -> str:
    """Its kind, as the system calls it, with whether it computes in bf16."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}{', bf16' if cpu_computes_in_bf16() else ''}"


def remembered(key: str, allowed: list[Candidate]) -> Candidate | None:
    """What was measured before, on this machine or one like it."""
    found = _read(cache_root() / "choices.json").get(key)
    values = (found.get("precision"), found.get("memory_format")) if isinstance(found, dict) else None
    return next((candidate for candidate in allowed if candidate == values), None)


def remember(key: str, candidate: Candidate, what: str) -> None:
    """what: for people who look into the file. A cache that cannot be written is no reason to end a run."""
    path = cache_root() / "choices.json"
    entry = {"precision": candidate[0], "memory_format": candidate[1], "what": what}
    with suppress(GanzooError):
        write_text(path, json.dumps({**_read(path), key: entry}, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
