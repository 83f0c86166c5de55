"""How a group of processes that is started again finds the run folder that it had made before."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ganzoo.errors import GanzooError
from ganzoo.files import write_text

LAUNCH = "GANZOO_LAUNCH"
FILE = ".launch"


def launch_id() -> str | None:
    """What tells this launch from all others and stays the same when its processes are started again; None: alone.

    ``ganzoo run --gpus`` makes one up, torchrun has the id of its rendezvous. Without ``--rdzv-id`` on several machines
    that is "none"; then it is the process of torchrun, beside the one that asks.
    """
    launch, elastic = os.environ.get(LAUNCH), os.environ.get("TORCHELASTIC_RUN_ID")
    if launch or elastic is None:
        return launch or None
    if elastic != "none":
        return f"torchrun {elastic}"
    parent = os.getppid()
    try:  # numbers of processes come back; when it was started makes it one of a kind
        started = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = ""
    return f"torchrun {socket.gethostname()} {parent} {started}"


def attempt() -> int:
    """How often the processes of this launch were started again."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count) if count.isdigit() else 0


def mark(run_dir: Path) -> None:
    """Note in a new run folder whose it is."""
    launch = launch_id()
    if launch is not None:
        write_text(run_dir / FILE, launch + "\n")


def find_marked(outdir: Path) -> Path | None:
    """The newest folder in ``outdir`` that this launch made before it was started again."""
    launch = launch_id()
    if launch is None:
        return None
    marked = [path for path in outdir.glob(f"*/{FILE}") if _read(path) == launch]
    return max((path.parent for path in marked), default=None, key=lambda p: p.name)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GanzooError(f"{path}: cannot be read: {error}") from error
