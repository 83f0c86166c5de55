"""Writes what ganzoo trains to TensorBoard, into the run folder. Steps are real images shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ganzoo

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_writers: dict[Path, SummaryWriter] = {}


@ganzoo.hookimpl
def ganzoo_run_started(run_dir: Path, nimg: int) -> None:
    """Open the event file. What a resumed run wrote after ``nimg`` is hidden."""
    from torch.utils.tensorboard import SummaryWriter  # a second or two: only where something is trained

    _writers[run_dir] = SummaryWriter(str(run_dir), purge_step=nimg + 1 if nimg else None)


@ganzoo.hookimpl
def ganzoo_tick(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Losses, the state of growth, signs of collapse and divergence, and timing."""
    scalars = {f"loss/{name}": value for name, value in record["loss"].items()}
    scalars |= {f"growth/{name}": record[name] for name in ("resolution", "alpha", "batch_size", "g_lr", "d_lr")}
    scalars |= {f"timing/{name}": record["timing"][name] for name in ("sec_per_kimg", "data_wait", "memory_gb")}
    for part in ("augmentation", "collapse", "divergence"):
        scalars |= {f"{part}/{name}": value for name, value in record.get(part, {}).items()}
    _write(run_dir, scalars, record["nimg"])


@ganzoo.hookimpl
def ganzoo_evaluated(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Every number that was measured."""
    _write(run_dir, {f"metrics/{name}": value for name, value in record["values"].items()}, record["nimg"])


@ganzoo.hookimpl
def ganzoo_grid(run_dir: Path, nimg: int, path: Path) -> None:
    """The sample grid."""
    import numpy as np
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        _writers[run_dir].add_image("fakes", np.asarray(image.convert("RGB")), nimg, dataformats="HWC")


@ganzoo.hookimpl
def ganzoo_run_ended(run_dir: Path) -> None:
    """Close the event file."""
    _writers.pop(run_dir).close()


def _write(run_dir: Path, scalars: Mapping[str, float], nimg: int) -> None:
    writer = _writers[run_dir]
    for name, value in scalars.items():
        writer.add_scalar(name, value, nimg)
    writer.flush()
