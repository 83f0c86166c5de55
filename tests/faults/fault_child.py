"""`ganzoo run` in a process of its own, to which something happens.

python fault_child.py SPEC ARGUMENT...    one process, with the faults of SPEC (JSON)
python fault_child.py --serve             many, forked from one that has imported everything: starting takes no time

What is done to a process from outside (kill -9, a full disk) needs nothing here; the rest is told in SPEC:

progress: a file to note in, after every step, the images shown.
at: [nimg, action, argument...]: when so many images were shown.
in: [place, number]: ends this process by SIGKILL in a place where something is half done, the number-th time.
curves: whether to draw them.
set: {"module:NAME": value}: constants to change, such as how much data are read anew from files.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die() -> None:
    """At once, as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def watch_steps(progress: str | None, at: list[Any] | None) -> None:
    """Note every step, and act after that of ``at``."""
    from ganzoo.training import loop
    from ganzoo.training.report import Reporter

    original, take_step = Reporter.progress, loop.take_step
    file = None if progress is None else os.open(progress, os.O_RDWR | os.O_CREAT, 0o644)
    sessions: list[Any] = []

    def noted(self: Any, nimg: int, growth: Any) -> None:
        original(self, nimg, growth)
        if file is not None:
            os.pwrite(file, b"%012d" % nimg, 0)
        if at is not None and nimg >= at[0] and sessions:
            session = sessions.pop()
            name, *arguments = at[1:]
            at[0] = 1 << 60
            ACTIONS[name](session, *arguments)

    def remember(s: Any, *args: Any, **kwargs: Any) -> None:
        sessions[:] = [s]
        take_step(s, *args, **kwargs)

    Reporter.progress, loop.take_step = noted, remember  # type: ignore[method-assign]


def nan_weight(session: Any, player: str) -> None:
    import torch

    with torch.no_grad():
        next(getattr(session, player).parameters()).view(-1)[0] = float("nan")


def nan_loss(session: Any, player: str) -> None:
    """The next loss of a player, once."""
    name = f"{player.lower()}_loss"
    original = getattr(session.loss, name)

    def spoilt(*args: Any) -> dict[str, Any]:
        delattr(session.loss, name)
        return {key: term * float("nan") for key, term in original(*args).items()}

    setattr(session.loss, name, spoilt)


def nan_data(session: Any) -> None:
    """The next batch, once."""
    original = session.reals.next

    def spoilt(growth: Any) -> Any:
        del session.reals.next
        real, c = original(growth)
        return real * float("nan"), c

    session.reals.next = spoilt


def out_of_memory(session: Any, kind: str) -> None:
    import torch

    def fail(*args: Any) -> None:
        if kind == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        torch.empty(2**52)  # the allocator's own words

    session.loss.g_loss = fail


def jump(session: Any, clock: str, seconds: float) -> None:
    """Every reading of a clock from now on is so much later; 0: it stands still."""
    original, stopped = getattr(time, clock), getattr(time, clock)()
    setattr(time, clock, (lambda: original() + seconds) if seconds else (lambda: stopped))


ACTIONS: dict[str, Callable[..., None]] = {
    "kill": lambda session: die(),
    "term": lambda session: os.kill(os.getpid(), signal.SIGTERM),
    "truncate": lambda session, path, size: os.truncate(path, size),
    "remove": lambda session, path: os.unlink(path),
    "nan-weight": nan_weight,
    "nan-loss": nan_loss,
    "nan-data": nan_data,
    "out-of-memory": out_of_memory,
    "jump": jump,
}


def die_in(place: str, number: int) -> None:
    """End this process the ``number``-th time that it gets to ``place``."""
    from ganzoo import weights
    from ganzoo.data import opening, packing
    from ganzoo.evaluation.images import GeneratedImages
    from ganzoo.evaluation.small import SmallExtractor
    from ganzoo.training import checkpoint

    calls = itertools.count(1)

    def once(
        function: Callable[..., Any], act: Callable[..., None], where: Callable[..., bool] = lambda *a: True
    ) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if where(*args) and next(calls) == number:
                act(*args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    def half(tensors: Any, path: Path, *args: Any) -> None:
        save_file(tensors, path, *args)
        os.truncate(path, os.path.getsize(path) // 2)
        die()

    def ended(function: Callable[..., Any]) -> Callable[..., None]:
        def act(*args: Any, **kwargs: Any) -> None:
            function(*args, **kwargs)
            die()

        return act

    def stop(*args: Any, **kwargs: Any) -> None:
        die()

    def is_checkpoint(*args: Any) -> bool:
        return any("checkpoint-" in str(arg) for arg in args)

    save_file = weights.save_file
    if place == "checkpoint, half written":
        weights.save_file = once(save_file, half, is_checkpoint)
    elif place == "checkpoint, before the rename":
        weights.os.replace = once(os.replace, stop, is_checkpoint)  # type: ignore[attr-defined]
    elif place == "checkpoint, after the rename":
        checkpoint.save_weights = once(checkpoint.save_weights, ended(checkpoint.save_weights), is_checkpoint)
    elif place == "checkpoint, the oldest deleted":
        Path.unlink = once(Path.unlink, ended(Path.unlink), is_checkpoint)  # type: ignore[method-assign]
    elif place == "pack, a chunk":
        packing._CHUNK_BYTES = 8 * 192  # eight images at 8 px
        packing.FittedChunk.levels = once(packing.FittedChunk.levels, stop)  # type: ignore[method-assign]
    elif place == "pack, before the rename":
        Path.rename = once(Path.rename, stop)  # type: ignore[method-assign]
    elif place == "pack, after the rename":
        opening.write_pack = once(opening.write_pack, ended(opening.write_pack))
    elif place == "evaluation, features":
        SmallExtractor.features = once(SmallExtractor.features, stop)  # type: ignore[method-assign]
    elif place == "evaluation, images":
        GeneratedImages.read = once(GeneratedImages.read, stop)  # type: ignore[method-assign]
    else:
        raise ValueError(place)


def run(spec: dict[str, Any], arguments: list[str]) -> None:
    """The command itself; leaves by SystemExit."""
    from ganzoo.cli import main

    for key, value in spec.get("set", {}).items():
        module, name = key.split(":")
        setattr(importlib.import_module(module), name, value)
    if not spec.get("curves"):
        from ganzoo.training import report

        report.draw_curves = lambda *args, **kwargs: None  # half of the time that a tiny run takes
    if spec.keys() & {"progress", "at"}:
        watch_steps(spec.get("progress"), spec.get("at"))
    if "in" in spec:
        die_in(*spec["in"])
    main(arguments, prog_name="ganzoo")


def serve() -> None:
    """Requests on stdin, a JSON object a line; the answer is a process number, or how a process ended."""
    from ganzoo.plugins import load_plugins

    load_plugins()
    for module in ("ganzoo.cli.run", "ganzoo.evaluation.evaluate", "ganzoo.training.loop", "matplotlib.figure"):
        importlib.import_module(module)
    importlib.import_module("torch._dynamo")  # Adam's first step would
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, deadline = request["wait"], time.monotonic() + request["seconds"]
            while pid not in ended and time.monotonic() <= deadline:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
                else:
                    time.sleep(0.002)
            answer = ended.get(pid)
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> None:
    """The child of a fork: its output into a file, its own signals, and the command."""
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, out), (2, out)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    code = 1
    try:
        run(request["spec"], request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        run(json.loads(sys.argv[1]), sys.argv[2:])
