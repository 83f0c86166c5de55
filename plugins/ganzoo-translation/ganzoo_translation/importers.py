"""Generators of junyanz/pytorch-CycleGAN-and-pix2pix as it stores them, a file each. Names are theirs.

Both networks are fully convolutional, so that their files do not say for what size of images they were trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import ForeignWeights, ImportedModel

ImgSize = Annotated[int, Field(ge=8, description="size of the images that it was trained with, a power of two")]
FIRST_BLOCK = 10  # of a residual network


def is_resnet(tensors: Mapping[str, Tensor]) -> bool:
    return {"model.1.weight", "model.4.weight", "model.7.weight", "model.10.conv_block.1.weight"} <= tensors.keys()


def is_unet(tensors: Mapping[str, Tensor]) -> bool:
    return {"model.model.0.weight", "model.model.3.weight", "model.model.1.model.1.weight"} <= tensors.keys()


def body_args(tensors: Mapping[str, Tensor], img_size: int) -> tuple[dict[str, Any], int, int]:
    """Arguments of the network, channels of its input and of its output."""
    if is_unet(tensors):
        downs = 1 + max(name.count(".model") - 1 for name in tensors)
        if img_size % 2**downs:
            raise ValueError(
                f"its U-Net halves images {downs} times, which {img_size} px cannot be: give --set img_size={2**downs} "
                "or a multiple"
            )
        first, last = tensors["model.model.0.weight"], tensors["model.model.3.weight"]
        args = {"network": "unet", "ngf": len(first), "num_downs": downs, "norm": norm_of(tensors)}
        return args, first.shape[1], last.shape[1]
    blocks = len([name for name in tensors if re.fullmatch(r"model\.\d+\.conv_block\.1\.weight", name)])
    first, last = tensors["model.1.weight"], tensors[f"model.{FIRST_BLOCK + blocks + 7}.weight"]
    args = {"network": "resnet", "ngf": len(first), "n_blocks": blocks, "norm": norm_of(tensors)}
    return args, first.shape[1], len(last)


def norm_of(tensors: Mapping[str, Tensor]) -> str:
    """Only batch norm has gains. Without norm altogether, there is nothing to tell it from instance norm by."""
    return "batch" if any(name.endswith(".weight") and x.ndim == 1 for name, x in tensors.items()) else "instance"


def body_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a generator under the names of our ResNet or UNet."""
    if norm_of(tensors) == "instance":  # until 2018 stored with running statistics, which it does not use
        running = ("running_mean", "running_var", "num_batches_tracked")
        tensors = {name: x for name, x in tensors.items() if not name.endswith(running)}
    else:  # torch before 0.4.1 did not count batches
        means = [name for name in tensors if name.endswith("running_mean")]
        counts = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
        tensors = {**counts, **tensors}
    if is_unet(tensors):
        depth = max(name.count(".model") - 1 for name in tensors)
        return {unet_name(name, depth): x for name, x in tensors.items()}
    blocks = len([name for name in tensors if re.fullmatch(r"model\.\d+\.conv_block\.1\.weight", name)])
    dropout = any(".conv_block.6." in name and x.ndim == 4 for name, x in tensors.items())
    return {resnet_name(name, blocks, dropout): x for name, x in tensors.items()}


def resnet_name(name: str, blocks: int, dropout: bool = False) -> str:
    """model.1.weight and so on: layers, norms, activations and padding are numbered in order of execution."""
    match = re.fullmatch(r"model\.(\d+)\.(.+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of a residual network")
    number, rest = int(match[1]), match[2]
    if FIRST_BLOCK <= number < FIRST_BLOCK + blocks:
        inner = re.fullmatch(r"conv_block\.(\d)\.(\w+)", rest)
        second = 6 if dropout else 5
        layers = {1: "convs.0", 2: "norms.0", second: "convs.1", second + 1: "norms.1"}
        if inner is None or int(inner[1]) not in layers:
            raise ValueError(f"its tensor {name!r} is none of a residual block")
        return f"blocks.{number - FIRST_BLOCK}.{layers[int(inner[1])]}.{inner[2]}"
    layers = {1: "first", 2: "first_norm", 4: "down.0", 5: "down_norm.0", 7: "down.1", 8: "down_norm.1"}
    layers |= {10: "up.0", 11: "up_norm.0", 13: "up.1", 14: "up_norm.1", 17: "last"}
    number -= blocks if number >= FIRST_BLOCK else 0
    if number not in layers:
        raise ValueError(f"its tensor {name!r} is none of a residual network")
    return f"{layers[number]}.{rest}"


