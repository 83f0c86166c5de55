"""Images per second of the training step, at every resolution of a recipe, beside what the machine could do.

    python benchmarks/train_step.py                                   # recipes/progan_cifar10_cpu.yaml
    python benchmarks/train_step.py --recipe recipes/quickstart.yaml --precision fp32,bf16 --json step.json

The floor of a step is the number of its floating-point operations (counted by torch while it runs, second derivatives
included) over the rate that this machine reaches in one plain convolution of the precision; ``of floor`` says how much
of that rate the whole step gets. Precisions are timed in turn, round after round, and medians are printed, because
shared machines drift. ``with data`` reads, mirrors and converts each batch as training does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo import GrowthState, build
from ganzoo.data import open_data
from ganzoo.interfaces import Batch
from ganzoo.plugins import load_plugins
from ganzoo.recipe import load_recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.loop import follow_gradients, total_loss
from ganzoo.training.reals import RealImages
from ganzoo.training.session import make_optimizer
from ganzoo.training.system import choose_system, device_name

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(HERE.parent / "recipes" / "progan_cifar10_cpu.yaml"))
    parser.add_argument("--data", help="images to read; the built-in faces if not given")
    parser.add_argument("--precision", default="fp32,bf16", help="comma-separated: fp32, bf16")
    parser.add_argument("--resolution", type=int, action="append", help="only this resolution; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds a case; medians are printed")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one timed round")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()

    plugins = load_plugins()
    source = [f"data.path={json.dumps(args.data)}"] if args.data else ["data.path=null", "data.source={name: faces}"]
    recipe = load_recipe(args.recipe, plugins.registry, [*source, "data.labels=false", "data.img_channels=3"])
    data = open_data(recipe.data, plugins.registry)
    schedule = build.build_growth(recipe, plugins.registry)
    states = {}
    for phase in schedule.phases(round(recipe.train.total_kimg * 1000)):
        states[phase.resolution] = replace(schedule.at(phase.start_nimg), alpha=1.0)

    rows = []
    precisions = args.precision.split(",")
    for resolution, growth in states.items():
        if args.resolution and resolution not in args.resolution:
            continue
        cases = {p: Case(recipe, plugins, data, schedule, growth, p) for p in precisions}
        times: dict[str, list[float]] = {}
        for _ in range(args.rounds):
            for precision, case in cases.items():
                times.setdefault(precision, []).append(time_of(case.step, args.seconds))
                times.setdefault(precision + "+data", []).append(time_of(case.step_with_data, args.seconds))
                times.setdefault(precision + "+rate", []).append(case.convolution_seconds(args.seconds / 4))
        for precision, case in cases.items():
            median = {k: statistics.median(v) for k, v in times.items() if k.startswith(precision)}
            floor = case.flops / (case.convolution_flops / median[precision + "+rate"])
            rows.append(
                {
                    "resolution": resolution,
                    "precision": precision,
                    "batch_size": growth.batch_size,
                    "img_per_sec": growth.batch_size / median[precision],
                    "img_per_sec_with_data": growth.batch_size / median[precision + "+data"],
                    "gflop_per_img": case.flops / growth.batch_size / 1e9,
                    "convolution_gflop_per_sec": case.convolution_flops / median[precision + "+rate"] / 1e9,
                    "img_per_sec_floor": growth.batch_size / floor,
                    "of_floor": floor / median[precision],
                }
            )
            case.close()

    print(f"{device_name(case.system.device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{recipe.name}, median of {args.rounds} interleaved rounds of {args.seconds:g} s\n")
    print("resolution  batch  precision    img/s  with data   GFLOP/img  conv GFLOP/s   floor img/s  of floor")
    for r in rows:
        print(
            f"{r['resolution']:>10d}  {r['batch_size']:>5d}  {r['precision']:<9s} {r['img_per_sec']:>8.1f} "
            f"{r['img_per_sec_with_data']:>10.1f}  {r['gflop_per_img']:>10.4f}  "
            f"{r['convolution_gflop_per_sec']:>12.0f} "
            f"{r['img_per_sec_floor']:>13.1f} {r['of_floor']:>8.0%}"
        )
    if len(precisions) == 2:
        first, second = precisions
        for resolution in dict.fromkeys(r["resolution"] for r in rows):
            a, b = (
                next(r["img_per_sec"] for r in rows if (r["resolution"], r["precision"]) == (resolution, p))
                for p in precisions
            )
            print(f"{resolution:>4d} px: {second} / {first} = {b / a:.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


class Case:
    """The players of a recipe at one resolution and precision, ready to step."""

    def __init__(self, recipe, plugins, data, schedule, growth: GrowthState, precision: str) -> None:
        self.recipe, self.growth = recipe, growth
        self.system = choose_system(recipe.system.model_copy(update={"precision": precision}))
        torch.manual_seed(0)
        G, D = build.build_networks(
            recipe, plugins.registry, img_channels=data.info.img_channels, c_dim=data.info.c_dim, device="cpu"
        )
        self.G, self.D = (m.to(self.system.device, memory_format=self.system.memory_format) for m in (G, D))
        self.opt_G, self.opt_D = make_optimizer(recipe.optimizer, self.G), make_optimizer(recipe.optimizer, self.D)
        self.loss, *_ = build.build_objective(recipe, plugins.registry, G, D)
        self.reals = RealImages(recipe, data, schedule, TrainingState(), self.system, Processes())
        self.real, _ = self.reals.next(growth)
        self._prepare_convolution()
        self.step()
        with CountFlops() as counter:
            self.step()
        self.flops = counter.total

    def step(self) -> None:
        """One D step and one G step on images that are already there."""
        self._step(self.real)

    def step_with_data(self) -> None:
        """The same, with the next batch read from the data set."""
        self._step(self.reals.next(self.growth)[0])

    def _step(self, real: torch.Tensor) -> None:
        for player, optimizer, lr, terms_of in (
            (self.D, self.opt_D, self.growth.d_lr, self.loss.d_loss),
            (self.G, self.opt_G, self.growth.g_lr, self.loss.g_loss),
        ):
            self.G.requires_grad_(player is self.G)
            self.D.requires_grad_(player is self.D)
            z = torch.randn(len(real), self.G.z_dim, device=real.device)
            with self.system.autocast():
                terms = terms_of(self.G, self.D, Batch(real, None, z, None, self.growth))
            optimizer.zero_grad(set_to_none=True)
            loss = total_loss(terms)
            loss.backward()
            follow_gradients(player, optimizer, lr, loss)
        if real.device.type == "cuda":
            torch.cuda.synchronize()

    def _prepare_convolution(self) -> None:
        dtype = torch.bfloat16 if self.system.precision == "bf16" else torch.float32
        options = {"dtype": dtype, "device": self.system.device}
        self._x = torch.randn(16, 128, 32, 32, **options).to(memory_format=torch.channels_last)
        self._w = torch.randn(128, 128, 3, 3, **options).to(memory_format=torch.channels_last)
        self.convolution_flops = 2 * 16 * 32 * 32 * 128 * 128 * 9

    @torch.no_grad()
    def convolution_seconds(self, seconds: float) -> float:
        """Seconds of one plain 3x3 convolution, 128 to 128 channels at 32x32, batch 16: what the machine can do."""

        def convolve() -> None:
            F.conv2d(self._x, self._w, padding=1)
            if self._x.is_cuda:
                torch.cuda.synchronize()

        return time_of(convolve, seconds)

    def close(self) -> None:
        self.reals.close()


class CountFlops(TorchDispatchMode):
    """Floating-point operations of what runs inside. torch's own FlopCounterMode fails inside ``autograd.grad``."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def time_of(call: Callable[[], None], seconds: float) -> float:
    """Mean seconds of one call, over as many calls as fit into ``seconds``."""
    call()
    count, start = 0, time.perf_counter()
    while True:
        call()
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return elapsed / count


if __name__ == "__main__":
    main()
