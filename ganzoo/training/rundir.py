"""Run folders: ``runs/00000-<recipe>-<data>/``, one process group at a time, found again for ``--resume``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.recipe import Recipe, strict_yaml

RECIPE_FILE = "recipe.yaml"

# A resumed run may change these: they say how long, how often and where, and not what is computed (but for its last
# bits, of which the session warns).
_FREE = re.compile(
    r"(system|eval)(\..*)?|name|data\.(path|cache)|train\.(total_kimg|\w*(tick|image|snapshot|checkpoint)\w*|grid)"
)


def create_run_dir(outdir: Path, recipe_name: str, data_name: str) -> Path:
    """Make the next free numbered folder. Raises GanzooError if the system does not let it."""
    try:
        return _create_run_dir(outdir, recipe_name, data_name)
    except OSError as error:
        raise GanzooError(
            f"{outdir}: no run folder can be made here: {error.strerror}; choose another place with --outdir"
        ) from error


def _create_run_dir(outdir: Path, recipe_name: str, data_name: str) -> Path:
    outdir.mkdir(parents=True, exist_ok=True)
    data_name = re.sub(r"[^\w.+-]+", "_", data_name)[:32]  # names of more than 255 bytes are refused
    number = 1 + max((_number(p) for p in outdir.iterdir()), default=-1)
    while True:
        path = outdir / f"{number:05d}-{recipe_name}-{data_name}"
        try:
            path.mkdir()
            return path
        except FileExistsError:  # another run took the number in this moment
            number += 1


def find_run_dir(outdir: Path, recipe_name: str) -> Path | None:
    """The newest run of this recipe in ``outdir``."""
    runs = [p for p in outdir.glob(f"*-{recipe_name}-*") if _number(p) >= 0 and _recorded_name(p) == recipe_name]
    return max(runs, key=_number, default=None)


def _recorded_name(run_dir: Path) -> Any:
    """The recipe's name as recorded: the folder's may be that of recipe `a` on data `b-c`, or of `a-b` on `c`."""
    path = run_dir / RECIPE_FILE
    return strict_yaml.read(path.read_text(encoding="utf-8"), str(path)).data.get("name") if path.is_file() else None


def lock_run_dir(run_dir: Path, *, timeout: float = 0) -> FileLock:
    """Claim the folder for this process; released when it ends, however it ends. timeout: seconds to wait for it."""
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise GanzooError(
            f"{run_dir}: another process is training in this folder. Wait for it, stop it, or start a run of your own "
            "without --resume."
        ) from None
    except OSError as error:
        raise GanzooError(f"{run_dir}: cannot be written: {error}") from error
    return lock


def remove_leftovers(run_dir: Path) -> None:
    """Delete what a process that was killed in the middle of writing left half-written. Needs the folder's lock."""
    for path in run_dir.rglob(".*.tmp*"):
        path.unlink(missing_ok=True)


def check_same_run(wanted: Recipe, recorded: Recipe, where: Path) -> None:
    """Raise CheckpointError if ``wanted`` would compute something else than the run in ``where`` did."""
    new, old = _flatten(wanted.model_dump()), _flatten(recorded.model_dump())
    changed = [k for k in sorted({*new, *old}) if new.get(k) != old.get(k) and not _FREE.fullmatch(k)]
    if changed:
        lines = "\n".join(f"  {k}: {old.get(k, 'not set')} in the run, {new.get(k, 'not set')} now" for k in changed)
        raise CheckpointError(
            f"{where}: was trained with another recipe:\n{lines}\n"
            f"Go on with its own recipe (`ganzoo run --resume {where}`), or start a new run without --resume."
        )


def _number(path: Path) -> int:
    match = re.match(r"(\d{5,})-", path.name)
    return int(match[1]) if match and path.is_dir() else -1


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
