"""Image-to-image translation: what goes together, and what is refused."""

from __future__ import annotations

import pytest
import torch
from tiny_translation import RECIPE, UNPAIRED, TranslationPlugin

from ganzoo import build
from ganzoo.errors import RecipeError
from ganzoo.growth import FixedSchedule
from ganzoo.interfaces import Phase
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import dump_recipe, parse_recipe

PAIRS = "discriminator={name: pairs, args: {conditional: true}}"
PAIR_LOSS = "loss={name: pairs}"


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": TranslationPlugin})


@pytest.fixture
def parse(plugins):
    return lambda *overrides: parse_recipe(RECIPE, plugins.registry, filename="tiny", overrides=overrides)


def objective(recipe, plugins):
    sizes = {"img_channels": 3, "c_dim": 0, "in_channels": 1}
    G, D = build.build_networks(recipe, plugins.registry, **sizes, device="meta")
    return G, D, *build.build_objective(recipe, plugins.registry, G, D)


def test_core_says_how_many_channels_there_are_to_translate(parse, plugins):
    G, D, _, _, _ = objective(parse(PAIRS, PAIR_LOSS), plugins)
    assert (G.in_channels, G.z_dim, G.there.in_channels, D.conv.in_channels) == (1, 0, 1, 4)
    degradation, channels = build.build_degradation(parse(), plugins.registry, img_channels=3)
    assert channels == 1 and degradation(torch.zeros(2, 3, 8, 8)).shape == (2, 1, 8, 8)
    assert build.build_degradation(parse(UNPAIRED), plugins.registry, img_channels=3) == (None, 0)
    with pytest.raises(RecipeError, match=r"degradation 'dusk' of tiny 0: it takes no transparent images"):
        build.build_degradation(parse(), plugins.registry, img_channels=4)


def test_defaults_are_written_out(parse, plugins):
    for text, written in [
        ("{kind: unpaired}", {"a": "trainA", "b": "trainB", "left": None, "degrade": None}),
        ("{kind: same-name, a: edges/, b: photos}", {"a": "edges", "b": "photos", "left": None}),
        ("{kind: side-by-side}", {"a": None, "b": None, "left": "a"}),
        ("{kind: degrade, degrade: {name: dusk}}", {"a": None, "degrade": {"name": "dusk", "args": {"strength": 0.5}}}),
    ]:
        recipe = parse(f"data.inputs={text}")
        assert recipe.data.inputs.model_dump().items() >= written.items()
        assert parse_recipe(dump_recipe(recipe), plugins.registry, filename="again") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.inputs={kind: paired}", r"data.inputs.kind: must be 'unpaired', 'same-name'"),
        ("data.inputs={kind: degrade, degrade: null}", r"data.inputs: `degrade` is missing"),
        ("data.inputs={kind: degrade, degrade: {name: dask}}", r"no degradation is called 'dask'.*mean 'dusk'"),
        ("data.inputs.degrade.args={strength: much}", r"data.inputs.degrade.args.strength: must be a number"),
        ("data.inputs.img_channels=1", r"`img_channels` means nothing for the kind degrade, which has: degrade"),
        ("data.inputs={kind: unpaired, left: a}", r"`left` means nothing for the kind unpaired, which has: a, b"),
        ("data.inputs={kind: unpaired, a: x, b: x}", r"`a` and `b` are both 'x'"),
        ("data.inputs={kind: unpaired, a: ../x}", r"data.inputs.a: must be a folder within data.path"),
        ("data={skip_bad: 1, inputs: {kind: same-name}}", r"`skip_bad` would part pairs"),
        ("generator={name: translator, args: {in_channels: 3}}", r"in_channels: cannot be set here.*data.inputs"),
    ],
)
def test_mistakes_in_recipes(parse, override, message):
    with pytest.raises(RecipeError, match=message):
        parse(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.inputs=null"], r"generator 'translator' of tiny 0 translates images.*add data.inputs"),
        (["generator={name: tiny}"], r"generator 'tiny' of tiny 0 starts from latents.*installed: translator$"),
        ([PAIR_LOSS, UNPAIRED], r"loss 'pairs' of tiny 0: it wants pairs"),
        (
            [PAIRS],
            r"loss 'tiny'.*judges an image together with its source, which the loss does not show it",
        ),
        (
            [PAIRS, PAIR_LOSS, "regularizers=[penalty]"],
            r"regularizer 'penalty'.*which the regularizer does not show it",
        ),
        (
            [
                PAIRS,
                PAIR_LOSS,
                "augmentation={name: darkening}",
            ],
            r"augmentation 'darkening'.*would move the image and not the source",
        ),
    ],
)
def test_what_does_not_go_together(parse, plugins, overrides, message):
    with pytest.raises(RecipeError, match=message):
        objective(parse(*overrides), plugins)


def test_sizes_that_the_translator_cannot_make_are_refused(parse, plugins):
    recipe = parse("data.img_resolution=1")
    G, D = build.build_networks(recipe, plugins.registry, img_channels=3, c_dim=0, in_channels=1, device="meta")
    phases = build.build_growth(recipe, plugins.registry).phases(160)
    with pytest.raises(RecipeError, match=r"at 1 px: generator 'translator'.*a multiple of 2 px"):
        build.check_phases(recipe, plugins.registry, G, D, phases)


def test_learning_rates_that_fall_to_nothing():
    decay = {"decay_from_kimg": 1.0, "decay_to_kimg": 3.0}
    schedule = FixedSchedule(img_resolution=8, batch_size=4, lr=0.2, d_lr=0.4, **decay)
    rates = [(schedule.at(n).g_lr, schedule.at(n).d_lr) for n in (0, 1000, 2000, 2500, 3000, 9000)]
    assert rates == [(0.2, 0.4), (0.2, 0.4), (0.1, 0.2), (0.05, 0.1), (0, 0), (0, 0)]
    constant, falling, still = (
        Phase(0, 1000, 8, False, 4, 0.2, 0.4),
        Phase(1000, 3000, 8, False, 4, 0.2, 0.4, decaying=True),
        Phase(3000, 4000, 8, False, 4, 0, 0),
    )
    assert schedule.phases(4000) == [constant, falling, still]
    assert schedule.phases(3000) == [constant, falling]
    assert schedule.phases(500) == [Phase(0, 500, 8, False, 4, 0.2, 0.4)]
    assert schedule.phases(0) == []
    assert FixedSchedule(img_resolution=8, batch_size=4).phases(7) == [Phase(0, 7, 8, False, 4, 0.0002, 0.0002)]
    with pytest.raises(ValueError, match="give both, or neither"):
        FixedSchedule(img_resolution=8, batch_size=4, decay_to_kimg=3.0)
    with pytest.raises(ValueError, match="3 is not after decay_from_kimg, which is 5"):
        FixedSchedule(img_resolution=8, batch_size=4, decay_from_kimg=5.0, decay_to_kimg=3.0)
