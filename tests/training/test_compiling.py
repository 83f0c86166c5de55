"""Compiled losses compute the same; where compiling fails, training goes on without, by the same random numbers."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
from test_choices import SHORT
from test_loop import StopAt, statistics

from ganzoo import Batch, GrowthState
from ganzoo.plugins import load_plugins, make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.compiling import CompiledLoss
from ganzoo.training.loop import train


def run(tmp_path, *overrides):
    plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[*SHORT, *overrides])
    reporter = StopAt()
    return train(recipe, plugins=plugins, outdir=tmp_path, reporter=reporter).run_dir, reporter.said


def test_where_compiling_fails_training_is_eager(tmp_path, monkeypatch):
    def fails(function, **kwargs):
        def compiled(*args):
            torch.rand(7)  # it had begun
            raise RuntimeError("no compiler here\nand more")

        return compiled

    eager, _ = run(tmp_path)
    monkeypatch.setattr(torch, "compile", fails)
    run_dir, said = run(tmp_path, "system.compile=true")
    assert "warning: d_loss is not compiled: RuntimeError: no compiler here" in said
    assert statistics(run_dir) == statistics(eager)
    found = json.loads((run_dir / "choices.json").read_text())
    assert found["4 px, batch 8"]["compile"] is False


def test_auto_does_not_compile_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    _, said = run(tmp_path, "system.compile=auto")
    assert any(line.startswith("8 px, batch 8: not compiled") for line in said)


def test_a_fade_is_not_compiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **kwargs: lambda *args: {"compiled": torch.zeros(1)})
    loss = CompiledLoss(tiny.TinyLoss(), on_failure=print)
    D = tiny.TinyDiscriminator(img_resolution=8, img_channels=3, c_dim=0)
    G = tiny.TinyGenerator(img_resolution=8, img_channels=3, c_dim=0)
    terms = {}
    for alpha in (0.5, 1.0):
        batch = Batch(torch.zeros(2, 3, 8, 8), None, torch.zeros(2, 8), None, GrowthState(8, alpha, 2, 0.1, 0.1))
        terms[alpha] = set(loss.g_loss(G, D, batch))
    assert terms == {0.5: {"fake"}, 1.0: {"compiled"}}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("networks", ["tiny", "progan"])
def test_a_compiled_gradient_penalty_has_the_same_gradients(networks, backend):
    registry = load_plugins().registry
    if "wgan-gp" not in registry.names("loss"):
        pytest.skip("needs ganzoo-progan")
    torch.manual_seed(0)
    sizes = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    if networks == "tiny":
        G, D = tiny.TinyGenerator(**sizes), tiny.TinyDiscriminator(**sizes)
    else:
        widths = {"fmap_base": 64, "fmap_max": 16}
        G = registry.get("generator", "progan").cls(**sizes, **widths, z_dim=8)
        D = registry.get("discriminator", "progan").cls(**sizes, **widths)
    G.eval().requires_grad_(False)
    loss = registry.get("loss", "wgan-gp").cls()
    batch = Batch(torch.randn(4, 3, 8, 8), None, torch.randn(4, 8), None, GrowthState(8, 1.0, 4, 0.001, 0.001))
    failures: list[str] = []
    found = []
    for one in (loss, CompiledLoss(loss, on_failure=failures.append, backend=backend)):
        torch.manual_seed(1)
        D.zero_grad()
        terms = one.d_loss(G, D, batch)
        torch.stack([value.mean() for value in terms.values()]).sum().backward()
        found.append((terms, [p.grad for p in D.parameters()]))
    assert not failures
    for name, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], value, rtol=1e-4, atol=1e-5)
    for eager, compiled in zip(found[0][1], found[1][1], strict=True):
        if eager is not None:
            torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)
