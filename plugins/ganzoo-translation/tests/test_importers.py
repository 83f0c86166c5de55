"""Importers know what is theirs; with reference data, tests/importing compares the images."""

from __future__ import annotations

import pytest
import torch

import ganzoo_translation
from ganzoo import ForeignNetwork, ForeignWeights
from ganzoo.testing import check_component, check_importer, registered
from ganzoo_translation.importers import CycleGANImporter, SingleImporter
from ganzoo_translation.networks import ResNet

IMPORTERS = [entry for entry in registered(ganzoo_translation) if entry.kind == "importer"]


@pytest.mark.parametrize("entry", IMPORTERS, ids=lambda entry: entry.name)
def test_contract(entry):
    check_component(entry)


def state_of(net: torch.nn.Module, dropout: bool) -> dict[str, torch.Tensor]:
    """A residual network of ours as the original numbers its layers."""
    n = len(net.blocks)
    places = {"first": 1, "down.0": 4, "down.1": 7, "up.0": 10 + n, "up.1": 13 + n, "last": 17 + n}
    inner = {"convs.0": 1, "convs.1": 6 if dropout else 5}
    found = {}
    for name, x in net.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        if layer.startswith("blocks."):
            _, block, part = layer.split(".", 2)
            found[f"model.{10 + int(block)}.conv_block.{inner[part]}.{kind}"] = x
        else:
            found[f"model.{places[layer]}.{kind}"] = x
    return found


def foreign(tensors: dict[str, torch.Tensor]) -> ForeignWeights:
    return ForeignWeights({"": ForeignNetwork("torch", tensors)})


@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_moves_the_second_convolution(dropout):
    net = ResNet(3, 1, ngf=4, n_blocks=2, norm="instance", dropout=dropout)
    weights = foreign(state_of(net, dropout))
    check_importer(SingleImporter, args={"img_size": 32}, weights=weights)
    model, state = SingleImporter(img_size=32).model(weights), SingleImporter(img_size=32).generator_state(weights)
    assert model.recipe["generator"]["args"] == {
        "network": "resnet", "ngf": 4, "n_blocks": 2, "norm": "instance", "dropout": False,
    }  # fmt: skip
    assert (model.in_channels, model.img_channels) == (3, 1)
    assert len(state) == len(net.state_dict())
    assert all(torch.equal(state[f"body.{name}"], x) for name, x in net.state_dict().items())


def test_running_statistics_that_instance_norm_once_stored_are_left_out():
    net = ResNet(3, 3, ngf=4, n_blocks=1, norm="instance", dropout=False)
    old = {"model.2.running_mean": torch.zeros(4), "model.10.conv_block.2.running_var": torch.ones(16)}
    state = SingleImporter(img_size=32).generator_state(foreign(state_of(net, False) | old))
    assert len(state) == len(net.state_dict())


def test_generators_that_are_no_pair_are_refused():
    one, other = (ResNet(3, 3, ngf=ngf, n_blocks=1, norm="instance", dropout=False) for ngf in (4, 6))
    networks = {str(i): ForeignNetwork("torch", state_of(net, False)) for i, net in enumerate((one, other))}
    with pytest.raises(ValueError, match="no pair"):
        CycleGANImporter(img_size=32).model(ForeignWeights(networks))


def test_a_pair_leaves_no_network_out():
    net = ResNet(3, 3, ngf=4, n_blocks=1, norm="instance", dropout=False)
    networks = {str(i): ForeignNetwork("torch", state_of(net, False)) for i in range(2)}
    check_importer(CycleGANImporter, args={"img_size": 32}, weights=ForeignWeights(networks))
    assert CycleGANImporter(img_size=32).model(ForeignWeights(networks)).networks == ["0", "1"]
