"""A step reads no number from the device: it would have to wait for it.

On ``meta`` there are no numbers to be read, so that a step there fails where one on a GPU would wait; a copy to the
device that somebody waits for is looked for among the operations.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo import build
from ganzoo.plugins import load_plugins
from ganzoo.recipe import load_recipe
from ganzoo.training import loop, players
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.divergence import LeftOut
from ganzoo.training.plan import assumed_sizes
from ganzoo.training.reals import RealImages
from ganzoo.training.system import System

META = torch.device("meta")
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
REGISTRY = load_plugins().registry


class NoWaiting(TorchDispatchMode):
    """Raises where somebody would wait for the device: for a number of it, or for a copy to or from it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        kwargs = kwargs or {}
        name = func.overloadpacket._qualified_op_name
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2"):
            assert all(t.device != META for t in tensors), f"{name} waits for the device"
        if name == "aten::_to_copy" and kwargs.get("device") is not None and tensors[0].numel() > 0:
            source, target = tensors[0].device, torch.device(kwargs["device"])
            assert source == target or (target == META and kwargs.get("non_blocking")), (
                f"a copy from {source} to {target}"
            )
        if name == "aten::copy_" and tensors[0].device != tensors[1].device:
            assert (args[2:] or (kwargs.get("non_blocking"),))[0], "a copy that is waited for"
        return func(*args, **kwargs)


class NoSteps(torch.optim.Adam):
    """torch's fused step is one kernel, and not to be had on ``meta``."""

    def step(self, closure=None):
        for group in self.param_groups:
            assert any(p.grad is not None for p in group["params"])


def players_on_meta(recipe) -> players.Players:
    sizes = assumed_sizes(recipe, REGISTRY, c_dim=2 if recipe.data.labels else 0)
    G, D = build.build_networks(recipe, REGISTRY, **sizes, device=META)
    system = System(META, "fp32", torch.channels_last, 1, "")
    s = players.equip(recipe, REGISTRY, system, G, D)
    s.state = TrainingState()
    schedule = s.schedule
    degradation, _ = build.build_degradation(recipe, REGISTRY, img_channels=sizes["img_channels"])
    data: Any = SimpleNamespace(
        paired=recipe.data.inputs is not None and recipe.data.inputs.paired,
        inputs=None if recipe.data.inputs is None or degradation is not None else SimpleNamespace(),
        info=SimpleNamespace(c_dim=sizes["c_dim"], num_images=100),
        labels=lambda indices: torch.zeros(len(indices), sizes["c_dim"]),
    )
    reals: Any = RealImages(recipe, data, schedule, s.state, system, SimpleNamespace(), degradation)
    growth = schedule.at(0)
    pixels = (growth.batch_size, sizes["img_channels"], growth.resolution, growth.resolution)
    inputs = (growth.batch_size, sizes["in_channels"], growth.resolution, growth.resolution)
    c = torch.zeros(growth.batch_size, sizes["c_dim"]) if sizes["c_dim"] else None
    reals._open = lambda growth: None
    reals._batches = iter([(torch.zeros(pixels, dtype=torch.uint8), c)] * recipe.train.d_steps)
    reals._kind = (growth.resolution, growth.batch_size)
    if data.inputs is not None:
        reals._batches_of_inputs = iter([(torch.zeros(inputs, dtype=torch.uint8), None)] * recipe.train.d_steps)
    s.reals = reals
    return s


@pytest.mark.parametrize(
    "name",
    ["quickstart", "stylegan2_ada_cifar10", "stylegan3_t_ffhq_1024", "biggan_cifar10", "inpaint_emoji_cpu"],
)
def test_a_step_waits_for_nothing(name, monkeypatch):
    if not (RECIPES / f"{name}.yaml").exists():
        pytest.skip(f"there is no recipe {name}")
    recipe = load_recipe(RECIPES / f"{name}.yaml", REGISTRY, ["data.labels=false"])
    autocast = torch.autocast  # which does not know this device, and has nothing to do there
    monkeypatch.setattr(torch, "autocast", lambda kind, **kw: nullcontext() if kind == "meta" else autocast(kind, **kw))
    enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *kind: kind != ("meta",) and enabled(*kind))
    monkeypatch.setattr(players, "make_optimizer", lambda config, player, share: NoSteps(player.parameters(), lr=0.0))
    s = players_on_meta(recipe)
    left_out = LeftOut(s.state, {"D": s.D}, META)
    logged = []
    s.count_terms = lambda player, terms, left, lazy: (logged.append(terms), left_out.add(left))
    growth = s.schedule.at(0)
    with NoWaiting():
        left_out.begin()
        loop.train_G(s, loop.train_D(s, growth))
        left_out.end()
        loop.follow_G(s, growth)
    assert len(logged) >= 2


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x + torch.ones(3).to(META)])
def test_waiting_is_noticed(wait):
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), NoWaiting():
        wait(torch.empty(3, device=META))
