"""What train_step.py and sampling.py time: each case in a process of its own, which waits to be asked.

A process of its own, because memory allocation, threads and torch's switches are set for a process: a peer gets
those that it would have, and the largest memory of a case is its own.

    with Worker(Case("step", recipe="recipes/quickstart.yaml", resolution=32)) as worker:
        worker.facts             # {"images": 16, "flops": ...}
        worker.measure(1.0)      # {"D": seconds, "G": seconds, "peak": bytes}
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo import GrowthState, build
from ganzoo.interfaces import Generator, GrowthSchedule, Phase
from ganzoo.plugins import load_plugins
from ganzoo.profiling import step
from ganzoo.profiling.measuring import PlainConvolution
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.registry import Registry
from ganzoo.training import loop
from ganzoo.training.choices import Choice
from ganzoo.training.choosing import adopt
from ganzoo.training.compiling import what_fails
from ganzoo.training.system import System, choose_system
from ganzoo.training.trials import trial_batch

PEER = "pytorch_GAN_zoo"


@dataclass(frozen=True)
class Case:
    """kind: 'step' or 'sample'. batch: images; None: as the recipe says. project: ganzoo or the peer's name.

    clock: 'wall', or 'cpu' for the time that the process computes, which others on the machine change less.
    """

    kind: str
    recipe: str
    resolution: int
    precision: str = "fp32"
    memory_format: str = "channels_last"
    compiled: bool = False
    project: str = "ganzoo"
    batch: int | None = None
    clock: str = "wall"
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        if self.project != "ganzoo":
            return self.project
        layout = "" if self.memory_format == "channels_last" else f", {self.memory_format}"
        return f"ganzoo {self.precision}{layout}{', compiled' if self.compiled else ''}"


class Worker:
    """A case in a process of its own."""

    def __init__(self, case: Case) -> None:
        command = [sys.executable, __file__, json.dumps(asdict(case))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._answer()

    def measure(self, seconds: float) -> dict[str, float]:
        """Mean seconds of each part, run in turn for that long; memory; seconds of a plain convolution."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a case ended with exit code {self._process.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def open_recipe(path: str, overrides: Sequence[str]) -> tuple[Recipe, Registry, GrowthSchedule, list[Phase]]:
    """A recipe without its data, which are not needed to time a step, with its schedule and the phases of that."""
    registry = load_plugins().registry
    without_data = ["data.path=null", "data.source={name: faces}", "data.labels=false"]
    recipe = load_recipe(path, registry, [*without_data, *overrides])
    schedule = build.build_growth(recipe, registry)
    return recipe, registry, schedule, list(schedule.phases(round(recipe.train.total_kimg * 1000)))


def load(case: Case) -> tuple[Recipe, Registry, GrowthState]:
    """The recipe, and where its schedule stands at the case's resolution, without a fade."""
    alone = ("train.reuse_fakes=false",) if case.compiled else ()  # the two do not go together
    recipe, registry, schedule, phases = open_recipe(case.recipe, (*case.overrides, *alone))
    starts = [phase.start_nimg for phase in phases if phase.resolution == case.resolution]
    if not starts:
        raise SystemExit(f"{case.recipe} has no {case.resolution} px: {sorted({phase.resolution for phase in phases})}")
    growth = replace(schedule.at(starts[0]), alpha=1.0)
    return recipe, registry, replace(growth, batch_size=case.batch or growth.batch_size)


def load_generator(case: Case) -> tuple[Recipe, GrowthState, Generator]:
    """The recipe's generator at the start of training."""
    recipe, registry, growth = load(case)
    torch.manual_seed(0)
    channels = recipe.data.img_channels or 3
    G, _ = build.build_networks(recipe, registry, img_channels=channels, c_dim=0, device="cpu")
    return recipe, growth, G


def system_of(case: Case, recipe: Recipe) -> System:
    config = {"precision": case.precision, "memory_format": case.memory_format}
    return choose_system(recipe.system.model_copy(update=config))


