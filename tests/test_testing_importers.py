"""check_importer passes an honest importer and names what is wrong with others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, ImportedModel
from ganzoo.testing import check_importer


def weights() -> ForeignWeights:
    return ForeignWeights({"G": ForeignNetwork("torch", {"fc.w": torch.ones(4, 3)})})


class Honest(ganzoo.Importer):
    title = "An honest one"

    def __init__(self, *, size: int = 4) -> None:
        self.size = size

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first("G")
        return found is not None and "fc.w" in found[1].tensors

    def model(self, weights: ForeignWeights) -> ImportedModel:
        sections = {name: {"name": "any"} for name in ("generator", "discriminator", "loss", "growth")}
        return ImportedModel(networks=["G"], recipe=sections, img_resolution=self.size, img_channels=3)

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        return {"dense.weight": weights.networks["G"].tensors["fc.w"] * 2}


def test_an_honest_importer_passes():
    check_importer(Honest)
    check_importer(Honest, args={"size": 8}, weights=weights())


class NoTitle(Honest):
    title = ""


class TakesAll(Honest):
    def recognises(self, weights):
        return True


class Raises(Honest):
    def recognises(self, weights):
        return "fc.w" in weights.networks["G"].tensors


class Recognises(Honest):
    def recognises(self, weights):
        return False


class OtherNetwork(Honest):
    def model(self, weights):
        return ImportedModel(["H"], super().model(weights).recipe, img_resolution=4, img_channels=3)


class NoLoss(Honest):
    def model(self, weights):
        return ImportedModel(["G"], {"generator": {}, "discriminator": {}}, img_resolution=4, img_channels=3)


class Changes(Honest):
    def generator_state(self, weights):
        return {"dense.weight": weights.networks["G"].tensors["fc.w"].mul_(2)}


class Nothing(Honest):
    def generator_state(self, weights):
        return {}


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (NoTitle, "title must say whose weights"),
        (TakesAll, "must be False for no networks"),
        (Raises, "recognises.. of no networks raises KeyError"),
        (Recognises, "must be True for weights of its kind"),
        (OtherNetwork, "networks \\['H'\\] are not in the file"),
        (NoLoss, "misses the section loss"),
        (Changes, "changes fc.w of what it is given"),
        (Nothing, "must return tensors"),
    ],
)
def test_what_is_wrong_is_said(cls, problem):
    with pytest.raises(AssertionError, match=problem):
        check_importer(cls, weights=weights())
