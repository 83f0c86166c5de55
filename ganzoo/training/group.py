"""``ganzoo run --gpus N``: N processes of this machine that train together, watched, and started again if one is lost.

What torchrun does on one machine, with the run's own exit codes and one message where torchrun prints N tracebacks.
"""

from __future__ import annotations

import os
import signal as signals
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from typing import IO

from ganzoo.console import echo
from ganzoo.errors import GanzooError, LostProcessError
from ganzoo.training.restarts import LAUNCH
from ganzoo.training.signals import StopRequest

_GRACE_SECONDS = 3.0  # for the others to say what they know, once one is lost


def check_group(size: int, device: str) -> None:
    """Raise GanzooError if ``size`` processes cannot have a device each. device: as in ``system.device``."""
    import torch

    if "WORLD_SIZE" in os.environ:
        raise GanzooError("--gpus inside of torchrun: torchrun has started the processes already; leave --gpus out")
    if device == "cpu":
        return
    if device not in ("auto", "cuda"):
        raise GanzooError(f"--gpus {size}: system.device is {device}, one device; set it to auto, cuda or cpu")
    count = torch.cuda.device_count()
    if size > count:
        raise GanzooError(
            f"--gpus {size}: torch sees {count} GPU(s) here. Use {f'--gpus {count}' if count > 1 else 'no --gpus'}, or "
            f"--set system.device=cpu for {size} processes on the CPU"
        )


def run_group(size: int, arguments: Sequence[str], *, max_restarts: int) -> int:
    """Run ``ganzoo run`` with ``arguments`` in ``size`` processes; returns the exit code. Only the first one prints."""
    from torch.distributed import TCPStore

    # Whoever asks for the port before binding it may lose it: the store is bound, and tells.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launch = uuid.uuid4().hex
    with StopRequest() as stop:
        for attempt in range(max_restarts + 1):
            group = _Group(size, arguments, port=store.port, launch=launch, attempt=attempt)
            code, lost = group.wait(stop)
            if lost is None:
                return code
            again = attempt < max_restarts and stop.signal is None
            then = (
                f"starting again from the last checkpoint ({attempt + 1} of {max_restarts})" if again else "giving up"
            )
            echo(f"{lost}; {then}", err=True)
            if not again:
                break
    return code


class _Group:
    """The processes of one attempt."""

    def __init__(self, size: int, arguments: Sequence[str], *, port: int, launch: str, attempt: int) -> None:
        self.size = size
        self._stderr: list[IO[str] | None] = [None]
        self._processes: list[subprocess.Popen[bytes]] = []
        for rank in range(size):
            environment = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there; keys of each attempt are its own
                "TORCHELASTIC_RESTART_COUNT": str(attempt),
                LAUNCH: launch,
            }
            if rank > 0:
                self._stderr.append(tempfile.TemporaryFile("w+"))  # noqa: SIM115
            # A session of its own, so that Ctrl-C reaches each process once, from here.
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "ganzoo", "run", *arguments],
                    env=environment,
                    stdout=None if rank == 0 else subprocess.DEVNULL,
                    stderr=self._stderr[rank],
                    start_new_session=True,
                )
            )

    def wait(self, stop: StopRequest) -> tuple[int, str | None]:
        """(exit code, None), or if a process was lost (exit code, what happened), with the others killed."""
        forwarded = None
        try:
            while True:
                codes = [process.poll() for process in self._processes]
                if all(code is not None for code in codes) or any(self._is_bad(code) for code in codes):
                    break
                if stop.signal is not None and forwarded is None:
                    forwarded = stop.signal
                    for process in self._processes:
                        process.send_signal(forwarded)
                time.sleep(0.05)
            if any(self._is_bad(code) for code in codes):
                self._let_end(_GRACE_SECONDS)
                codes = [process.poll() for process in self._processes]
        finally:
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        return self._judge(codes)

    @staticmethod
    def _is_bad(code: int | None) -> bool:
        return code not in (None, 0, 128 + signals.SIGTERM)

    def _let_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(process.poll() is None for process in self._processes):
            time.sleep(0.05)

    def _judge(self, codes: list[int | None]) -> tuple[int, str | None]:
        bad = [rank for rank, code in enumerate(codes) if self._is_bad(code)]
        if not bad:
            return max(code or 0 for code in codes), None
        # The one that is to blame: killed, or crashed; then whoever made a mistake; last, who merely lost another.
        blame = min(bad, key=lambda rank: self._order(codes[rank]))
        code = codes[blame]
        assert code is not None
        if blame > 0:
            self._show(blame)
        if code == 2:
            return 2, None
        if code < 0:
            return 128 - code, f"process {blame} of {self.size} was killed by {signals.Signals(-code).name}"
        return code, f"process {blame} of {self.size} ended with exit code {code}"

    @staticmethod
    def _order(code: int | None) -> int:
        assert code is not None
        return 0 if code < 0 else 3 if code == LostProcessError.exit_code else 2 if code == 2 else 1

    def _show(self, rank: int) -> None:
        file = self._stderr[rank]
        assert file is not None
        file.seek(0)
        echo("".join(file.readlines()[-40:]), nl=False, err=True)
