"""Compiled losses compute the same; where compiling fails, training goes on without, by the same random numbers."""

from __future__ import annotations

import itertools
import json

import pytest
import tiny
import torch
from test_choices import SHORT
from test_loop import StopAt, statistics
from torch import nn

from ganzoo import Batch, GrowthState
from ganzoo.plugins import load_plugins, make_plugin_manager
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import parse_recipe
from ganzoo.training.compiling import CompiledLoss, CompiledRegularizer, _different, what_fails
from ganzoo.training.extras import AugmentedDiscriminator
from ganzoo.training.loop import train
from ganzoo.training.system import choose_system
from ganzoo.training.trials import trial_batch
from ganzoo.weights import load_weights


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
    warning = "nothing is compiled; d_loss: RuntimeError: no compiler here"
    assert [line for line in said if "compile" in line] == [
        f"warning: 4 px, batch 8: {warning}",
        f"warning: 8 px, batch 8: {warning}",
        f"warning: 16 px, batch 4: {warning}",
    ]
    assert statistics(run_dir) == statistics(eager)
    assert json.loads((run_dir / "choices.json").read_text())["4 px, batch 8"]["compile"] is False


def test_auto_does_not_compile_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    _, said = run(tmp_path, "system.compile=auto")
    assert any(line.startswith("8 px, batch 8: not compiled") for line in said)


def counting(calls, wrong=()):
    """In place of torch.compile: the functions themselves, which note that they are called; those named in ``wrong``
    are twice as large."""

    def compile(function, **kwargs):
        name = f"{type(function.__self__).__name__}.{function.__name__}"

        def compiled(*args):
            calls.append(name)
            terms = function(*args)
            return {key: 2 * value for key, value in terms.items()} if name in wrong else terms

        return compiled

    return compile


SIZES = {"img_resolution": 8, "img_channels": 3, "c_dim": 0}


def batch_at(alpha=1.0):
    return Batch(torch.randn(2, 3, 8, 8), None, torch.randn(2, 8), None, GrowthState(8, alpha, 2, 0.1, 0.1))


