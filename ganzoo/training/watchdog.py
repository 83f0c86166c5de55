"""A process that hangs keeps all others waiting; this finds it, says which one, and ends the wait."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ganzoo.console import echo
from ganzoo.errors import LostProcessError
from ganzoo.training import distributed
from ganzoo.training.distributed import Processes


class Watchdog:
    """Ends this process if no step was finished for ``minutes``. Does nothing where there is one process alone.

    Every process tells the others now and then, through the store of the process group, which step it is in and where:
    the message names those that do not wait, or that have not been heard of.
    """

    def __init__(
        self, processes: Processes, minutes: float, *, end: Callable[[str], None] | None = None, nimg: int = 0
    ) -> None:
        """end: what to do with the message, in place of printing it and ending the process."""
        self._processes, self._seconds = processes, minutes * 60
        self._end = end or _print_and_exit
        self._nimg, self._steps, self._since, self._paused = nimg, 0, time.monotonic(), False
        self._main = threading.main_thread().ident
        self._parent = os.getppid()
        self._stop = threading.Event()
        self._every = min(5.0, self._seconds / 10)
        self._store: Any = None
        self._thread: threading.Thread | None = None
        if processes.world_size > 1:
            self._store = distributed.open_store()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def progress(self, nimg: int) -> None:
        """A step is finished."""
        self._nimg, self._steps, self._since = nimg, self._steps + 1, time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, waiting is as it should be: rank 0 measures."""
        self._paused = True
        try:
            yield
        finally:
            self._paused, self._since = False, time.monotonic()

    def close(self) -> None:
        """Watch no longer."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            if os.environ.get("GANZOO_LAUNCH") and os.getppid() != self._parent:
                self._end(f"process {self._processes.rank}: `ganzoo run --gpus`, which had started it, is gone")
            self._tell()
            if not self._paused and time.monotonic() - self._since > self._seconds:
                self._end(self._message())
                return

    def _tell(self) -> None:
        place, waits = _where(self._main)
        news = {"steps": self._steps, "nimg": self._nimg, "place": place, "waits": waits, "time": time.time()}
        try:
            self._store.set(f"ganzoo/{self._processes.rank}", json.dumps(news))
        except Exception:  # the machine that has the store is cut off: what there is to say is said without
            self._store = None

    def _message(self) -> str:
        lines = [
            f"process {self._processes.rank}: no step was finished for {self._seconds / 60:g} minutes "
            f"(system.timeout); the last one ended at kimg {self._nimg / 1000:g}, step {self._steps} since the start."
        ]
        for rank in range(self._processes.world_size):
            lines.append(f"  process {rank} {self._describe(rank)}")
        lines.append("  Go on from the last checkpoint with --resume; if steps are that slow, raise system.timeout.")
        return "\n".join(lines)

    def _describe(self, rank: int) -> str:
        if rank == self._processes.rank:
            place, waits = _where(self._main)
            return f"(this one) {'waits for others in' if waits else 'is in'} {place}"
        try:
            key = f"ganzoo/{rank}"
            if self._store is None or not self._store.check([key]):
                return "was never heard of"
            news = json.loads(self._store.get(key))
        except Exception:
            return "cannot be asked: the first machine does not answer"
        ago = time.time() - news["time"]
        if ago > 3 * self._every + 1:
            return f"was last heard of {ago:.0f} seconds ago, at kimg {news['nimg'] / 1000:g}: it is dead or cut off"
        return f"{'waits for others in' if news['waits'] else 'hangs, or is slow, in'} {news['place']}"


def _where(thread: int | None) -> tuple[str, bool]:
    """(where a thread is, whether it waits for other processes there)."""
    frame = sys._current_frames().get(thread or 0)
    if frame is None:
        return "no place", False
    stack = traceback.extract_stack(frame)
    waits = any("distributed" in entry.filename and "torch" in entry.filename for entry in stack[-6:])
    ours = [
        e for e in stack if "ganzoo" in e.filename and not e.filename.endswith(("distributed.py", "whole_batch.py"))
    ]
    entry = (ours or stack)[-1]
    return f"{entry.name} ({os.path.basename(entry.filename)}:{entry.lineno})", waits


def _print_and_exit(message: str) -> None:
    echo(f"error: {message}", err=True)
    # The main thread is in a call that nothing interrupts.
    os._exit(LostProcessError.exit_code)
