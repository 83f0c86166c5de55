"""Everything that the plugin registers keeps the contracts of ganzoo.interfaces."""

from __future__ import annotations

import pytest

import ganzoo_progan
from ganzoo.testing import (
    check_component,
    check_discriminator,
    check_generator,
    check_growth_schedule,
    check_loss,
    registered,
)
from ganzoo_progan.networks import Discriminator, Generator

SIZES = [4, 8, 16]
SMALL = {"fmap_base": 64, "fmap_max": 16}
OPTIONS = {
    ("generator", "progan"): {"args": {"z_dim": 16, **SMALL}, "resolutions": SIZES},
    ("discriminator", "progan"): {"args": SMALL, "resolutions": SIZES, "minibatch_statistics": True},
    ("loss", "wgan-gp"): {},
    ("growth", "fade"): {"args": {"stable_kimg": 1.5, "fade_kimg": 0.7, "batch_size": {4: 16, "default": 8}}},
    ("metric", "swd"): {"img_resolution": 16},
    ("metric", "ms-ssim"): {},
    ("importer", "progan-tf"): {},
    ("importer", "progan-genforce"): {},
    ("importer", "progan-pgz"): {},
}


@pytest.mark.parametrize("entry", registered(ganzoo_progan), ids=lambda entry: f"{entry.kind} {entry.name}")
def test_contract(entry):
    check_component(entry, **OPTIONS[entry.kind, entry.name])


@pytest.mark.parametrize(("kind", "name"), [key for key in OPTIONS if key[0] not in ("growth", "metric", "importer")])
def test_contract_with_labels(kind, name):
    (entry,) = (e for e in registered(ganzoo_progan) if (e.kind, e.name) == (kind, name))
    check_component(entry, c_dim=3, **OPTIONS[kind, name])


@pytest.mark.parametrize("args", [{"fmaps": [8, 6, 4]}, {"pixel_bias": True}])
def test_generators_that_only_imported_weights_have(args):
    check_generator(Generator, {"z_dim": 16, **SMALL, **args}, resolutions=SIZES)


def test_feature_maps_for_each_resolution():
    sizes = {"c_dim": 0, "img_resolution": 16, "img_channels": 3}
    G = Generator(**sizes, fmaps=[8, 6, 4])
    assert [G.to_rgb[str(r)].weight.shape[1] for r in SIZES] == [8, 6, 4]
    with pytest.raises(ValueError, match="fmaps has 2 numbers, and there are 3 resolutions"):
        Generator(**sizes, fmaps=[8, 6])


@pytest.mark.parametrize("args", [{"mbstd_group_size": 1}, {"mbstd_group_size": 1, "fused_scale": False}])
def test_without_minibatch_stddev_logits_are_independent(args):
    check_discriminator(Discriminator, {**SMALL, **args}, resolutions=SIZES, img_channels=1)


def test_groups_of_two_stay_within_their_batch():
    check_discriminator(Discriminator, {**SMALL, "mbstd_group_size": 2}, resolutions=SIZES, minibatch_statistics=True)


def test_loss_with_progan_networks():
    sizes = {"img_resolution": 16, "img_channels": 3, "c_dim": 2, **SMALL}
    (entry,) = (e for e in registered(ganzoo_progan) if e.kind == "loss")
    check_loss(entry.cls, players=(Generator(**sizes, z_dim=16), Discriminator(**sizes)))


@pytest.mark.parametrize("fades", [{"stable_kimg": 0, "fade_kimg": 2}, {"stable_kimg": 2, "fade_kimg": 0}])
def test_schedule_without_one_of_its_phases(fades):
    (entry,) = (e for e in registered(ganzoo_progan) if e.kind == "growth")
    check_growth_schedule(entry.cls, {**fades, "batch_size": 8, "lr": 0.001, "d_lr": 0.002})
