"""Faults, done to real runs: a table, a row a fault (`make faults`); tests/faults/test_faults.py runs the same.

After each fault, the run goes on from its last valid state and ends as one that was left alone (weights, optimisers,
random generators, statistics and metrics, bit for bit), or it stops with a message that says what to do, and then goes
on so. FAULT_TRIALS: how often kill -9 strikes at a random moment (100). FAULT_SECONDS: begin no trial after so many.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.errors import CheckpointError, LostProcessError
from ganzoo.training.checkpoint import list_checkpoints, newest_valid_checkpoint
from ganzoo.weights import content_digest, load_weights, read_metadata

CHILD = Path(__file__).with_name("fault_child.py")
PLUGINS = ("biggan", "classic", "progan", "stylegan", "translation")
BATCH = 8
CHECKPOINT = 64  # images between checkpoints
TOTAL = 256
SECONDS = 300.0  # that any process may take
_ROUNDS = 10


def unused_port() -> int:
    """Below those that systems give away by themselves, so that nothing takes it before the processes do."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


class World:
    """A folder, a server of processes, and the results of runs that nothing happened to."""

    def __init__(self, root: Path, *, cold: bool = False) -> None:
        """cold: every process is started by itself, and not forked from one that has imported everything."""
        self.root, self.cold = root, cold
        self._environment = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "GANZOO_CACHE": str(root / "cache")}
        self._environment["GANZOO_LOAD_PLUGINS"] = ",".join(PLUGINS)
        self._server: Any = None
        self._numbers = iter(range(10**9))
        self._baselines: dict[Any, str] = {}

    def __enter__(self) -> World:
        if not self.cold:
            self._server = subprocess.Popen(
                [sys.executable, str(CHILD), "--serve"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **self._environment},
            )  # fmt: skip
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.communicate()  # it ends with its input

    def folder(self) -> Path:
        """A new empty folder."""
        path = self.root / f"{next(self._numbers):05d}"
        path.mkdir()
        return path

    def start(self, arguments: list[Any], spec: dict[str, Any] | None = None, **environment: str) -> Process:
        """A process of `ganzoo ARGUMENTS`; what is done to it from within is in ``spec``, see fault_child.py."""
        out = self.root / f"{next(self._numbers):05d}.out"
        arguments, spec = [str(argument) for argument in arguments], spec or {}
        if self._server is None:
            with open(out, "w", encoding="utf-8") as file:
                process = subprocess.Popen(
                    [sys.executable, str(CHILD), json.dumps(spec), *arguments],
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment, **environment},
                )  # fmt: skip
            return Process(process.pid, out, process=process)
        pid = self.ask(
            {"out": str(out), "arguments": arguments, "spec": spec, "environment": {**self._environment, **environment}}
        )
        assert isinstance(pid, int)
        return Process(pid, out, world=self)

    def ask(self, request: dict[str, Any]) -> Any:
        """One request to the server, and its answer."""
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def baseline(self, **changes: Any) -> str:
        """The result of a run that nothing happened to; see ``Trial``."""
        key = json.dumps(changes, sort_keys=True, default=str)
        if key not in self._baselines:
            trial = Trial(self, **changes)
            trial.finish()
            self._baselines[key] = result_of(trial.run_dir)
        return self._baselines[key]


@dataclass
class Process:
    """A process, ours to kill."""

    pid: int
    out: Path
    process: Any = None
    world: Any = None

    def wait(self, seconds: float = SECONDS) -> int | None:
        """Its exit code, negative for a signal; None if it still runs after ``seconds``."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(seconds)
            return None
        return self.world.ask({"wait": self.pid, "seconds": seconds})

    def send(self, number: int) -> None:
        """A signal, if it is there to get it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def output(self) -> str:
        return self.out.read_text(encoding="utf-8", errors="replace") if self.out.exists() else ""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Mappings within mappings are merged; all else is replaced."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict) and "name" not in value
        out[key] = merged(out[key], value) if both else value
    return out


