"""Importers know what is theirs; with reference data, tests/importing compares the images."""

from __future__ import annotations

import re

import pytest
import torch

import ganzoo_biggan
from ganzoo import ForeignNetwork, ForeignWeights
from ganzoo.testing import check_component, check_importer, registered
from ganzoo_biggan.importers import BigGANImporter
from ganzoo_biggan.networks import Generator

IMPORTERS = [entry for entry in registered(ganzoo_biggan) if entry.kind == "importer"]


@pytest.mark.parametrize("entry", IMPORTERS, ids=lambda entry: entry.name)
def test_contract(entry):
    check_component(entry)


def stored_by_them(G: Generator, bn: str) -> dict[str, torch.Tensor]:
    """Our state under their names; bn: how batch norm's statistics are called."""
    found = {}
    for name, x in G.state_dict().items():
        name = re.sub(r"^bn\.", "output_layer.0.", name).replace("to_rgb.", "output_layer.2.")
        name = re.sub(r"^dense\.", "linear.", name).replace(".skip.", ".conv_sc.").replace(".norm.u", ".u0")
        block = re.match(r"(blocks|attention)\.(\d+)\.", name)
        if block:
            number = (int(block[2]) // 8).bit_length() - 1
            name = f"blocks.{number}.{int(block[1] == 'attention')}.{name[block.end() :]}"
        found["module." + name.replace(".running_", bn)] = x[None] if name.endswith(".u0") else x
    return found


@pytest.mark.parametrize("bn", [".stored_", ".bn.stored_", ".bn.running_"])
@pytest.mark.parametrize("args", [{"shared_dim": 4, "hierarchical": True}, {"shared_dim": None, "hierarchical": False}])
def test_batch_norm_by_any_name(args, bn):
    args = {**args, "ch": 2, "z_dim": 8, "attn_resolutions": [16]}
    G = Generator(c_dim=3, img_resolution=32, img_channels=1, **args)
    tensors = stored_by_them(G, bn) | {
        "linear.sv0": torch.ones(1),
        "output_layer.0.bn.accumulation_counter": torch.ones(1),
    }
    weights = ForeignWeights({"": ForeignNetwork("torch", tensors)})
    check_importer(BigGANImporter, weights=weights)
    model, state = BigGANImporter().model(weights), BigGANImporter().generator_state(weights)
    assert model.recipe["generator"]["args"] == args
    assert (model.c_dim, model.img_channels, model.img_resolution) == (3, 1, 32)
    assert state.keys() == G.state_dict().keys()
    assert all(torch.equal(state[name], x) for name, x in G.state_dict().items())


def test_other_blocks_are_refused():
    G = Generator(c_dim=3, img_resolution=32, img_channels=1, ch=2, z_dim=8, hierarchical=False, attn_resolutions=[])
    tensors = stored_by_them(G, ".stored_")
    tensors["module.blocks.1.0.conv1.weight"] = torch.zeros(5, 8, 3, 3)
    with pytest.raises(ValueError, match="none of BigGAN's networks"):
        BigGANImporter().model(ForeignWeights({"": ForeignNetwork("torch", tensors)}))
