"""Snapshots (G_ema, to use and share) and checkpoints (everything, to resume exactly)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.errors import CheckpointError
from ganzoo.interfaces import GrowthState, Translator
from ganzoo.training import distributed, rng
from ganzoo.weights import content_digest, load_weights, save_weights

CHECKPOINT_FORMAT = "ganzoo-checkpoint/1"
SNAPSHOT_FORMAT = "ganzoo-snapshot/1"


@dataclass
class TrainingState:
    """Everything that changes while training, beside tensors. What is not here is recomputed from ``nimg``.

    nimg: real images shown so far, the only clock. position: real images drawn from the data (more than nimg when D
    takes several steps). phase: the stretch of the growth schedule that the last step was in. seconds: time spent
    training. sums, count: running totals of each logged term since the last tick, over ``count`` steps; means over all
    processes, whose own are in sums_of_ranks.
    d_step, g_step: steps that each player has taken, without those of lazy regularizers.
    best: metric name -> [best value, nimg]. evaluate_as_at: G_ema is due to be measured, with the growth state of that
    nimg; None: it is not. left_out: steps without their update, see ``LeftOut.read``. rollbacks: returns to a
    checkpoint, in all. watch: what was measured last of collapse, and what is to be remembered of it. choices: how
    steps are computed where the recipe leaves it open, see ``choices``.
    """

    nimg: int = 0
    position: int = 0
    phase: str = ""
    seconds: float = 0.0
    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    sums_of_ranks: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    evaluate_as_at: int | None = None
    d_step: int = 0
    g_step: int = 0
    left_out: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    rollbacks: int = 0
    watch: dict[str, float] = field(default_factory=dict)
    choices: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trainee:
    """All that a checkpoint holds tensors of."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, tuple[nn.Module, Optimizer]]


def save_checkpoint(
    folder: Path, trainee: Trainee, state: TrainingState, *, recipe: str, extra: dict[str, str], device: torch.device
) -> Path | None:
    """Write ``checkpoint-<nimg>.safetensors`` into ``folder``; every process must call it, rank 0 writes.

    Returns the path, or None on the other ranks.
    """
    states = distributed.gather_bytes(rng.get_state(), device)
    of_ranks = _buffers_of_ranks(trainee, device, len(states))
    if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return None
    tensors = {f"rng/{rank}": data for rank, data in enumerate(states)} | of_ranks
    for name, module in trainee.modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for name, (module, optimizer) in trainee.optimizers.items():
        tensors |= {f"{name}/{key}": value for key, value in _optimizer_tensors(module, optimizer).items()}
    metadata = {"format": CHECKPOINT_FORMAT, "state": json.dumps(asdict(state)), "recipe": recipe, **extra}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{state.nimg:09d}.safetensors"
    save_weights(path, tensors, metadata)
    return path