RECIPE: dict[str, Any] = {
    "seed": 5,
    "data": {
        "source": {"name": "faces", "args": {"num_images": 24}},
        "img_resolution": 8,
        "mirror": True,
        "cache": "packs",
    },
    "generator": {"name": "mlp", "args": {"z_dim": 8, "hidden_dim": 8}},
    "discriminator": {"name": "mlp", "args": {"hidden_dim": 8}},
    "loss": {"name": "minimax", "args": {"saturating": False}},
    "growth": {"name": "fixed", "args": {"batch_size": BATCH, "lr": 0.002}},
    "train": {
        "total_kimg": TOTAL / 1000,
        "tick_kimg": 0.096,
        "checkpoint_kimg": CHECKPOINT / 1000,
        "snapshot_kimg": 0.128,
        "grid": [1, 2],
    },
    "eval": {"metrics": ["prc"], "extractor": "small", "num": 16, "every_kimg": 0.128},
    "system": {"device": "cpu", "precision": "fp32", "threads": 1, "workers": 1},
}
GROWING: dict[str, Any] = {
    "generator": {"name": "progan", "args": {"z_dim": 8, "fmap_base": 32, "fmap_max": 4}},
    "discriminator": {"name": "progan", "args": {"fmap_base": 32, "fmap_max": 4}},
    "loss": {"name": "wgan-gp"},
    "growth": {
        "name": "fade",
        "args": {"batch_size": BATCH, "lr": 0.002, "stable_kimg": 0.096, "fade_kimg": 0.096},
    },
    "train": {"total_kimg": 0.24},
    "eval": None,
}


class Trial:
    """One run in a folder of its own. ranks: processes. changes: to the recipe."""

    def __init__(self, world: World, *, ranks: int = 1, **changes: Any) -> None:
        self.world, self.ranks = world, ranks
        self.folder = world.folder()
        self.recipe = self.folder / "faults.yaml"
        self.progress = self.folder / "progress"
        self.runs = self.folder / "runs"
        self.content = merged(RECIPE, changes)
        if self.content["data"]["cache"] == "packs":
            self.content = merged(self.content, {"data": {"cache": str(self.folder / "packs")}})
        self.write_recipe(self.content)

    def write_recipe(self, content: dict[str, Any]) -> None:
        self.recipe.write_text(json.dumps(content))

    def start(self, *more: Any, **spec: Any) -> list[Process]:
        """All processes. The command is the same before and after a fault. spec: of the last process."""
        arguments = ["run", self.recipe, "--outdir", self.runs, "--resume", *more]
        spec = {"progress": str(self.progress), **spec}
        if self.ranks == 1:
            return [self.world.start(arguments, spec)]
        port = str(unused_port())
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(self.ranks)}
        common["LOCAL_WORLD_SIZE"] = str(self.ranks)
        return [
            self.world.start(
                arguments, spec if rank == self.ranks - 1 else {}, RANK=str(rank), LOCAL_RANK=str(rank), **common
            )
            for rank in range(self.ranks)
        ]

    def end(self, *more: Any, **spec: Any) -> tuple[int, str]:
        """Start, wait, and (code, output) of the first process that failed, or of the first."""
        ended = [(process.wait(), process) for process in self.start(*more, **spec)]
        code, process = next((one for one in ended if one[0]), ended[0])
        assert code is not None, f"still running after {SECONDS} s:\n{process.output}"
        return code, process.output

    def finish(self, *more: Any, **spec: Any) -> str:
        """Go on to the end, which must be reached."""
        code, output = self.end(*more, **spec)
        assert code == 0, f"exit code {code}:\n{output}"
        return output

    def refused(self, *more: Any, says: str, **spec: Any) -> str:
        """Go on to an error with a message; returns that."""
        code, output = self.end(*more, **spec)
        assert code == 2 and "Traceback" not in output, f"exit code {code}:\n{output}"
        message = error_in(output)
        assert re.search(says, message), message
        return message

    def wait_until(self, processes: list[Process], nimg: int) -> None:
        """Until so many images were shown, or the process has ended."""
        while self.reached < nimg and processes[-1].wait(0.01) is None:
            pass

    @property
    def reached(self) -> int:
        """Images shown when it was last noted."""
        text = self.progress.read_bytes() if self.progress.exists() else b""
        return int(text) if text else 0

    @property
    def run_dir(self) -> Path:
        """The newest that has a recipe: one without was made in the moment before a fault."""
        return max(path.parent for path in self.runs.glob("*/recipe.yaml"))

    @property
    def newest(self) -> int:
        """Images shown at the newest whole checkpoint."""
        if not list(self.runs.glob("*/recipe.yaml")):
            return 0
        path = newest_valid_checkpoint(self.run_dir / "checkpoints", log=lambda line: None)
        return int(path.stem.split("-")[1]) if path else 0

    def lost(self) -> int:
        """Steps since the newest whole checkpoint; at most those between two."""
        steps = (self.reached - self.newest) // BATCH
        assert steps <= CHECKPOINT // BATCH, f"lost {steps} steps"
        return max(0, steps)


