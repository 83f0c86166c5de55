"""BigGAN's generator as ajbrock/BigGAN-PyTorch stores it. Names are theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

import ganzoo
from ganzoo import ForeignWeights, ImportedModel

from .networks import _G_WIDTHS

RENAMED = {
    ".bn.stored_": ".running_",  # with their own or a synchronised batch norm
    ".bn.running_": ".running_",
    "linear.": "dense.",
    "output_layer.0.": "bn.",
    "output_layer.2.": "to_rgb.",
    ".conv_sc.": ".skip.",
    ".stored_": ".running_",
    ".u0": ".norm.u",
}


class BigGANImporter(ganzoo.Importer):
    """ajbrock/BigGAN-PyTorch: ``G_ema.pth`` or ``G.pth``, the state dict of a generator."""

    title: ClassVar[str] = "BigGAN of ajbrock .pth"

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first("G_ema", "G", "")
        wanted = {"linear.u0", "blocks.0.0.bn1.gain.weight", "output_layer.2.weight"}
        return found is not None and wanted <= _stripped(found[1].tensors).keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, dict[str, Tensor]]:
        found = weights.first("G_ema", "G", "")
        assert found is not None  # by recognises
        return found[0], _stripped(found[1].tensors)

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, tensors = self._network(weights)
        count = 1 + max(int(m[1]) for key in tensors if (m := re.match(r"blocks\.(\d+)\.0\.", key)))
        resolution = 4 << count
        widths = [len(tensors["linear.weight"]) // 16]
        widths += [len(tensors[f"blocks.{i}.0.conv1.weight"]) for i in range(count)]
        ch = widths[0] // _G_WIDTHS.get(resolution, [4])[0]
        if [w * ch for w in _G_WIDTHS.get(resolution, [])] != widths:
            raise ValueError(
                f"its {count} blocks with {widths} feature maps are none of BigGAN's networks of 32 to 256 px"
            )
        part = tensors["linear.weight"].shape[1]
        shared = tensors.get("shared.weight")
        gain = tensors["blocks.0.0.bn1.gain.weight"]
        hierarchical = shared is not None and gain.shape[1] > shared.shape[1]
        if shared is None and "blocks.0.0.bn1.gain.u0" in tensors:
            raise ValueError(
                "its layers take labels and latents without a shared embedding, which our network does not"
            )
        attended = [8 << int(m[1]) for key in tensors if (m := re.fullmatch(r"blocks\.(\d+)\.1\.gamma", key))]
        generator = {
            "z_dim": part * (count + 1) if hierarchical else part,
            "ch": ch,
            "attn_resolutions": attended,
            "shared_dim": None if shared is None else shared.shape[1],
            "hierarchical": hierarchical,
        }
        # At 32 px all blocks of D end at 16 px, and self-attention there stands behind each.
        d_attended = attended if resolution > 32 else [16] * (16 in attended)
        recipe = {
            "generator": {"name": "biggan", "args": generator},
            "discriminator": {"name": "biggan", "args": {"ch": ch, "attn_resolutions": d_attended}},
            "loss": {"name": "biggan-hinge"},
            "growth": {"name": "fixed", "args": {"batch_size": 64, "lr": 0.0002}},
        }
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=resolution,
            img_channels=len(tensors["output_layer.2.weight"]),
            c_dim=len(gain if shared is None else shared),
            notes=["standing statistics are the running ones of the file"],
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, tensors = self._network(weights)
        counters = (".sv0", ".accumulation_counter", ".num_batches_tracked")
        return dict(our_tensor(name, x) for name, x in tensors.items() if not name.endswith(counters))


def _stripped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what torch's DataParallel puts before names."""
    return {name.removeprefix("module."): x for name, x in tensors.items()}


def our_tensor(name: str, x: Tensor) -> tuple[str, Tensor]:
    """Theirs numbers blocks, and attention is a part of one; ours have the resolution that they end at."""
    for theirs, ours in RENAMED.items():
        name = name.replace(theirs, ours)
    if block := re.match(r"blocks\.(\d+)\.([01])\.", name):
        part = "attention" if block[2] == "1" else "blocks"
        name = f"{part}.{8 << int(block[1])}.{name[block.end() :]}"
    return name, x.flatten() if name.endswith(".u") else x
