"""Writing files so that a crash, a full disk or a second reader never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganzoo.errors import GanzooError


@contextmanager
def atomic(path: Path, *, error: type[GanzooError] = GanzooError, durable: bool = False) -> Iterator[Path]:
    """Write to the name this yields; it then takes ``path``'s place, whole or not at all.

    The temporary name keeps the suffix, because image and video writers go by it. durable: return only once the disk
    has it. Raises ``error``, naming the path, if the system refuses to write.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _fsync(temporary)
        os.replace(temporary, path)
        if durable:
            _fsync(path.parent)
    except OSError as problem:
        raise error(_cannot_be_written(path, problem)) from problem
    finally:
        if os.path.exists(temporary):  # unlike Path.exists, also for what no path can be
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add a line to a UTF-8 text file. Raises GanzooError, naming the path, if the system refuses to write."""
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")
    except OSError as problem:
        raise GanzooError(_cannot_be_written(path, problem)) from problem


def _cannot_be_written(path: Path, problem: OSError) -> str:
    return (
        f"{path}: cannot be written: {problem.strerror or problem}. Free some space or choose another folder; "
        "what was written before is untouched."
    )


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows opens no folders, and makes renames durable by itself
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