def result_of(run_dir: Path) -> str:
    """SHA-256 of all that a run came to: last checkpoint and snapshot, statistics, metrics; not of times."""
    sha = hashlib.sha256()
    path = list_checkpoints(run_dir / "checkpoints")[-1]
    tensors, metadata = load_weights(path)
    sha.update(content_digest(tensors, {}).encode())
    sha.update(json.dumps({**json.loads(metadata["state"]), "seconds": 0}, sort_keys=True).encode())
    snapshots = sorted((run_dir / "snapshots").glob("*.safetensors"))
    assert snapshots and not list(run_dir.rglob(".*.tmp*"))
    for snapshot in snapshots:
        tensors, _ = load_weights(snapshot)
        sha.update(f"{snapshot.name} {content_digest(tensors, {})}".encode())
    for name in ("stats.jsonl", "metrics.jsonl"):
        lines = (run_dir / name).read_text().splitlines() if (run_dir / name).exists() else []
        for record in map(json.loads, lines):
            for key in ("timing", "seconds"):
                record.pop(key, None)
            for result in record.get("results", []):  # name and time of the run that they are of
                for key in set(result) - {"name", "value", "standard_error"}:
                    del result[key]
            sha.update(json.dumps(record, sort_keys=True).encode())
    return sha.hexdigest()


@dataclass
class Outcome:
    """Of one trial. lost: steps done in vain, if any can be. message: what was said, where it stopped."""

    lost: int | None = None
    message: str = ""


@dataclass
class Fault:
    """do(world, n): the n-th trial; raises AssertionError where the promise is broken."""

    name: str
    do: Callable[[World, int], Outcome]
    trials: int
    quick: bool
    needs: Callable[[], str | None] = field(default=lambda: None)  # why it cannot be tried here


FAULTS: list[Fault] = []


def fault(name: str, trials: int = 1, *, quick: bool = False, needs: Callable[[], str | None] = lambda: None) -> Any:
    """Register a fault. quick: one trial belongs to the normal tests."""

    def register(do: Callable[[World, int], Outcome]) -> Callable[[World, int], Outcome]:
        FAULTS.append(Fault(name, do, trials, quick, needs))
        return do

    return register


def error_in(output: str) -> str:
    """What a process said last, from "error:" on."""
    lines = f"\n{output}"
    return lines[lines.rindex("\nerror: ") :].strip()


def same_end(trial: Trial, **baseline: Any) -> None:
    """It ended as if nothing had been."""
    assert result_of(trial.run_dir) == trial.world.baseline(**baseline), "another result than without the fault"


# What is done to a process from outside.


@fault("kill -9 at a random moment", 100)
def kill_at_random(world: World, n: int) -> Outcome:
    world.baseline()
    trial = Trial(world)
    (process,) = trial.start()
    trial.wait_until([process], random.randrange(0, TOTAL - BATCH, BATCH) if random.random() < 0.8 else 0)
    time.sleep(random.uniform(0, 0.05))
    process.send(signal.SIGKILL)
    assert process.wait() in (-signal.SIGKILL, 0)
    lost = trial.lost()
    trial.finish()
    same_end(trial)
    return Outcome(lost)