def unet_name(name: str, innermost: int) -> str:
    """Blocks within blocks: model.model, then .1.model for the second and .3.model for each further one."""
    match = re.fullmatch(r"model\.model((?:\.[13]\.model)*)\.(\d)\.(\w+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of a U-Net")
    depth = match[1].count("model")
    layers = {1: "down", 2: "down_norm", 5: "up", 6: "up_norm"}
    if depth == 0:
        layers = {0: "down", 3: "up"}
    elif depth == innermost:
        layers = {1: "down", 3: "up", 4: "up_norm"}
    if int(match[2]) not in layers:
        raise ValueError(f"its tensor {name!r} is none of a U-Net")
    return f"{layers[int(match[2])]}.{depth}.{match[3]}"


def _bodies(weights: ForeignWeights) -> list[str]:
    return [name for name, n in weights.networks.items() if is_resnet(n.tensors) or is_unet(n.tensors)]


GROWTH = {"name": "fixed", "args": {"batch_size": 1, "lr": 0.0002}}


class CycleGANImporter(ganzoo.Importer):
    """Two files, ``latest_net_G_A.pth`` (a to b) and ``latest_net_G_B.pth`` (b to a), in this order."""

    title: ClassVar[str] = "CycleGAN of junyanz, G_A.pth and G_B.pth"
    files: ClassVar[int] = 2

    def __init__(self, *, img_size: ImgSize = 256) -> None:
        self.img_size = img_size

    def recognises(self, weights: ForeignWeights) -> bool:
        return len(_bodies(weights)) == 2

    def model(self, weights: ForeignWeights) -> ImportedModel:
        a, b = (weights.networks[name].tensors for name in _bodies(weights))
        args, in_channels, img_channels = body_args(a, self.img_size)
        back, back_in, back_out = body_args(b, self.img_size)
        if (back, back_in, back_out) != (args, img_channels, in_channels):
            raise ValueError(f"its two generators are no pair: {args} and {back}")
        maps = {"ndf": args["ngf"], "norm": args["norm"]}
        recipe = {
            "inputs": {"kind": "unpaired"},
            "generator": {"name": "cyclegan", "args": args},
            "discriminator": {"name": "cyclegan", "args": maps},
            "loss": {"name": "cyclegan"},
            "growth": GROWTH,
            "optimizer": {"args": {"betas": [0.5, 0.999]}},
        }
        return ImportedModel(
            networks=_bodies(weights),
            recipe=recipe,
            img_resolution=self.img_size,
            img_channels=img_channels,
            in_channels=in_channels,
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for side, name in zip(("G_ab", "G_ba"), _bodies(weights), strict=True):
            state |= {f"{side}.{key}": x for key, x in body_state(weights.networks[name].tensors).items()}
        return state


class SingleImporter(ganzoo.Importer):
    """One file, ``latest_net_G.pth``: pix2pix, or one direction of CycleGAN. It becomes a generator `pix2pix`."""

    title: ClassVar[str] = "pix2pix of junyanz, or one direction of CycleGAN .pth"

    def __init__(
        self,
        *,
        img_size: ImgSize = 256,
        dropout: Annotated[bool, Field(description="to train on with dropout, as pix2pix does")] = False,
    ) -> None:
        self.img_size = img_size
        self.dropout = dropout

    def recognises(self, weights: ForeignWeights) -> bool:
        return len(_bodies(weights)) == 1

    def model(self, weights: ForeignWeights) -> ImportedModel:
        (name,) = _bodies(weights)
        args, in_channels, img_channels = body_args(weights.networks[name].tensors, self.img_size)
        unet = args["network"] == "unet"
        recipe = {
            "inputs": {"kind": "side-by-side"},
            "generator": {"name": "pix2pix", "args": {**args, "dropout": self.dropout}},
            "discriminator": {"name": "patchgan", "args": {"ndf": args["ngf"]}},
            "loss": {"name": "pix2pix"},
            "growth": GROWTH,
            "optimizer": {"args": {"betas": [0.5, 0.999]}},
        }
        note = "the original uses dropout when it translates, too, so that its images differ from one another by chance"
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=self.img_size,
            img_channels=img_channels,
            in_channels=in_channels,
            notes=[note] if unet else [],
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        (name,) = _bodies(weights)
        return {f"body.{key}": x for key, x in body_state(weights.networks[name].tensors).items()}
