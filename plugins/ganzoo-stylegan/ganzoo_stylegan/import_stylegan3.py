"""StyleGAN3's generator as its authors store it. Names are theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, ImportedModel

from .alias_free import signals_for
from .import_stylegan2 import NVIDIA, half_precision

# Arguments of the authors' generator that ours has by the same name, and what they are where a file does not say.
SIGNALS = {
    "channel_base": 32768,
    "channel_max": 512,
    "num_layers": 14,
    "num_critical": 2,
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
}
OTHERS = {"filter_size": 6, "lrelu_upsampling": 2, "output_scale": 0.25, "conv_clamp": 256}
DECAYS = {"magnitude_ema_beta": 0.999, "w_avg_beta": 0.998}
FLOATS = {"first_cutoff", "first_stopband", "last_stopband_rel", "output_scale", "conv_clamp", *DECAYS}
INPUT = ("affine.weight", "affine.bias", "weight", "freqs", "phases", "transform")


class TorchImporter(ganzoo.Importer):
    """NVlabs/stylegan3: a pickle of G, D and G_ema, which is taken."""

    title: ClassVar[str] = "StyleGAN3 of its authors, PyTorch .pkl"

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*NVIDIA)
        return found is not None and {"synthesis.input.freqs", "mapping.fc0.weight"} <= found[1].tensors.keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork, list[tuple[int, int, int]]]:
        """Name, network, and (number, size, channels) of its layers, which their names tell."""
        found = weights.first(*NVIDIA)
        assert found is not None  # by recognises
        name, network = found
        names = [re.fullmatch(r"synthesis\.L(\d+)_(\d+)_(\d+)\.weight", key) for key in network.tensors]
        return name, network, sorted((int(m[1]), int(m[2]), int(m[3])) for m in names if m)

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network, layers = self._network(weights)
        tensors, args = network.tensors, network.args
        *inner, (_, resolution, img_channels) = layers
        number, size, channels = inner[0]
        kernel = tensors[f"synthesis.L{number}_{size}_{channels}.weight"].shape[2]
        radial = bool(args.get("use_radial_filters", kernel == 1))
        if (kernel, radial) not in ((3, False), (1, True)):
            raise ValueError(
                f"its {kernel}x{kernel} convolutions with filters that are {'radial' if radial else 'separable'} are "
                "neither StyleGAN3-T nor -R, which can be imported"
            )
        own = {**SIGNALS, **OTHERS, **DECAYS}
        own |= {key: args[key] for key in own if key in args}
        own["num_layers"] = len(inner)
        self._check_signals(resolution, own, inner)
        embed = tensors.get("mapping.embed.weight")
        denses = len([key for key in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", key)])
        w_dim = len(tensors[f"mapping.fc{denses - 1}.weight"])
        settings = {key: float(x) if key in FLOATS and x is not None else x for key, x in own.items()}
        maps = {key: settings[key] for key in ("channel_base", "channel_max")}
        generator = {
            **settings,
            "config": "r" if radial else "t",
            "z_dim": tensors["mapping.fc0.weight"].shape[1] - (0 if embed is None else w_dim),
            "w_dim": w_dim,
            "mapping_layers": denses,
            "mapping_lr": float(network.attributes.get("mapping.fc0.bias_gain", 0.01)),
        }
        recipe: dict[str, Any] = {
            "generator": {"name": "stylegan3", "args": generator},
            "discriminator": {"name": "stylegan2", "args": maps},
            "loss": {"name": "non-saturating"},
            "regularizers": [{"name": "r1", "args": {"gamma": "auto", "every": 16}}],
            "growth": {"name": "fixed", "args": {"batch_size": 32, "lr": 0.0025}},
        }
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=resolution,
            img_channels=img_channels,
            c_dim=0 if embed is None else embed.shape[1],
            notes=[
                *half_precision(args.get("num_fp16_res", network.attributes.get("synthesis.num_fp16_res"))),
                *([] if args else ["the file does not say how the network was made: the usual bands were assumed"]),
            ],
        )

    def _check_signals(self, resolution: int, own: Mapping[str, Any], inner: list[tuple[int, int, int]]) -> None:
        ours = signals_for(resolution, **{key: own[key] for key in SIGNALS})
        for signal, (number, size, channels) in zip(ours, inner, strict=True):
            if (signal.size, signal.channels) != (size, channels):
                raise ValueError(
                    f"its layer {number} makes {channels} maps of {size} px, and by its arguments it would make "
                    f"{signal.channels} of {signal.size} px"
                )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network, layers = self._network(weights)
        # Filters are made from the arguments, here as there.
        kept = {name: x for name, x in network.tensors.items() if not name.endswith("_filter")}
        return {torch_name(name, len(layers) - 1): x for name, x in kept.items()}


def torch_name(name: str, num_layers: int) -> str:
    if name == "mapping.w_avg":
        return "w_avg"
    if dense := re.fullmatch(r"mapping\.(fc(\d+)|embed)\.(\w+)", name):
        return f"mapping_network.{'embed' if dense[2] is None else 'layers.' + dense[2]}.{dense[3]}"
    if (inner := re.fullmatch(r"synthesis\.input\.(.+)", name)) and inner[1] in INPUT:
        return f"input.{inner[1]}"
    match = re.fullmatch(r"synthesis\.L(\d+)_\d+_\d+\.(.+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN3's generator")
    return f"to_rgb.{match[2]}" if int(match[1]) == num_layers else f"layers.{match[1]}.conv.{match[2]}"
