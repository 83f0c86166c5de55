"""DCGAN's generator as pytorch/examples stores it. Names are theirs."""

from __future__ import annotations

import re
from typing import ClassVar

import torch
from torch import Tensor

import ganzoo
from ganzoo import ForeignWeights, ImportedModel

NORMS = 4  # convolutions with batch norm, before the last


class DCGANImporter(ganzoo.Importer):
    """pytorch/examples: ``netG_epoch_24.pth``, the state dict of a generator of 64 px."""

    title: ClassVar[str] = "DCGAN of pytorch/examples .pth"

    def recognises(self, weights: ForeignWeights) -> bool:
        network = weights.networks.get("")
        if network is None or not {"main.0.weight", "main.1.running_mean", "main.12.weight"} <= network.tensors.keys():
            return False
        return network.tensors["main.0.weight"].ndim == 4

    def model(self, weights: ForeignWeights) -> ImportedModel:
        tensors = weights.networks[""].tensors
        first, last = tensors["main.0.weight"], tensors[f"main.{3 * NORMS}.weight"]
        ngf = len(last)
        if first.shape[1] != 8 * ngf:
            raise ValueError(f"its layers have {first.shape[1]} to {ngf} feature maps, and 8 to 1 times as many can be")
        recipe = {
            "generator": {"name": "dcgan", "args": {"z_dim": len(first), "ngf": ngf, "fmap_max": 8 * ngf}},
            "discriminator": {"name": "dcgan", "args": {"ndf": ngf, "fmap_max": 8 * ngf}},
            "loss": {"name": "minimax"},
            "growth": {"name": "fixed", "args": {"batch_size": 64, "lr": 0.0002}},
            "optimizer": {"args": {"betas": [0.5, 0.999]}},
        }
        return ImportedModel(networks=[""], recipe=recipe, img_resolution=64, img_channels=last.shape[1])

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        state = {our_name(name): x for name, x in weights.networks[""].tensors.items()}
        for name in [name for name in state if name.endswith("running_mean")]:  # torch before 0.4.1 did not count
            state.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
        return state


def our_name(name: str) -> str:
    """main.0.weight and so on: they number convolutions, norms and activations in order of execution."""
    match = re.fullmatch(r"main\.(\d+)\.(\w+)", name)
    if match is None or int(match[1]) % 3 == 2:
        raise ValueError(f"its tensor {name!r} is none of DCGAN's generator")
    layer, kind = divmod(int(match[1]), 3)
    if layer == NORMS:
        return f"to_rgb.{match[2]}"
    return f"{['convs', 'norms'][kind]}.{layer}.{match[2]}"
