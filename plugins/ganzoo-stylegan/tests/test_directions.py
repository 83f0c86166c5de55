"""Factorisation and maps of noise on the plugin's own networks, against what can be read off their weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ganzoo import GanzooError, GrowthState
from ganzoo.generation import LoadedGenerator
from ganzoo_stylegan import stylegan1, stylegan2, stylegan3
from ganzoo_stylegan.directions import find_directions, style_weights
from ganzoo_stylegan.projection import Projector, noise_maps, pyramid_distance

SIZES = {"z_dim": 16, "c_dim": 0, "img_resolution": 16, "img_channels": 3}
NETWORKS = {
    "stylegan": (stylegan1.Generator, {"fmap_base": 128, "fmap_max": 16, "mapping_layers": 2, "mapping_fmaps": 16}),
    "stylegan2": (stylegan2.Generator, {"channel_base": 256, "channel_max": 16}),
    "stylegan3": (stylegan3.Generator, {"channel_base": 256, "channel_max": 16, "num_layers": 6}),
}


def make(name, w_dim=12):
    """A network with noise and, in StyleGAN3's input, a transform: both start at 0."""
    torch.manual_seed(0)
    cls, args = NETWORKS[name]
    G = cls(**SIZES, w_dim=w_dim, **args)
    for parameter, p in G.named_parameters():
        if "strength" in parameter:
            nn.init.ones_(p)
        if parameter.endswith("affine.weight"):
            nn.init.normal_(p)
    return G


def wrap(G, resolution=16):
    """As ``load_generator`` returns it, less the file."""
    return LoadedGenerator(
        G=G.eval().requires_grad_(False),
        path=Path("snapshot.safetensors"),
        recipe=SimpleNamespace(generator=SimpleNamespace(name="a-gan")),
        nimg=0,
        growth=GrowthState(resolution, 1.0, 8, 0.001, 0.001),
        class_names=None,
        device=torch.device("cpu"),
    )


@pytest.fixture(params=NETWORKS)
def generator(request):
    return wrap(make(request.param))


def affine_layers(G):
    """Every layer named so, as the matrix that it multiplies by."""
    return [m.weight * m.scale for name, m in G.named_modules() if name.endswith("affine")]


def test_every_affine_layer_is_found(generator):
    wanted = affine_layers(generator.G)
    found = style_weights(generator, range(generator.num_ws))
    assert wanted and len(found) == sum(len(w) for w in wanted)
    ours, theirs = (sorted(rows.norm(dim=1).tolist()) for rows in (found, torch.cat(wanted)))
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_matrices_are_all_that_a_layer_makes_of_w(name):
    """What they send to 0 changes no image, and anything else does."""
    generator = wrap(make(name, w_dim=64))
    ws = torch.randn(1, generator.G.num_ws, 64)
    img = generator.synthesis(ws)
    for layer in range(generator.num_ws):
        A = style_weights(generator, [layer]).double()
        assert len(A) < 64
        _, _, rows = torch.linalg.svd(A)
        for step, changes in ((rows[-1], False), (rows[0], True)):
            moved = ws.clone()
            moved[:, layer] += step.float()
            difference = float((generator.synthesis(moved) - img).abs().max() / img.abs().max())
            assert difference > 1e-5 if changes else difference < 1e-5, (layer, difference)


def test_a_layer_that_is_not_run_yet_has_no_styles():
    generator = wrap(make("stylegan"), resolution=8)
    assert len(style_weights(generator, range(generator.num_ws))) < len(torch.cat(affine_layers(generator.G)))
    with pytest.raises(GanzooError, match="nothing to factorise"):
        style_weights(generator, [5])


def test_directions_change_styles_most(generator):
    layers = range(generator.num_ws)
    A = style_weights(generator, layers)
    directions = find_directions(generator, layers, 12)
    units = torch.stack([d.vector / d.vector.norm() for d in directions])
    assert torch.allclose(units @ units.T, torch.eye(12), atol=1e-4)
    changes = (units @ A.T).square().sum(dim=1)
    assert changes.tolist() == pytest.approx([d.eigenvalue for d in directions], rel=1e-3, abs=1e-4)
    assert (changes[:-1] >= changes[1:] - 1e-4).all()
    others = nn.functional.normalize(torch.randn(200, 12), dim=1)
    assert (others @ A.T).square().sum(dim=1).max() <= changes[0] + 1e-4


def test_a_direction_is_one_standard_deviation_long(generator):
    w = generator.mapping(torch.randn(20_000, 16))
    for direction in find_directions(generator, [0, 1], 3):
        n = direction.vector / direction.vector.norm()
        assert float((w @ n).std()) == pytest.approx(float(direction.vector.norm()), rel=0.05)


def test_a_direction_moves_its_layers_only(generator):
    (direction,) = find_directions(generator, [1, 2], 1)
    ws = torch.randn(2, generator.G.num_ws, 12)
    moved = direction.apply(ws, -2.0) - ws
    assert torch.allclose(moved[:, 1], (-2 * direction.vector).expand(2, -1), atol=1e-5)
    assert moved[:, [0, *range(3, generator.G.num_ws)]].abs().max() == 0
    assert (replace(direction, layers=[0]).apply(ws, 1.0) - ws)[:, 1:].abs().max() == 0


def test_maps_of_noise(generator):
    found = noise_maps(generator)
    if isinstance(generator.G, stylegan3.Generator):
        assert not found
    else:
        sizes = sorted(x.shape[-1] for x in found.values())
        assert set(sizes) == {4, 8, 16} and len(sizes) in (5, 6)


def test_a_step_towards_an_image(generator):
    target = torch.rand(1, 3, 16, 16) * 2 - 1
    projector = Projector(generator, pyramid_distance(target), steps=30, space="w+")
    before = projector.step()
    for _ in range(29):
        last = projector.step()
    assert last < before
    assert projector.ws.shape == (1, generator.G.num_ws, 12) and projector.picture().shape == (3, 16, 16)
