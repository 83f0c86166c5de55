"""Equality with the authors' code (NVlabs/stylegan3, its CPU reference operators)."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from ganzoo import GrowthState
from ganzoo_stylegan.stylegan3 import Generator

INPUT = {"affine.weight", "affine.bias", "weight", "freqs", "phases", "transform"}


def from_reference(name: str, num_layers: int) -> str | None:
    """Our name of a reference tensor; None for the filters, which are no part of our state."""
    if name == "mapping.w_avg":
        return "w_avg"
    if dense := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", name):
        return f"mapping_network.layers.{dense[1]}.{dense[2]}"
    if inner := re.fullmatch(r"synthesis\.input\.(.+)", name):
        assert inner[1] in INPUT
        return f"input.{inner[1]}"
    layer, kind = re.fullmatch(r"synthesis\.L(\d+)_\d+_\d+\.(.+)", name).groups()
    if kind.endswith("_filter"):
        return None
    return f"to_rgb.{kind}" if int(layer) == num_layers else f"layers.{layer}.conv.{kind}"


def renamed(tensors: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    return {ours: x for name, x in tensors.items() if (ours := from_reference(name, num_layers))}


def growth_of(golden) -> GrowthState:
    return GrowthState(golden.resolution, 1.0, batch_size=golden.meta["batch"], g_lr=0.001, d_lr=0.001)


@pytest.fixture
def G(golden) -> Generator:
    k = golden.meta["constructor"]
    same = "z_dim c_dim w_dim img_resolution img_channels channel_base channel_max num_layers num_critical margin_size"
    assert (k.get("conv_kernel", 3) == 1) == k.get("use_radial_filters", False)
    G = Generator(
        **{name: k[name] for name in same.split()},
        config="r" if k.get("use_radial_filters") else "t",
        mapping_layers=k["mapping_kwargs"]["num_layers"],
        conv_clamp=256.0,  # the reference's default
    )
    G.load_state_dict(renamed(golden.under("w/G/"), k["num_layers"]))  # strict: every tensor, no other
    return G.eval()


@pytest.mark.golden("stylegan3_*")
def test_filters(golden, G, assert_near):
    """Ours, against those that the reference made with scipy."""
    reference = golden.under("w/G/synthesis.")
    filters = {name: x for name, x in reference.items() if name.endswith("_filter")}
    assert len(filters) == 2 * golden.meta["constructor"]["num_layers"]
    for name, x in filters.items():
        layer, kind = re.fullmatch(r"L(\d+)_.*\.(\w+)", name).groups()
        assert_near(getattr(G.layers[int(layer)], kind), x, 1e-6, name)


@pytest.mark.golden("stylegan3_*")
def test_w_features_and_images(golden, G, assert_near):
    growth = growth_of(golden)
    features = {}
    for name, module in {"input_features": G.input, **{f"after_L{i}": m for i, m in enumerate(G.layers)}}.items():
        module.register_forward_hook(lambda module, args, out, name=name: features.update({name: out}))
    with torch.no_grad():
        w = G.mapping(golden["in/z"])
        image = G(golden["in/z"], growth=growth)
    assert_near(w, golden["out/w"], 1e-4, "w")
    recorded = {re.sub(r"(L\d+)_.*", r"\1", name): x for name, x in golden.under("out/").items()}
    common = recorded.keys() & features.keys()
    assert len(common) == 3
    for name in sorted(common):
        assert_near(features[name], recorded[name], 1e-4, name)
    assert_near(image / G.output_scale, recorded[f"after_L{len(G.layers)}"], 1e-4, "to-RGB")
    assert_near(image, golden["out/image"], 1e-4, "image")


@pytest.mark.golden("stylegan3_*")
def test_truncation(golden, G, assert_near):
    with torch.no_grad():
        ws = G.truncate(G.broadcast(G.mapping(golden["in/z"])), golden.meta["truncation_psi"])
        image = G.synthesis(ws, growth=growth_of(golden))
    assert_near(ws, golden["out/ws_trunc"], 1e-4, "ws")
    assert_near(image, golden["out/image_trunc"], 1e-4, "image")


@pytest.mark.golden("stylegan3_*")
def test_gradients(golden, G, assert_near):
    ws = G.broadcast(golden["out/w"]).requires_grad_()
    loss = G.synthesis(ws, growth=growth_of(golden)).square().mean()
    loss.backward()
    assert_near(loss, golden["loss/mean_square"], 1e-4, "loss")
    assert_near(ws.grad, golden["grad/mean_square/ws"], 1e-3, "ws")
    reference = renamed(golden.under("grad/mean_square/G/"), golden.meta["constructor"]["num_layers"])
    parameters = {name: p for name, p in G.named_parameters() if not name.startswith("mapping_network.")}
    assert reference.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert_near(parameter.grad, reference[name], 1e-3, name)


@pytest.mark.golden("stylegan3_*")
def test_buffers_in_training(golden, G, assert_near):
    G.train()
    with torch.no_grad():
        image = G(golden["in/z"], growth=growth_of(golden))
    assert_near(image, golden["out/image_update_emas"], 1e-4, "image")
    reference = renamed(golden.under("after/G/"), golden.meta["constructor"]["num_layers"])
    buffers = dict(G.named_buffers())
    assert len(reference) == golden.meta["constructor"]["num_layers"] + 2
    for name, x in reference.items():
        assert_near(buffers[name], x, 1e-5, name)
