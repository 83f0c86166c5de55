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
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo import GrowthState, build
from ganzoo.interfaces import Batch, Generator
from ganzoo.plugins import load_plugins
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.training.ema import update_ema
from ganzoo.training.loop import follow_gradients, total_loss
from ganzoo.training.players import make_optimizer
from ganzoo.training.system import choose_system

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


def load(case: Case) -> tuple[Recipe, GrowthState, Generator, Any, Any]:
    """The recipe, where its schedule stands at the case's resolution, without a fade, and its networks and loss."""
    plugins = load_plugins()
    overrides = ["data.path=null", "data.source={name: faces}", "data.labels=false", *case.overrides]
    recipe = load_recipe(case.recipe, plugins.registry, overrides)
    schedule = build.build_growth(recipe, plugins.registry)
    phases = schedule.phases(round(recipe.train.total_kimg * 1000))
    starts = [phase.start_nimg for phase in phases if phase.resolution == case.resolution]
    if not starts:
        raise SystemExit(f"{case.recipe} has no {case.resolution} px: {sorted({phase.resolution for phase in phases})}")
    growth = replace(schedule.at(starts[0]), alpha=1.0)
    growth = replace(growth, batch_size=case.batch or growth.batch_size)
    torch.manual_seed(0)
    G, D = build.build_networks(
        recipe, plugins.registry, img_channels=recipe.data.img_channels or 3, c_dim=0, device="cpu"
    )
    return recipe, growth, G, D, build.build_objective(recipe, plugins.registry, G, D)[0]


class StepCase:
    """The players of a recipe at one resolution: a D step, and a G step with the average, as in the training loop."""

    def __init__(self, case: Case) -> None:
        self.recipe, self.growth, G, D, self.loss = load(case)
        config = {"precision": case.precision, "memory_format": case.memory_format}
        self.system = choose_system(self.recipe.system.model_copy(update=config))
        move = {"device": self.system.device, "memory_format": self.system.memory_format}
        self.G, self.D = G.to(**move), D.to(**move)
        self.G_ema = load(case)[2].to(**move).requires_grad_(False)
        self.opt_G, self.opt_D = (make_optimizer(self.recipe.optimizer, net) for net in (self.G, self.D))
        self.G_called = torch.compile(self.G) if case.compiled else self.G
        self.images = self.growth.batch_size
        shape = self.images, G.img_channels, self.growth.resolution, self.growth.resolution
        self.real = (torch.rand(*shape) * 2 - 1).to(**move)
        self.parts: dict[str, Callable[[], None]] = {"D": self.d_step, "G": self.g_step}

    def d_step(self) -> None:
        self._step(self.D, self.opt_D, self.growth.d_lr, self.loss.d_loss)

    def g_step(self) -> None:
        self._step(self.G, self.opt_G, self.growth.g_lr, self.loss.g_loss)
        update_ema(self.G_ema, self.G, 0.999)

    def _step(self, player: Any, optimizer: Any, lr: float, terms_of: Callable[..., dict[str, Tensor]]) -> None:
        self.G.requires_grad_(player is self.G)
        self.D.requires_grad_(player is self.D)
        z = torch.randn(self.images, self.G.z_dim, device=self.system.device)
        with self.system.autocast():
            terms = terms_of(self.G_called, self.D, Batch(self.real, None, z, None, self.growth))
        optimizer.zero_grad(set_to_none=True)
        loss = total_loss(terms)
        loss.backward()
        follow_gradients(player, optimizer, lr, loss)

    def facts(self) -> dict[str, float]:
        """Images and floating-point operations of a step."""
        with CountFlops() as counter:
            self.d_step()
            self.g_step()
        return {"images": self.images, "flops": counter.total}

    def convolution(self) -> Callable[[], None]:
        """A plain 3x3 convolution of CONVOLUTION_FLOPS, in the case's precision: 128 channels at 32 px, batch 16."""
        dtype = torch.bfloat16 if self.system.precision == "bf16" else torch.float32
        options = {"dtype": dtype, "device": self.system.device}
        x, w = (torch.randn(*shape, **options) for shape in ((16, 128, 32, 32), (128, 128, 3, 3)))
        x, w = x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last)

        def convolve() -> None:
            with torch.no_grad():
                F.conv2d(x, w, padding=1)

        return convolve


CONVOLUTION_FLOPS = 2 * 16 * 32 * 32 * 128 * 128 * 9


class SampleCase:
    """Images of the average, as ``ganzoo sample`` makes them, uint8 apart."""

    def __init__(self, case: Case) -> None:
        self.recipe, self.growth, G, *_ = load(case)
        config = {"precision": case.precision, "memory_format": case.memory_format}
        self.system = choose_system(self.recipe.system.model_copy(update=config))
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

        recipe, growth, G, *_ = load(case)
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
            answer["convolution"] = run_for({"": running.convolution()}, seconds / 4, case.clock)[""]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
