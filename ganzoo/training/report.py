"""What a person sees of a run: the progress bar or plain lines, log.txt, two .jsonl files and the curves picture."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ganzoo.errors import printable
from ganzoo.files import append_line, write_text
from ganzoo.interfaces import GrowthState
from ganzoo.training.curves import draw_curves

_CURVES_SECONDS = 30  # at most one new curves picture in this time; drawing takes a good part of a second


class Reporter:
    """Shows and records progress. ``active=False`` (ranks other than 0) makes every call do nothing."""

    def __init__(self, *, active: bool = True, console: Console | None = None) -> None:
        self._active = active
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._early: list[str] = []  # what was said before there was a folder to write it to
        self._run_dir: Path | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._sec_per_kimg: float | None = None
        self._last_curves = 0.0

    def log(self, message: str) -> None:
        """A line for the screen and for log.txt."""
        if not self._active:
            return
        message = printable(message)
        console = self._bar.console if self._bar else self._console
        console.print(message, markup=False, emoji=False, soft_wrap=True)
        self._record(message)

    def attach(self, run_dir: Path, nimg: int, *, evaluated: bool = True) -> None:
        """From now on write into ``run_dir``; statistics later than ``nimg`` belong to steps that were lost.

        evaluated: whether metrics measured at ``nimg`` itself are kept.
        """
        if not self._active:
            return
        self._run_dir = run_dir
        for line in self._early:
            self._record(line)
        self._early.clear()
        for path, last in ((run_dir / "stats.jsonl", nimg), (run_dir / "metrics.jsonl", nimg - (not evaluated))):
            if path.exists():
                write_text(path, "".join(f"{json.dumps(r)}\n" for r in read_stats(path) if r["nimg"] <= last))

    def start(self, nimg: int, total_nimg: int) -> None:
        """Training begins at ``nimg``."""
        self._total = total_nimg
        if self._active and self._console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24),
                TextColumn("{task.fields[status]}", markup=False),
                console=self._console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("train", total=total_nimg, completed=nimg, status="")
            self._bar.start()
            self._status = ""

    def progress(self, nimg: int, growth: GrowthState) -> None:
        """After every step: moves the bar. Costs nothing where there is none."""
        if self._bar is not None and self._task is not None:
            where = f"kimg {nimg / 1000:.1f}/{self._total / 1000:g}  res {growth.resolution}  alpha {growth.alpha:.2f}"
            self._bar.update(self._task, completed=nimg, status=f"{where}  {self._status}  left {self._left(nimg)}")

    def tick(self, record: dict[str, Any]) -> None:
        """Once a tick: a status line, and one JSON object in stats.jsonl."""
        if not self._active:
            return
        terms = {**{k: v for k, v in record["loss"].items() if k in ("D", "G")}}
        numbers = {**terms, **record.get("augmentation", {})}
        losses = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        losses += "".join(f"  {name} {n}" for name, n in record["divergence"].items() if n)
        timing = record["timing"]
        self._sec_per_kimg = timing["sec_per_kimg"]
        self._status = (
            f"{losses}  sec/kimg {timing['sec_per_kimg']:.2f}  mem {timing['memory_gb']:.1f}G"
            f"  data {100 * timing['data_wait']:.0f}%"
        )
        where = (
            f"kimg {record['nimg'] / 1000:<7.1f} res {record['resolution']:<4d} alpha {record['alpha']:.2f}"
            f"  batch {record['batch_size']:<3d}"
        )
        line = f"{where}  {self._status}  left {self._left(record['nimg'])}"
        if self._bar is None:
            self.log(line)
        else:
            self._record(line)
        if self._run_dir is not None:
            append_line(self._run_dir / "stats.jsonl", json.dumps(record))
            if time.monotonic() - self._last_curves > _CURVES_SECONDS:
                self.draw_curves()

    @contextmanager
    def side_bar(self, total: int) -> Iterator[Callable[[int], None]]:
        """A second bar below that of training, while images are measured."""
        if self._bar is None:
            yield lambda n: None
            return
        bar = self._bar
        task = bar.add_task("measure", total=total, status=f"measuring {total:,} images")
        try:
            yield lambda n: bar.advance(task, n)
        finally:
            bar.remove_task(task)

    def evaluated(self, record: dict[str, Any]) -> None:
        """After an evaluation: a line with its numbers, and one JSON object in metrics.jsonl."""
        if not self._active:
            return
        numbers = [
            f"{result['name']} {result['value']:.4g}"
            + ("" if result["standard_error"] is None else f" ± {result['standard_error']:.2g}")
            for result in record["results"]
        ]
        self.log(f"kimg {record['nimg'] / 1000:<7.1f} {'  '.join(numbers)}  ({format_seconds(record['seconds'])})")
        if self._run_dir is not None:
            append_line(self._run_dir / "metrics.jsonl", json.dumps(record))

    def draw_curves(self) -> None:
        """Write curves.png from stats.jsonl and metrics.jsonl."""
        if self._active and self._run_dir is not None and (self._run_dir / "stats.jsonl").exists():
            metrics = self._run_dir / "metrics.jsonl"
            draw_curves(
                read_stats(self._run_dir / "stats.jsonl"),
                self._run_dir / "curves.png",
                metrics=read_stats(metrics) if metrics.exists() else [],
            )
            self._last_curves = time.monotonic()

    def end(self) -> None:
        """Leave the terminal as it was: no bar below the last words."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, nimg: int) -> str:
        """At the speed of the last tick: a mean over all resolutions so far would promise too much."""
        if self._sec_per_kimg is None:
            return "?"
        return format_seconds((self._total - nimg) / 1000 * self._sec_per_kimg)

    def _record(self, line: str) -> None:
        if self._run_dir is not None:
            append_line(self._run_dir / "log.txt", line)
        else:
            self._early.append(line)


def read_stats(path: Path) -> list[dict[str, Any]]:
    """The records of a stats.jsonl or metrics.jsonl; a last line that a crash cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def format_seconds(seconds: float) -> str:
    """'42s', '3m 10s', '5h 12m', '2d 3h'."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h {s // 60 % 60:02d}m"
    return f"{s // 86400}d {s // 3600 % 24}h"


def peak_memory_gb(device_type: str) -> float:
    """Peak memory in GiB: of the GPU, or of this process."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:  # Windows has no such count in the standard library
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
