"""Images per second of 1, 2 and 4 processes, the share of their time that is communication, and bytes a step.

    python benchmarks/scaling.py                                        # ProGAN at 32 px, on the CPU
    python benchmarks/scaling.py recipes/progan_1024_8gpu.yaml --processes 1 2 4 8 --device cuda --data PATH
    python benchmarks/scaling.py --equality                             # also: how far their trainings are apart

The total batch is the same for all. ``communication`` is the time that the slowest process spends in collectives, so
that waiting for others is in it; on a GPU every collective is waited for, which training does not do. ``bytes`` are
those that a process hands to collectives in a step. Sizes take turns, round after round, and medians are printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ganzoo.plugins import LoadedPlugins, load_plugins
from ganzoo.recipe import load_recipe
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["growth={name: fixed, args: {batch_size: 16, lr: 0.002}}"]  # quickstart, at its last resolution
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=Path, help="what to train; quickstart at 32 px if not given")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="how many, each time")
    parser.add_argument("--steps", type=int, default=10, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data", help="images; those of the recipe if not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--equality", action="store_true", help="train the families of tests/scale, too")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()

    overrides = [*([] if args.recipe else SMALL), *args.set, f"system.device={args.device}"]
    if args.device == "cpu":
        overrides.append("system.threads=1")
    if args.data:
        overrides.append(f"data.path={json.dumps(args.data)}")
    recipe = args.recipe or ROOT / "recipes" / "quickstart.yaml"
    measured: dict[int, list[dict[str, float]]] = {size: [] for size in args.processes}
    for _ in range(args.rounds):
        for size in args.processes:
            measured[size].append(measure(recipe, overrides, size, args.steps))
    rows = [
        {"processes": size, **{key: statistics.median(one[key] for one in rounds) for key in rounds[0]}}
        for size, rounds in measured.items()
    ]
    print(f"{recipe.name}, {args.device}, {os.cpu_count()} CPU core(s), torch {torch.__version__}")
    print("processes    img/s  communication  collectives a step  MB a step")
    for row in rows:
        print(
            f"{row['processes']:>9d} {row['img_per_sec']:>8.2f} {row['communication']:>14.1%} "
            f"{row['collectives']:>19.1f} {row['bytes'] / 1e6:>10.2f}"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    if args.equality:
        print_equality()


def measure(recipe: Path, overrides: list[str], size: int, steps: int) -> dict[str, float]:
    """Train ``steps`` steps in a new group of ``size`` processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = multiprocessing.get_context("spawn" if "system.device=cuda" in overrides else "fork")
    with tempfile.TemporaryDirectory() as outdir:
        results = context.SimpleQueue()
        group = [
            context.Process(target=work, args=(rank, size, port, recipe, overrides, steps, outdir, results))
            for rank in range(size)
        ]
        for process in group:
            process.start()
        for process in group:
            process.join()
        if any(process.exitcode for process in group):
            sys.exit(f"{size} processes: one of them ended with an error")
        of_ranks = [results.get() for _ in group]
    return {key: max(one[key] for one in of_ranks) for key in of_ranks[0]}


class Clock(Reporter):
    """Starts counting after the first steps."""

    def __init__(self) -> None:
        super().__init__(active=False)
        self.seconds = self.collectives = self.bytes = 0.0
        self.steps, self.started, self.ended, self.images, self.last = 0, 0.0, 0.0, 0, 0
        self.counted = 0.0, 0.0, 0.0

    def progress(self, nimg: int, growth: Any) -> None:
        self.steps += 1
        self.ended = time.perf_counter()
        if self.steps == WARM_UP:
            self.seconds = self.collectives = self.bytes = 0.0
            self.started, self.images = self.ended, -nimg
        elif self.steps > WARM_UP:
            self.last, self.counted = nimg, (self.seconds, self.collectives, self.bytes)

    def timed(self, collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            tensor = args[0] if isinstance(tensors, list) else tensors
            started = time.perf_counter()
            result = collective(tensors, *args, **kwargs)
            if tensor.is_cuda:
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - started
            self.collectives += 1
            self.bytes += tensor.numel() * tensor.element_size()
            return result

        return call


def work(
    rank: int, size: int, port: int, path: Path, overrides: list[str], steps: int, outdir: str, results: Any
) -> None:
    """One process of a group."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    plugins: LoadedPlugins = load_plugins()
    recipe = load_recipe(path, plugins.registry, overrides)
    clock = Clock()
    dist.all_reduce, dist.all_gather = clock.timed(dist.all_reduce), clock.timed(dist.all_gather)
    growth = recipe.growth.args
    batch = growth["batch_size"] if isinstance(growth.get("batch_size"), int) else 16
    kimg = (WARM_UP + steps) * batch / 1000
    quiet = {"total_kimg": kimg, "tick_kimg": 1e6, "snapshot_kimg": 1e6, "image_kimg": 1e6, "checkpoint_kimg": 1e6}
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={**quiet, "grid": [1, 1]})})
    train(recipe, plugins=plugins, outdir=Path(outdir), reporter=clock)
    total, counted = clock.ended - clock.started, clock.steps - WARM_UP
    seconds, collectives, size_of_all = clock.counted  # without those of the checkpoint at the end
    results.put(
        {
            "img_per_sec": (clock.last + clock.images) / total,
            "communication": seconds / total,
            "collectives": collectives / counted,
            "bytes": size_of_all / counted,
        }
    )


def print_equality() -> None:
    """How far losses and weights of 2 and 4 processes are from those of one, family by family, after 4 steps."""
    here = ROOT / "tests" / "scale"
    sys.path.insert(0, str(here))
    spec = importlib.util.spec_from_file_location("test_equality", here / "test_equality.py")
    assert spec is not None and spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    with tempfile.TemporaryDirectory() as folder:
        families = [f"--family={family}" for family in tests.FAMILIES]
        command = [sys.executable, str(here / "train_families.py"), folder, "1", "2", "4", *families, "--steps", "4"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        print("\nfamily      processes  losses apart  weights apart")
        for family in tests.FAMILIES:
            for size in (2, 4):
                one, other = Path(folder) / "1", Path(folder) / str(size)
                losses = tests.furthest(tests.losses(one, family), tests.losses(other, family))
                weights = tests.furthest_weight(tests.weights(one, family), tests.weights(other, family))
                print(f"{family:<11s} {size:>9d} {losses:>13.1e} {weights:>14.1e}")


if __name__ == "__main__":
    main()
