"""The cases of train_step.py and sampling.py do what their names say, and count it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("ganzoo_progan")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import train_step  # noqa: E402
from cases import PEER, Case, CountFlops, PeerCase, SampleCase, StepCase, run_for  # noqa: E402

RECIPE = str(ROOT / "benchmarks" / "progan_64.yaml")
SMALL = ("generator.args.fmap_max=8", "discriminator.args.fmap_max=8", "system.threads=1")


def small(kind: str, **options) -> Case:
    return Case(kind, RECIPE, 8, batch=4, overrides=SMALL, **options)


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def shapes_in_use(net: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(p.shape) for p in net.parameters() if p.ndim > 1 and p.grad is not None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_moves_both_players_and_the_average(precision):
    case = StepCase(small("step", precision=precision))
    nets = case.players.D, case.players.G, case.players.G_ema
    before = [weights(net) for net in nets]
    assert run_for(case.parts, 0.0, "cpu").keys() == {"D", "G"}
    assert all(not torch.equal(weights(net), w) for net, w in zip(nets, before, strict=True))


def test_the_peer_has_the_same_widths_and_takes_more_operations():
    ours, theirs = StepCase(small("step")), PeerCase(small("step", project=PEER))
    for part in (*ours.parts.values(), *theirs.parts.values()):
        part()
    for net, peer in ((ours.players.G, theirs.peer.G), (ours.players.D, theirs.peer.D)):
        assert shapes_in_use(net) == shapes_in_use(peer)
    assert ours.facts()["images"] == theirs.facts()["images"] == 4
    assert ours.facts()["flops"] < theirs.facts()["flops"]


def test_sampling_makes_as_many_images_as_it_counts():
    case = SampleCase(small("sample"))
    images, shapes = case.facts()["images"], []
    case.G.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
    case.sample()
    assert shapes == [(images, 3, 8, 8)]


def test_operations_are_counted_in_second_derivatives_too():
    x, w = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(3, 2, 3, 3, requires_grad=True)
    once = 2 * 16 * 2 * 3 * 9
    with CountFlops() as counter:
        (dx,) = torch.autograd.grad(torch.conv2d(x, w, padding=1).square().sum(), x, create_graph=True)
    assert counter.total == 2 * once
    with CountFlops() as counter:
        torch.autograd.grad(dx.sum(), w)
    assert counter.total >= 2 * once


def test_a_recipe_without_that_resolution_is_refused():
    with pytest.raises(SystemExit, match="has no 128 px"):
        StepCase(Case("step", RECIPE, 128))


def test_a_chart_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        {"resolution": r, "case": case, "img_per_sec": v, "ratio": v / 2}
        for r, v in ((32, 4.0), (64, 2.0))
        for case in (PEER, "ganzoo fp32")
    ]
    train_step.draw(rows, tmp_path / "chart.png", "a title")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