def _killed_in(*places: tuple[str, int]) -> Callable[[World, int], Outcome]:
    def do(world: World, n: int) -> Outcome:
        trial = Trial(world)
        place, most = places[n % len(places)]
        number = 1 + n // len(places) % most
        code, output = trial.end(**{"in": [place, number]})
        assert code == -signal.SIGKILL, f"{place}, time {number}: exit code {code}\n{output}"
        lost = trial.lost()
        trial.finish()
        same_end(trial)
        return Outcome(lost)

    return do


fault("kill -9 inside a checkpoint write", 8, quick=True)(
    _killed_in(
        ("checkpoint, half written", 4),
        ("checkpoint, before the rename", 4),
        ("checkpoint, after the rename", 4),
        ("checkpoint, the oldest deleted", 1),
    )
)
fault("kill -9 inside a pack", 3)(
    _killed_in(("pack, a chunk", 3), ("pack, before the rename", 1), ("pack, after the rename", 1))
)
fault("kill -9 inside an evaluation", 4)(_killed_in(("evaluation, features", 2), ("evaluation, images", 2)))


@fault("SIGTERM at a random moment", 10)
def sigterm(world: World, n: int) -> Outcome:
    trial = Trial(world)
    (process,) = trial.start()
    trial.wait_until([process], random.randrange(BATCH, TOTAL - BATCH, BATCH))
    process.send(signal.SIGTERM)
    code, lost, message = process.wait(), trial.lost(), ""
    if code != 0:  # else it had ended before
        assert code == 143, f"exit code {code}:\n{process.output}"
        message = process.output.strip().splitlines()[-1]
        assert lost == 0 and "Go on with: ganzoo run --resume" in message, message
    trial.finish()
    same_end(trial)
    return Outcome(lost, message)