def test_a_fade_is_not_compiled(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", counting(calls))
    loss = CompiledLoss(tiny.TinyLoss())
    for alpha in (0.5, 1.0):
        loss.g_loss(tiny.TinyGenerator(**SIZES), tiny.TinyDiscriminator(**SIZES), batch_at(alpha))
        assert calls == ["TinyLoss.g_loss"] * (alpha == 1)


def test_finding_out_leaves_no_trace(tmp_path, monkeypatch):
    """In generators, running statistics (the penalty counts its calls) and what follows from them."""
    calls: list[str] = []
    overrides = [
        "regularizers=[{name: penalty}, {name: smoothness, args: {every: 2}}]",
        "augmentation={name: darkening}",
    ]
    eager, _ = run(tmp_path, *overrides)
    monkeypatch.setattr(torch, "compile", counting(calls))
    run_dir, said = run(tmp_path, "system.compile=true", *overrides)
    assert statistics(run_dir) == statistics(eager)
    assert tensors_of(run_dir) == tensors_of(eager)
    assert "4 px, batch 8: compiled (as the recipe says)" in said
    parts = {"TinyLoss.d_loss", "TinyLoss.g_loss", "TinyPenalty.terms", "TinySmoothness.terms"}
    assert set(calls) == parts


def tensors_of(run_dir):
    tensors, _ = load_weights(sorted((run_dir / "checkpoints").glob("*.safetensors"))[-1])
    return {name: tensor.tolist() for name, tensor in tensors.items()}


class Pool(nn.Module):
    """A buffer that grows, as CycleGAN's pool of images does: it is another tensor then."""

    def __init__(self):
        super().__init__()
        self.register_buffer("images", torch.zeros(0))


def test_buffers_that_grow_are_put_back(monkeypatch):
    class Pooling(tiny.TinyLoss, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            tiny.TinyLoss.__init__(self)
            self.pool = Pool()

        def g_loss(self, G, D, batch):
            self.pool.images = torch.cat([self.pool.images, torch.ones(1)])
            return super().g_loss(G, D, batch)

    monkeypatch.setattr(torch, "compile", counting([]))
    players, loss = make_players(), Pooling()
    players.loss = CompiledLoss(loss)
    assert what_fails(players, trial_batch(players, players.growth), compare=True) == ""
    assert loss.pool.images.shape == (0,)


def make_players(*overrides):
    plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=[*SHORT, *overrides])
    growth = GrowthState(8, 1.0, 8, 0.1, 0.1)
    return StepCase.build(recipe, plugins.registry, growth, system=choose_system(recipe.system))


@pytest.mark.parametrize("wrong", ["TinyLoss.d_loss", "TinyLoss.g_loss", "TinySmoothness.terms"])
def test_where_gradients_are_others_training_is_eager(tmp_path, monkeypatch, wrong):
    overrides = ["regularizers=[{name: smoothness, args: {every: 2}}]"]
    eager, _ = run(tmp_path, *overrides)
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", counting(calls, wrong=[wrong]))
    run_dir, said = run(tmp_path, "system.compile=true", *overrides)
    assert any("nothing is compiled" in line and "has another gradient by" in line for line in said)
    assert statistics(run_dir) == statistics(eager)
    assert json.loads((run_dir / "choices.json").read_text())["4 px, batch 8"]["compile"] is False


@pytest.mark.parametrize("works", [True, False])
def test_what_was_found_out_holds_when_a_run_is_resumed(tmp_path, monkeypatch, works):
    """Although the gradients would now be judged otherwise."""
    judged = [] if works else ["TinyLoss.g_loss"]
    overrides = [*SHORT, "system.compile=true"]
    plugins = make_plugin_manager({"tiny": tiny.TinyPlugin})
    recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
    monkeypatch.setattr(torch, "compile", counting([], wrong=judged))
    part = train(recipe, plugins=plugins, outdir=tmp_path, reporter=StopAt(40))
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", counting(calls, wrong=[] if judged else ["TinyLoss.g_loss"]))
    train(recipe, plugins=plugins, outdir=tmp_path, resume_from=part.run_dir, reporter=StopAt(48))
    assert bool(calls) is works


def test_gradients_that_are_no_numbers_judge_nothing():
    nan, one = torch.tensor([float("nan")]), torch.ones(1)
    assert _different({"a": nan, "b": one}, {"a": nan, "b": one}) == ""
    assert _different({"a": one, "b": one}, {"a": one, "b": nan}) == "b"
    assert _different({"a": one, "b": None}, {"a": one * 1.1, "b": one * 0.01}) == ""
    assert _different({"a": one, "b": one}, {"a": one, "b": None}) == "b"


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
@pytest.mark.parametrize("inside", [True, False])
def test_a_function_in_a_penalty_is_refused(inside):
    """Torch 2.13 loses its second derivatives. Where no gradient is taken inside, it may be there."""
    (penalty,) = components("regularizer", "r1")
    D = OwnDerivatives(**SIZES)
    if inside:
        with pytest.raises(Exception, match=r"an autograd\.Function, whose second derivatives torch loses"):
            CompiledRegularizer(penalty(gamma=1.0), backend="aot_eager").terms(None, D, batch_at())
    else:
        G, loss = tiny.TinyGenerator(**SIZES), tiny.TinyLoss(noise=0)
        args = G.eval(), D, batch_at()
        assert_same(
            gradients(D, loss.d_loss, *args), gradients(D, CompiledLoss(loss, backend="aot_eager").d_loss, *args)
        )


@pytest.mark.slow
@pytest.mark.parametrize("part", ["d_loss", "r1"])
def test_through_adaptive_augmentation(part):
    (augmentation,), (discriminator,) = components("augmentation", "ada"), components("discriminator", "progan")
    (wgan_gp,), (penalty,) = components("loss", "wgan-gp"), components("regularizer", "r1")
    torch.manual_seed(0)
    G = tiny.TinyGenerator(**SIZES).eval()
    D = AugmentedDiscriminator(discriminator(**SIZES, fmap_base=64, fmap_max=16), augmentation(p=0.8))
    loss, regularizer = wgan_gp(), penalty(gamma=1.0)
    eager, other = (
        (loss.d_loss, CompiledLoss(loss, backend="aot_eager").d_loss)
        if part == "d_loss"
        else (regularizer.terms, CompiledRegularizer(regularizer, backend="aot_eager").terms)
    )
    batch = batch_at()
    assert_same(gradients(D, eager, G, D, batch), gradients(D, other, G, D, batch))


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
    compiled = CompiledRegularizer(other, backend=backend)
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
    compiled = CompiledLoss(loss, backend=backend)
    assert_same(gradients(D, loss.d_loss, G, D, batch), gradients(D, compiled.d_loss, G, D, batch))
