"""Where packs made for training are kept, and whether there is room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ganzoo.errors import DataError


def cache_root() -> Path:
    """``$GANZOO_CACHE``, or ``~/.cache/ganzoo``."""
    return Path(os.environ.get("GANZOO_CACHE") or Path.home() / ".cache" / "ganzoo")


def check_space(folder: Path, needed: int, *, way_out: str) -> None:
    """Raise DataError unless ``needed`` bytes fit on the disk of ``folder``, which need not exist yet."""
    existing = next((p for p in (folder.absolute(), *folder.absolute().parents) if os.path.exists(p)), None)
    if existing is None:  # a drive that Windows does not have
        raise DataError(f"{folder}: there is no such disk. {way_out}")
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"{folder}: {format_bytes(needed)} are needed to pack the images and {format_bytes(free)} are free. "
            f"{way_out}"
        )


def format_bytes(n: float) -> str:
    """12 kB, 205 MB, 12.6 GB."""
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"