def _cannot_mount() -> str | None:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, to mount a small disk"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
        if tried.returncode:
            return "this machine lets nobody mount a small disk"
        subprocess.run(["umount", folder], check=True)
    return None


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Callable[[str], None]]:
    """A disk of so many KiB at ``folder``. Yields what sets other options of it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@fault("full disk", 4, needs=_cannot_mount)
def full_disk(world: World, n: int) -> Outcome:
    trial = Trial(world)
    with small_disk(trial.runs, (150, 350, 500, 600)[n % 4]) as remount:
        message = trial.refused(says=r"cannot be written.*[Ff]ree some space|no run folder can be made")
        lost = trial.lost()
        remount("size=64m")
        trial.finish()
        same_end(trial)
    return Outcome(lost, message)


@fault("full disk, for a pack", 1, needs=_cannot_mount)
def full_disk_for_pack(world: World, n: int) -> Outcome:
    trial = Trial(world)
    with small_disk(trial.folder / "packs", 8) as remount:
        message = trial.refused(says="[Ff]ree some space|not enough space|free")
        remount("size=8m")
        trial.finish()
        same_end(trial)
    return Outcome(None, message)


@fault("read-only run folder", 1, needs=_cannot_mount)
def read_only(world: World, n: int) -> Outcome:
    trial = Trial(world)
    with small_disk(trial.runs, 65536) as remount:
        trial.end(at=[128, "kill"])
        lost = trial.lost()
        remount("ro")
        message = trial.refused(says="cannot be written.*Make it writable")
        remount("rw")
        trial.finish()
        same_end(trial)
    return Outcome(lost, message)


@fault("two processes on one run folder", 2, quick=True)
def two_on_one(world: World, n: int) -> Outcome:
    trial = Trial(world)
    (first,) = trial.start()
    trial.wait_until([first], BATCH)
    first.send(signal.SIGSTOP)
    message = trial.refused(says="another process is training in this folder")
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.output
    same_end(trial)
    return Outcome(None, message)


@fault("one of two processes killed", 2)
def rank_killed(world: World, n: int) -> Outcome:
    trial = Trial(world, ranks=2)
    processes = trial.start()
    trial.wait_until(processes, TOTAL // 2)
    processes[n % 2].send(signal.SIGKILL)
    survivor = processes[1 - n % 2]
    code, output = survivor.wait(), survivor.output
    processes[n % 2].wait()
    assert code == LostProcessError.exit_code and "Traceback" not in output, f"exit code {code}\n{output}"
    message = error_in(output)
    assert "--resume" in message, message
    lost = trial.lost()
    trial.finish()
    same_end(trial, ranks=2)
    return Outcome(lost, message)


# Files that are damaged.


def _damaged(world: World, damage: Callable[[bytes], Iterator[bytes]], real: int) -> tuple[int, int]:
    """Every damage done to the newest of two checkpoints: it must be noticed. Some of them before a real resume."""
    trial = Trial(world)
    trial.end(at=[CHECKPOINT * 2 + BATCH, "kill"])
    folder = trial.run_dir / "checkpoints"
    before, newest = list_checkpoints(folder)
    content, tried, kept = newest.read_bytes(), 0, []
    for bad in damage(content):
        newest.write_bytes(bad)
        tried += 1
        try:
            chosen = newest_valid_checkpoint(folder, log=lambda line: None)
        except CheckpointError as error:
            raise AssertionError(f"damage {tried}: {error}") from error
        assert chosen == before, f"damage {tried} was not noticed"
        kept.append(bad)
    for bad in random.sample(kept, real):
        copy = Trial(world)
        shutil.copytree(trial.runs, copy.runs)
        (copy.run_dir / "checkpoints" / newest.name).write_bytes(bad)
        output = copy.finish()
        assert "trying the one before" in output
        same_end(copy)
    return tried, (int(newest.stem[-9:]) - int(before.stem[-9:])) // BATCH


@fault("checkpoint truncated at every kilobyte", 1)
def truncated(world: World, n: int) -> Outcome:
    tried, lost = _damaged(world, lambda content: (content[:size] for size in range(0, len(content), 1024)), real=2)
    return Outcome(lost, f"{tried} lengths: each noticed, the checkpoint before taken")


@fault("checkpoint with a flipped bit", 1)
def flipped(world: World, n: int) -> Outcome:
    def damage(content: bytes) -> Iterator[bytes]:
        places = [*range(64), *random.sample(range(64, len(content)), 200)]
        for place in places:
            bad = bytearray(content)
            bad[place] ^= 1 << random.randrange(8)
            yield bytes(bad)

    tried, lost = _damaged(world, damage, real=2)
    return Outcome(lost, f"{tried} bits, the first 64 bytes among them: each noticed")


def _folder_of_images(trial: Trial) -> Path:
    import numpy as np
    from PIL import Image

    folder = trial.folder / "images"
    folder.mkdir()
    for i in range(24):
        pixels = np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


@fault("data file vanishes or is cut while training", 2)
def file_gone(world: World, n: int) -> Outcome:
    live = {"ganzoo.data.opening:_MEMORY_LIMIT": 0}  # as with more images than memory holds
    ends = []
    for faulty in (True, False):
        trial = Trial(world, data={"source": None, "cache": "off"})
        folder = _folder_of_images(trial)
        trial.write_recipe(merged(trial.content, {"data": {"path": str(folder)}}))
        if faulty:
            victim = folder / "07.png"
            content, stamp = victim.read_bytes(), victim.stat().st_mtime_ns
            action = [["remove", str(victim)], ["truncate", str(victim), 60]][n % 2]
            message = trial.refused(says=f"{re.escape(str(victim))}.*", at=[136, *action], set=live)
            victim.write_bytes(content)
            os.utime(victim, ns=(stamp, stamp))
            lost = trial.lost()
        trial.finish(set=live)
        ends.append(result_of(trial.run_dir))
    assert ends[0] == ends[1]
    return Outcome(lost, message)


@fault("pack vanishes or is cut while training", 2)
def pack_gone(world: World, n: int) -> Outcome:
    trial = Trial(world)
    trial.end(at=[BATCH, "term"])
    (file,) = trial.folder.glob("packs/*/images-0008.u8")
    if n % 2:
        trial.finish(at=[136, "remove", str(file)])
        same_end(trial)
        return Outcome(0, "")
    message = trial.refused(says="while it was read", at=[136, "truncate", str(file), 1000])
    lost = trial.lost()
    assert "Making it anew" in trial.finish()
    same_end(trial)
    return Outcome(lost, message)


# Numbers that are not finite.


@fault("NaN in G, in D and in the data: stop", 5, quick=True)
def nan_stops(world: World, n: int) -> Outcome:
    actions = [
        ["nan-loss", "D"], ["nan-weight", "G"], ["nan-data"], ["nan-weight", "D"], ["nan-loss", "G"],
    ]  # fmt: skip
    trial = Trial(world)
    message = trial.refused(says="diverged before kimg.*The newest checkpoint", at=[136, *actions[n % 5]])
    lost = trial.lost()
    trial.finish()
    same_end(trial)
    return Outcome(lost, message)


@fault("NaN in G, in D and in the data: skip", 3)
def nan_skipped(world: World, n: int) -> Outcome:
    actions = [["nan-data"], ["nan-loss", "D"], ["nan-loss", "G"]]
    trial = Trial(world, train={"on_divergence": "skip"})
    output = trial.finish(at=[136, *actions[n % 3]])
    state = json.loads(read_metadata(list_checkpoints(trial.run_dir / "checkpoints")[-1])["state"])
    assert state["left_out"][0] == 1 and state["nimg"] == TOTAL
    return Outcome(1, _line(output, "skipped"))


@fault("NaN in G, in D and in the data: rollback", 5)
def nan_rolled_back(world: World, n: int) -> Outcome:
    actions = [["nan-weight", "G"], ["nan-data"], ["nan-loss", "D"], ["nan-weight", "D"], ["nan-loss", "G"]]
    trial = Trial(world, train={"on_divergence": "rollback"})
    output = trial.finish(at=[136, *actions[n % 5]])
    state = json.loads(read_metadata(list_checkpoints(trial.run_dir / "checkpoints")[-1])["state"])
    assert state["rollbacks"] == 1 and state["nimg"] == TOTAL
    assert "Traceback" not in output
    return Outcome(CHECKPOINT // BATCH, _line(output, "rolled back"))


def _line(output: str, word: str) -> str:
    return next(line for line in output.splitlines() if word in line)


# The machine and the user.


@fault("out of memory at a new resolution", 2)
def out_of_memory(world: World, n: int) -> Outcome:
    trial = Trial(world, **GROWING)
    message = trial.refused(
        says="has not enough memory at kimg.*8 px", at=[104, "out-of-memory", ("cpu", "gpu")[n % 2]]
    )
    lost = trial.lost()
    trial.finish()
    same_end(trial, **GROWING)
    return Outcome(lost, message)


@fault("a clock that jumps", 5)
def clock_jumps(world: World, n: int) -> Outcome:
    year = 365 * 24 * 3600.0
    clocks = [("time", year), ("time", -year), ("perf_counter", year), ("perf_counter", 0.0), ("monotonic", year)]
    trial = Trial(world)
    trial.finish(at=[72, "jump", *clocks[n % 5]])
    same_end(trial)
    return Outcome(0)


@fault("recipe edited between stop and resume", 4)
def recipe_edited(world: World, n: int) -> Outcome:
    trial = Trial(world)
    trial.end(at=[136, "kill"])
    lost = trial.lost()
    recorded = trial.run_dir / "recipe.yaml"
    text = recorded.read_text()
    edited = merged(trial.content, {"optimizer": {"args": {"betas": [0.5, 0.99]}}})
    if n % 4 == 0:  # the user's file
        trial.write_recipe(edited)
        message = trial.refused(says=r"trained with another recipe:\n  optimizer\.args\.betas\.?")
    elif n % 4 == 1:  # both: nothing but the checkpoint knows
        trial.write_recipe(edited)
        recorded.write_text(re.sub(r"betas:\n( *)- 0\.0", r"betas:\n\1- 0.5", text))
        assert recorded.read_text() != text
        message = trial.refused(says=r"trained with another recipe:\n  optimizer\.args\.betas")
    elif n % 4 == 2:  # half of it
        recorded.write_text(text[: len(text) // 2])
        message = trial.refused(says="recipe.yaml")
    else:  # what may be changed
        trial.write_recipe(merged(trial.content, {"train": {"keep_checkpoints": 2, "divergence_limit": 3}}))
        message = ""
        trial.finish()
        same_end(trial)
        return Outcome(lost, message)
    recorded.write_text(text)
    trial.write_recipe(trial.content)
    trial.finish()
    same_end(trial)
    return Outcome(lost, message)


@fault("kill -9 again and again, cold starts", 1)
def killed_cold(world: World, n: int) -> Outcome:
    """Processes as a user starts them, killed at random until 4 have been."""
    cold = World(world.folder(), cold=True)
    with cold:
        trial = Trial(cold)
        lost = 0
        for number in range(1, 5):
            (process,) = trial.start(curves=True)
            trial.wait_until([process], TOTAL * number // 6)
            process.send(signal.SIGKILL)
            process.wait()
            lost = max(lost, trial.lost())
        trial.finish()
        assert result_of(trial.run_dir) == world.baseline()
    return Outcome(lost)


def table(rows: list[tuple[str, str, str, str, str]]) -> str:
    """Markdown, as docs/faults.md has it."""
    head = ("fault", "trials", "survived", "lost steps, at most", "message")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * 5, *rows))


def shortened(message: str, root: Path) -> str:
    """On one line, without the folders of this machine."""
    message = re.sub(re.escape(str(root)) + r"/\d+/(runs/)?", "", " ".join(message.split()))
    message = message.replace("|", "/").removeprefix("error: ")
    return message if len(message) <= 240 else message[:237] + "..."


@dataclass
class Row:
    """What came of a fault's trials."""

    fault: Fault
    wanted: int
    done: int = 0
    survived: int = 0
    lost: list[int] = field(default_factory=list)
    message: str = ""

    def try_once(self, world: World) -> None:
        """One more trial."""
        n, self.done = self.done, self.done + 1
        try:
            outcome = self.fault.do(world, n)
        except Exception as error:  # whatever goes wrong, the others are to be tried
            print(f"FAILED: {self.fault.name}, trial {n}: {error!r}", file=sys.stderr, flush=True)
            return
        self.survived += 1
        self.lost += [] if outcome.lost is None else [outcome.lost]
        self.message = self.message or outcome.message


