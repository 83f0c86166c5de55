"""Compiled losses compute the same; where compiling fails, training goes on without, by the same random numbers."""

from __future__ import annotations

import itertools
import json

import pytest
import tiny
import torch
from test_choices import SHORT
from test_loop import StopAt, statistics

from ganzoo import Batch, GrowthState, Regularizer
from ganzoo.plugins import load_plugins, make_plugin_manager
from ganzoo.recipe import parse_recipe
from ganzoo.training.compiling import CompiledLoss, CompiledRegularizer
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


def counting(calls, wrong=()):
    """In place of torch.compile: the functions themselves, which note that they are called; those named in ``wrong``
    lose their gradients."""

    def compile(function, **kwargs):
        name = f"{type(function.__self__).__name__}.{function.__name__}"

        def compiled(*args):
            calls.append(name)
            terms = function(*args)
            return {key: value.detach() for key, value in terms.items()} if name in wrong else terms

        return compiled

    return compile


def players():
    sizes = {"img_resolution": 8, "img_channels": 3, "c_dim": 0}
    return tiny.TinyGenerator(**sizes), tiny.TinyDiscriminator(**sizes)


def batch_at(alpha=1.0):
    return Batch(torch.randn(2, 3, 8, 8), None, torch.randn(2, 8), None, GrowthState(8, alpha, 2, 0.1, 0.1))


