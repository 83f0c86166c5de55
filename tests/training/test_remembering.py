"""`train.reuse_fakes`: what D was shown is what G learns by, made once, and nothing else changes."""

import gc
import weakref

import pytest
import tiny
import torch

from ganzoo.errors import RecipeError
from ganzoo.interfaces import GrowthState
from ganzoo.plugins import make_plugin_manager
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import parse_recipe
from ganzoo.training import loop
from ganzoo.training.remembering import RememberedFakes
from ganzoo.training.system import choose_system

GROWTH = GrowthState(8, 0.5, 8, 2e-3, 1e-3)


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def case_with(plugins):
    """Players of tiny.RECIPE that reuse fakes, changed."""

    def build(*changes):
        overrides = ["train.reuse_fakes=true", "train.d_steps=1", *changes]
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        return StepCase.build(recipe, plugins.registry, GROWTH, system=choose_system(recipe.system), c_dim=2)

    return build


@pytest.fixture
def made(monkeypatch):
    """Latents, and whether there is a graph, of everything that a generator makes."""
    calls = []
    forward = tiny.TinyGenerator.forward

    def counted(self, z, c=None, *, growth):
        images = forward(self, z, c, growth=growth)
        calls.append((z, images.requires_grad))
        return images

    monkeypatch.setattr(tiny.TinyGenerator, "forward", counted)
    return calls


@pytest.mark.parametrize(
    ("changes", "graphs"),
    [
        ([], [True]),
        (["train.d_steps=3"], [False, False, True]),
        (["train.accumulate=2"], [False, False, True, True]),
        (["train.reuse_fakes=false"], [False, True]),
        (["regularizers=[{name: penalty, args: {every: 1}}, {name: smoothness, args: {every: 1}}]"], [True, True]),
    ],
)
def test_fakes_are_made_once(case_with, made, changes, graphs):
    case_with(*changes).step()
    assert [graph for _, graph in made] == graphs
    assert len({id(z) for z, _ in made}) == len(made)


def test_gradients_are_those_of_the_same_images_made_again(case_with):
    case = case_with()
    case.G.dropout.p = 0.0  # nothing random between latents and images
    seen = loop.train_D(case, GROWTH)
    assert seen.z.shape == (8, 8) and all(p.grad is None for p in case.G.parameters())
    case.G.requires_grad_(True)  # as in G's step
    case.D.requires_grad_(False)
    loop.total_loss(case.loss.g_loss(case.G, case.D, seen)).backward()
    again = {name: p.grad.clone() for name, p in case.G.named_parameters() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in case.G.named_parameters()}
    loop.train_G(case, seen)
    assert len(again) > 4
    for name, p in case.G.named_parameters():
        if name in again:
            torch.testing.assert_close(p.grad, again[name], rtol=1e-6, atol=1e-9)
    assert any(not torch.equal(p, before[name]) for name, p in case.G.named_parameters())
    assert "forward" not in vars(case.G)


def test_labels_are_those_that_the_loss_asks_for(case_with, made):
    class OfRealLabels(tiny.TinyLoss):
        """Both players see fakes of other labels than the batch's."""

        def d_loss(self, G, D, batch):
            return super().d_loss(G, D, batch) | {"real labels": G(batch.z, batch.c, growth=batch.growth).mean()}

    case = case_with()
    case.loss = OfRealLabels()
    case.step()
    assert len(made) == 2  # of one z with two labels; G's step makes none
    assert made[0][0] is made[1][0]


def test_nothing_is_kept_after_the_step(case_with, monkeypatch):
    kept = []
    forward = tiny.TinyGenerator.forward

    def watched(self, z, c=None, *, growth):
        images = forward(self, z, c, growth=growth)
        kept.append(weakref.ref(images))
        return images

    monkeypatch.setattr(tiny.TinyGenerator, "forward", watched)
    case = case_with()
    case.step()
    gc.collect()
    assert len(kept) == 1 and kept[0]() is None


def test_a_step_that_failed_leaves_nothing(case_with):
    case = case_with()
    loop.train_D(case, GROWTH)  # memory ran out after it
    seen = loop.train_D(case, GROWTH)
    assert len(case.fakes._made) == 1 and case.fakes._made[0][0] is seen.z


@pytest.mark.parametrize("player", ["D", "G"])
def test_writing_to_the_images_is_noticed(player):
    G = tiny.TinyGenerator(img_resolution=8, img_channels=3, c_dim=0)
    fakes, z = RememberedFakes(G), torch.randn(2, 8)
    with fakes.of("D"):
        images = G(z, growth=GROWTH)
        assert not images.requires_grad
        images.mul_(0.5)
    with fakes.of(player):
        if player == "D":
            assert G(z, growth=GROWTH).shape == images.shape  # forgotten, and made anew
        else:
            with pytest.raises(RuntimeError, match="changed in place"):
                G(z, growth=GROWTH)


@pytest.mark.parametrize("compile", ["true", "auto"])
def test_not_with_compiled_losses(plugins, compile):
    overrides = ["train.reuse_fakes=true", f"system.compile={compile}"]
    with pytest.raises(RecipeError, match=r"train\.reuse_fakes.*system\.compile.*give one"):
        parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