def main() -> int:
    trials_of_kill = int(os.environ.get("FAULT_TRIALS", "100"))
    seconds = float(os.environ.get("FAULT_SECONDS", "1e9"))
    chosen = sys.argv[1:]
    rows = []
    for one in FAULTS:
        if not chosen or any(word in one.name for word in chosen):
            rows.append(Row(one, trials_of_kill if one.do is kill_at_random else one.trials, message=one.needs() or ""))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ganzoo-faults-") as name, World(Path(name)) as world:
        tried = [row for row in rows if not row.message]
        for part in range(1, _ROUNDS + 1):  # so that a run that is cut short has tried all of them
            for row in tried:
                while row.done < -(-row.wanted * part // _ROUNDS):
                    if row.done and time.monotonic() - started > seconds:
                        break
                    row.try_once(world)
            print(f"{time.monotonic() - started:.0f} s: {part} of {_ROUNDS} rounds", file=sys.stderr, flush=True)
        texts = []
        for row in rows:
            message = shortened(row.message, Path(name)) if row in tried else f"not tried: {row.message}"
            most = str(max(row.lost, default=""))
            texts.append((row.fault.name, str(row.done), str(row.survived), most, message))
    print(table(texts))
    return int(any(row.survived < row.done for row in rows))


if __name__ == "__main__":
    sys.exit(main())
