"""Importers know what is theirs; with reference data, tests/importing compares the images."""

from __future__ import annotations

import pytest
import torch

import ganzoo_classic
from ganzoo import ForeignNetwork, ForeignWeights
from ganzoo.testing import check_component, check_importer, registered
from ganzoo_classic.dcgan import Generator
from ganzoo_classic.importers import DCGANImporter

IMPORTERS = [entry for entry in registered(ganzoo_classic) if entry.kind == "importer"]


@pytest.mark.parametrize("entry", IMPORTERS, ids=lambda entry: entry.name)
def test_contract(entry):
    check_component(entry)


def test_counters_of_batches_that_were_not_stored():
    G = Generator(c_dim=0, img_resolution=64, img_channels=1, z_dim=5, ngf=2, fmap_max=16)
    layers = [f"{kind}.{i}" for i in range(4) for kind in ("convs", "norms")]
    numbers = dict(zip(layers, (0, 1, 3, 4, 6, 7, 9, 10), strict=True)) | {"to_rgb": 12}
    state = {name: x for name, x in G.state_dict().items() if not name.endswith("num_batches_tracked")}
    tensors = {f"main.{numbers[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}": x for name, x in state.items()}
    weights = ForeignWeights({"": ForeignNetwork("torch", tensors)})
    check_importer(DCGANImporter, weights=weights)
    found = DCGANImporter().generator_state(weights)
    assert found.keys() == G.state_dict().keys()
    assert all(torch.equal(found[name], x) for name, x in state.items())