class StepCase:
    """The step of a recipe at one resolution, lazy regularizers left out: D's update, and G's with the average."""

    def __init__(self, case: Case) -> None:
        recipe, registry, growth = load(case)
        self.system, self.images = system_of(case, recipe), growth.batch_size
        self.players = step.StepCase.build(recipe, registry, growth, system=self.system)
        if case.compiled:
            adopt(self.players, Choice(case.precision, case.memory_format, compile=True))
            if problem := what_fails(self.players, trial_batch(self.players, growth), compare=True):
                raise SystemExit(f"{case.name}: {problem}")
        self.parts: dict[str, Callable[[], Any]] = {"D": self._d_step, "G": self._g_step}

    def _d_step(self) -> None:
        self.players.state.d_step = self.players.state.g_step = 1  # what is lazy is not due
        self.seen = loop.train_D(self.players, self.players.growth)

    def _g_step(self) -> None:
        loop.train_G(self.players, self.seen)
        loop.follow_G(self.players, self.players.growth)

    def facts(self) -> dict[str, float]:
        """Images and floating-point operations of a step."""
        with CountFlops() as counter:
            for part in self.parts.values():
                part()
        return {"images": self.images, "flops": counter.total}


class SampleCase:
    """Images of the average, as ``ganzoo sample`` makes them, uint8 apart."""

    def __init__(self, case: Case) -> None:
        recipe, self.growth, G = load_generator(case)
        self.system = system_of(case, recipe)
        G = G.to(device=self.system.device, memory_format=self.system.memory_format).eval().requires_grad_(False)
        self.G, self.G_called = G, torch.compile(G) if case.compiled else G
        self.images = self.growth.batch_size
        self.parts = {"sample": self.sample}

    def sample(self) -> None:
        z = torch.randn(self.images, self.G.z_dim, device=self.system.device)
        with torch.inference_mode(), self.system.autocast():
            self.G_called(z, growth=self.growth).float().cpu()

    def facts(self) -> dict[str, float]:
        with CountFlops() as counter:
            self.sample()
        return {"images": self.images, "flops": counter.total}


class PeerCase:
    """The peer's step or its sampling, with networks of the same widths. Its process has torch's and C's defaults."""

    def __init__(self, case: Case) -> None:
        from peers.pytorch_gan_zoo import Trainer

        recipe, growth, G = load_generator(case)
        if recipe.generator.name != "progan":
            raise SystemExit(f"{PEER} is compared with ProGAN, and {case.recipe} trains {recipe.generator.name}")
        to_rgb = dict(G.get_submodule("to_rgb").named_children())
        depths = [int(layer.weight.shape[1]) for size, layer in to_rgb.items() if int(size) <= growth.resolution]
        self.images, self.peer = growth.batch_size, Trainer(G.z_dim, depths, G.img_channels)
        real = torch.rand(self.images, G.img_channels, growth.resolution, growth.resolution) * 2 - 1
        self.parts = {"sample": lambda: self.peer.sample(torch.randn(self.images, self.peer.z_dim))}
        if case.kind == "step":
            self.parts = {"D": lambda: self.peer.d_step(real), "G": self._g_step}

    def _g_step(self) -> None:
        self.peer.g_step(self.images)
        self.peer.average()

    def facts(self) -> dict[str, float]:
        with CountFlops() as counter:
            for part in self.parts.values():
                part()
        return {"images": self.images, "flops": counter.total}


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


def run_for(parts: dict[str, Callable[[], Any]], seconds: float, clock: str) -> dict[str, float]:
    """Mean seconds of each part; all of them in turn, as often as fits into ``seconds``, and at least once."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    totals, rounds, start = dict.fromkeys(parts, 0.0), 0, now()
    while rounds == 0 or now() - start < seconds:
        for name, part in parts.items():
            before = now()
            part()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            totals[name] += now() - before
        rounds += 1
    return {name: total / rounds for name, total in totals.items()}


def peak_bytes() -> int:
    """The most memory that this process, or its GPU, has held so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    spec = json.loads(sys.argv[1])
    case = Case(**{**spec, "overrides": tuple(spec["overrides"])})
    kinds = {"step": StepCase, "sample": SampleCase}
    before = peak_bytes()
    running: Any = (kinds[case.kind] if case.project == "ganzoo" else PeerCase)(case)
    for part in running.parts.values():  # compiles, makes Adam's state
        part()
    steady = peak_bytes()
    print(json.dumps({**running.facts(), "peak": steady - before}), flush=True)
    for line in sys.stdin:
        seconds = float(line)
        answer = run_for(running.parts, seconds, case.clock)
        answer["peak"] = peak_bytes() - before
        if isinstance(running, StepCase):
            convolution = PlainConvolution(running.system.device, running.system.precision)
            answer["convolution"] = run_for({"": convolution.run}, seconds / 4, case.clock)[""]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