def restore_checkpoint(
    path: Path, trainee: Trainee, *, fingerprint: str, rank: int = 0, world_size: int = 1, seed: int = 0
) -> TrainingState:
    """Put a checkpoint back into the live objects and this process's random generators.

    fingerprint: of the data that training is to go on with; other data would silently make it another run. If another
    number of processes wrote it, what is drawn for the whole batch goes on; each process's own generators start anew
    from ``seed``.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint but {metadata.get('format', 'something else')!r}")
    if metadata.get("data_fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path}: was trained on other data (fingerprint {metadata.get('data_fingerprint')}, now {fingerprint}). "
            "Give the same images with --data, or start anew without --resume."
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = value
    for name, module in trainee.modules.items():
        try:
            module.load_state_dict(groups.get(name, {}), strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: {name} does not fit the recipe's network: {error}. Was a plugin updated since?"
            ) from error
        own = f"{rank}/{name}/"
        buffers = {key[len(own) :]: v for key, v in groups.get("rank", {}).items() if key.startswith(own)}
        module.load_state_dict(buffers, strict=False)
    for name, (module, optimizer) in trainee.optimizers.items():
        _restore_optimizer(module, optimizer, groups.get(name, {}))
    try:
        state = TypeAdapter(TrainingState).validate_json(metadata["state"])
        states = groups["rng"]
        if len(states) == world_size:
            rng.set_state(states[str(rank)])
        else:
            rng.seed_own(seed, rank, world_size, nimg=state.nimg)
            rng.set_common_state(states["0"])
        return state
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{path}: is no state of training that can be gone on with: {error}") from error


def newest_valid_checkpoint(folder: Path, *, log: Callable[[str], None]) -> Path | None:
    """The newest checkpoint in ``folder`` whose contents are whole; damaged newer ones are named and passed over.

    Raises CheckpointError if there are checkpoints and none is whole.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            load_weights(path)
        except CheckpointError as error:
            log(f"warning: {error}; trying the one before")
            continue
        return path
    if paths:
        raise CheckpointError(f"{folder}: none of its {len(paths)} checkpoints is whole; start anew without --resume")
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first."""
    named = [(re.fullmatch(r"checkpoint-(\d+)\.safetensors", p.name), p) for p in folder.glob("checkpoint-*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match)]


def nimg_of(path: Path) -> int:
    """When a checkpoint was written, by its name."""
    return int(path.stem.split("-")[1])


def prune_checkpoints(written: Path, keep: int) -> None:
    """Leave ``keep`` checkpoints: ``written``, once it has been read back and found whole, and those before it.

    Later ones go too: training resumed before them because they were damaged.
    """
    paths = list_checkpoints(written.parent)
    kept = paths[: paths.index(written) + 1][-keep:]
    if kept != paths:
        load_weights(written)
        for path in paths:
            if path not in kept:
                path.unlink()


def save_snapshot(
    folder: Path,
    G_ema: nn.Module,
    state: TrainingState,
    growth: GrowthState,
    *,
    recipe: str,
    extra: dict[str, str],
    name: str | None = None,
) -> Path:
    """Write G_ema with all that is needed to use it, as ``snapshot-<kimg>.safetensors`` (or ``name``)."""
    model = {key: getattr(G_ema, key) for key in ("z_dim", "c_dim", "img_resolution", "img_channels")}
    model["in_channels"] = G_ema.in_channels if isinstance(G_ema, Translator) else 0
    metadata = {
        "format": SNAPSHOT_FORMAT,
        "recipe": recipe,
        "nimg": str(state.nimg),
        "growth": json.dumps(asdict(growth)),
        "model": json.dumps(model),
        **extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"snapshot-{state.nimg // 1000:06d}.safetensors")
    save_weights(path, G_ema.state_dict(), metadata)
    return path


def is_best(state: TrainingState, metric: str, value: float, *, lower_is_better: bool = True) -> bool:
    """Record ``value`` of ``metric`` at this point of training; True if none before it was better.

    Whoever measures calls this and, on True, ``save_snapshot(..., name=f"best-{metric}.safetensors")``.
    """
    best = state.best.get(metric)
    if best is not None and (value >= best[0] if lower_is_better else value <= best[0]):
        return False
    state.best[metric] = (value, state.nimg)
    return True


def _buffers_of_ranks(trainee: Trainee, device: torch.device, world_size: int) -> dict[str, Tensor]:
    """Buffers in which a rank differs from rank 0, such as a pool of its own images: ``rank/<rank>/<module>/<name>``.

    Parameters are the same everywhere. Every process must call it.
    """
    if world_size == 1:
        return {}
    mine: dict[str, Tensor] = {}
    for name, module in trainee.modules.items():
        parameters = dict(module.named_parameters())
        state = module.state_dict()
        mine |= {f"{name}/{key}": value for key, value in state.items() if key not in parameters}
    plain = {name: value.detach().to("cpu").contiguous() for name, value in mine.items()}
    digests = {name: content_digest({name: value}, {}) for name, value in plain.items()}
    everywhere = [json.loads(data.numpy().tobytes()) for data in _gather(json.dumps(digests).encode(), device)]
    found: dict[str, Tensor] = {}
    for name in sorted(plain):
        differing = [rank for rank, of_rank in enumerate(everywhere) if of_rank[name] != everywhere[0][name]]
        if differing:
            for rank, data in enumerate(_gather(safetensors.torch.save({"": plain[name]}), device)):
                if rank in differing:
                    found[f"rank/{rank}/{name}"] = safetensors.torch.load(data.numpy().tobytes())[""]
    return found


def _gather(data: bytes, device: torch.device) -> list[Tensor]:
    return distributed.gather_bytes(torch.frombuffer(bytearray(data), dtype=torch.uint8), device)


def _optimizer_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Keyed by parameter name rather than number, so that a file can be read by people and survives reordering."""
    return {
        f"{name}/{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(module: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None:
            raise CheckpointError(f"the optimiser's state is of {name!r}, which the recipe's network does not have")
        # A slot of the parameter's shape takes its memory format too, as the optimiser would have made it.
        restored = torch.zeros_like(parameter) if value.shape == parameter.shape else torch.zeros_like(value)
        restored = restored.to(device=parameter.device, dtype=value.dtype)
        optimizer.state[parameter][slot] = restored.detach().copy_(value)