def test_a_fade_is_not_compiled(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", counting(calls))
    loss, (G, D) = CompiledLoss(tiny.TinyLoss(), on_failure=pytest.fail), players()
    loss.g_loss(G, D, batch_at(0.5))
    assert not calls
    loss.g_loss(G, D, batch_at())
    assert set(calls) == {"TinyLoss.g_loss"}
    checks = len(calls)
    loss.g_loss(G, D, batch_at())
    assert len(calls) == checks + 1, "the check is made once a resolution"


class Drawing(Regularizer):
    """Draws a number, and remembers it in a buffer of D's."""

    player = "D"

    def terms(self, G, D, batch):
        D.drawn.add_(torch.rand(()))
        return {"drawn": D(batch.real, growth=batch.growth) * D.drawn}


def test_the_check_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(torch, "compile", counting([]))
    found = []
    for regularizer in (Drawing(), CompiledRegularizer(Drawing(), on_failure=pytest.fail)):
        torch.manual_seed(0)
        G, D = players()
        D.register_buffer("drawn", torch.zeros([]))
        terms = [regularizer.terms(G, D, batch_at()) for _ in range(2)]
        found.append((D.drawn, torch.rand(3), *(value["drawn"] for value in terms)))
    for expected, value in zip(*found, strict=True):
        assert torch.equal(value, expected)


def test_where_gradients_are_others_training_is_eager(tmp_path, monkeypatch):
    eager, _ = run(tmp_path)
    monkeypatch.setattr(torch, "compile", counting([], wrong=["TinyLoss.g_loss"]))
    run_dir, said = run(tmp_path, "system.compile=true")
    assert any(
        line.startswith("warning: g_loss is not compiled: with it, 'fake' has another gradient") for line in said
    )
    assert statistics(run_dir) == statistics(eager)
    assert json.loads((run_dir / "choices.json").read_text())["4 px, batch 8"]["compile"] is False


def test_a_regularizer_that_does_not_compile_is_eager_alone(tmp_path, monkeypatch):
    calls: list[str] = []
    overrides = ["regularizers=[{name: smoothness, args: {every: 2}}]"]
    eager, _ = run(tmp_path, *overrides)
    monkeypatch.setattr(torch, "compile", counting(calls, wrong=["TinySmoothness.terms"]))
    run_dir, said = run(tmp_path, "system.compile=true", *overrides)
    warning = "warning: TinySmoothness.terms is not compiled: with it, "
    assert any(line.startswith(warning) for line in said)
    assert statistics(run_dir) == statistics(eager)
    assert json.loads((run_dir / "choices.json").read_text())["4 px, batch 8"]["compile"] is True
    assert calls[-1] == "TinyLoss.g_loss" and "TinyLoss.d_loss" in calls


class Doubled(torch.autograd.Function):
    """2 x^2, with derivatives of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x.square()

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 4 * x * dy


class OwnDerivatives(tiny.TinyDiscriminator):
    def forward(self, img, c=None, *, growth):
        return Doubled.apply(super().forward(img, c, growth=growth))


def gradients(module, terms_of, *args):
    """Terms, and gradients of their sum."""
    torch.manual_seed(1)
    module.zero_grad()
    terms = terms_of(*args)
    torch.stack([value.mean() for value in terms.values()]).sum().backward()
    return terms, {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def assert_same(expected, found):
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-5)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def components(kind, *names):
    registry = load_plugins().registry
    for name in names:
        if name not in registry.names(kind):
            pytest.skip(f"needs the plugin of {name}")
    return [registry.get(kind, name).cls for name in names]


@pytest.mark.slow
def test_lost_second_derivatives_are_noticed():
    """Of a Function in the gradient that a penalty takes, torch 2.13 compiles none; when it does, the test says so."""
    (penalty,) = components("regularizer", "r1")
    sizes = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    G, D, batch = tiny.TinyGenerator(**sizes), OwnDerivatives(**sizes), batch_at()
    warnings: list[str] = []
    compiled = CompiledRegularizer(penalty(gamma=1.0), on_failure=warnings.append, backend="aot_eager")
    expected = gradients(D, penalty(gamma=1.0).terms, G, D, batch)
    assert_same(expected, gradients(D, compiled.terms, G, D, batch))
    assert len(warnings) == 1 and "'r1' has another gradient by D." in warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regularizer", "networks", "backend"),
    [
        *itertools.product(["r1", "r2", "path-length"], ["stylegan", "stylegan2"], ["aot_eager"]),
        ("r1", "stylegan2", "inductor"),
        ("path-length", "stylegan2", "inductor"),
    ],
)
def test_a_compiled_regularizer_has_the_same_gradients(regularizer, networks, backend):
    (penalty,) = components("regularizer", regularizer)
    (generator,), (discriminator,) = components("generator", networks), components("discriminator", networks)
    torch.manual_seed(0)
    sizes = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    widths = {"channel_base": 64, "channel_max": 16} if networks == "stylegan2" else {"fmap_base": 64, "fmap_max": 16}
    G, D = generator(**sizes, **widths, z_dim=8, w_dim=8, mapping_layers=2), discriminator(**sizes, **widths)
    for name, parameter in G.named_parameters():
        if "noise" in name:  # constant maps, which a normalisation makes noise of, hide everything else
            torch.nn.init.constant_(parameter, 0.3)
    batch = Batch(torch.randn(4, 3, 8, 8), None, torch.randn(4, 8), None, GrowthState(8, 1.0, 4, 0.001, 0.001))
    one, other = penalty(), penalty()
    player, frozen = (D, G) if one.player == "D" else (G, D)
    frozen.requires_grad_(False)
    compiled = CompiledRegularizer(other, on_failure=pytest.fail, backend=backend)
    assert_same(gradients(player, one.terms, G, D, batch), gradients(player, compiled.terms, G, D, batch))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("networks", ["tiny", "progan"])
def test_a_compiled_gradient_penalty_has_the_same_gradients(networks, backend):
    (wgan_gp,) = components("loss", "wgan-gp")
    torch.manual_seed(0)
    sizes = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    if networks == "tiny":
        G, D = tiny.TinyGenerator(**sizes), tiny.TinyDiscriminator(**sizes)
    else:
        widths = {"fmap_base": 64, "fmap_max": 16}
        (generator,), (discriminator,) = components("generator", "progan"), components("discriminator", "progan")
        G, D = generator(**sizes, **widths, z_dim=8), discriminator(**sizes, **widths)
    G.eval().requires_grad_(False)
    loss = wgan_gp()
    batch = Batch(torch.randn(4, 3, 8, 8), None, torch.randn(4, 8), None, GrowthState(8, 1.0, 4, 0.001, 0.001))
    compiled = CompiledLoss(loss, on_failure=pytest.fail, backend=backend)
    assert_same(gradients(D, loss.d_loss, G, D, batch), gradients(D, compiled.d_loss, G, D, batch))
