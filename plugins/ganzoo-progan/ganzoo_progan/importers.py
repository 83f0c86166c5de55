"""ProGAN's generator as others have stored it: the authors' TensorFlow, genforce, pytorch_GAN_zoo.

Names and layouts are theirs. All compute the same function up to rounding, as the tests show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, ImportedModel

Fused = Annotated[
    bool | None,
    Field(description="whether upsampling was fused with the convolution (fused_scale); null: as shapes tell, or not"),
]


def fit_rule(widths: Mapping[int, int], scale: float = 1.0) -> tuple[int, int] | None:
    """(base, most) such that min(base // (resolution * scale), most) gives ``widths`` by resolution; None: no such.

    Of all bases a power of two, if one of them is.
    """
    most = max(widths.values())
    low, high = 1, 1 << 40
    for resolution, width in widths.items():
        unit = int(resolution * scale)
        low = max(low, width * unit)
        if width < most:
            high = min(high, (width + 1) * unit - 1)
    if low > high:
        return None
    power = 1 << (low - 1).bit_length()
    return (power if power <= high and high < 1 << 40 else low), most


def width_args(widths: Mapping[int, int]) -> dict[str, Any]:
    """Arguments of the generator and of a discriminator like it for feature maps by resolution."""
    rule = fit_rule(widths, 0.5)
    return {"fmaps": list(widths.values())} if rule is None else {"fmap_base": rule[0], "fmap_max": rule[1]}


def progan_recipe(widths: Mapping[int, int], z_dim: int, **args: Any) -> dict[str, Any]:
    """Sections of a recipe with a generator of these feature maps by resolution, and what is used to train it."""
    maps = width_args(widths)
    d_maps = {"fmap_max": max(widths.values())} if "fmaps" in maps else maps
    return {
        "generator": {"name": "progan", "args": {"z_dim": z_dim, **maps, **args}},
        "discriminator": {"name": "progan", "args": d_maps},
        "loss": {"name": "wgan-gp"},
        "growth": {"name": "fade", "args": {"stable_kimg": 600, "fade_kimg": 600, "batch_size": 16}},
    }


def stage(lod: float, img_resolution: int) -> dict[str, Any]:
    """Where growing stands at a level of detail that counts from the final resolution."""
    if not 0 <= lod <= math.log2(img_resolution) - 2:
        raise ValueError(f"its lod is {lod}, and should be from 0 to {math.log2(img_resolution) - 2:g}")
    return {"resolution": img_resolution >> math.floor(lod), "alpha": 1 - lod % 1}


def scalar(network: ForeignNetwork, name: str, default: float) -> float:
    """A number that is stored as a tensor or as an attribute."""
    if name in network.tensors:
        return float(network.tensors[name])
    return float(network.attributes.get(name, default))


def refuse_settings(settings: Mapping[str, Any], usual: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise ValueError if one of ``settings`` is not one of the usual values, which alone our network has."""
    for name, values in usual.items():
        if name in settings and settings[name] not in values:
            raise ValueError(
                f"it was made with {name}={settings[name]!r}, which is another function; with "
                f"{name}={values[0]!r} it can be imported"
            )


TF_LAYERS = {"Conv0_up": "conv0", "Conv0": "conv0", "Conv1": "conv1", "Conv": "conv", "Dense": "dense"}


class TFImporter(ganzoo.Importer):
    """tkarras/progressive_growing_of_gans: a pickle of (G, D, Gs). Gs, the moving average, is taken."""

    title: ClassVar[str] = "ProGAN of its authors, TensorFlow .pkl"

    def recognises(self, weights: ForeignWeights) -> bool:
        return bool(self._networks(weights))

    def _networks(self, weights: ForeignWeights) -> dict[str, ForeignNetwork]:
        wanted = {"4x4/Dense/weight", "ToRGB_lod0/weight", "4x4/Conv/weight"}
        return {name: n for name, n in weights.networks.items() if n.kind == "tf" and wanted <= n.tensors.keys()}

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork]:
        return list(self._networks(weights).items())[-1]  # Gs is the last

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network = self._network(weights)
        tensors, args = network.tensors, network.args
        refuse_settings(
            args,
            {
                "use_wscale": (True,),
                "use_pixelnorm": (True,),
                "pixelnorm_epsilon": (1e-8,),
                "use_leakyrelu": (True,),
                "tanh_at_end": (None, False),
            },
        )
        lods = [int(match[1]) for key in tensors if (match := re.fullmatch(r"ToRGB_lod(\d+)/weight", key))]
        resolution = 4 << max(lods)
        widths = {resolution >> lod: tensors[f"ToRGB_lod{lod}/weight"].shape[2] for lod in sorted(lods, reverse=True)}
        c_dim = int(args.get("label_size") or 0)
        z_dim = tensors["4x4/Dense/weight"].shape[0] - c_dim
        normalize = bool(args.get("normalize_latents", True))
        return ImportedModel(
            networks=[name],
            recipe=progan_recipe(widths, z_dim, normalize_latents=normalize),
            img_resolution=resolution,
            img_channels=tensors["ToRGB_lod0/weight"].shape[3],
            c_dim=c_dim,
            **stage(scalar(network, "lod", 0.0), resolution),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network = self._network(weights)
        resolution = 4 << max(int(key[9:-7]) for key in network.tensors if re.fullmatch(r"ToRGB_lod\d+/weight", key))
        return dict(
            tf_tensor(name, x, resolution) for name, x in network.tensors.items() if re.search(r"/(weight|bias)$", name)
        )


def tf_tensor(name: str, x: Tensor, resolution: int) -> tuple[str, Tensor]:
    """A tensor of the authors' code under our name and in our layout: convolutions are [kh, kw, in, out] there."""
    if rgb := re.fullmatch(r"ToRGB_lod(\d+)/(\w+)", name):
        ours = f"to_rgb.{resolution >> int(rgb[1])}.{rgb[2]}"
    else:
        match = re.fullmatch(r"(\d+)x\d+/(\w+)/(\w+)", name)
        if match is None or match[2] not in TF_LAYERS:
            raise ValueError(f"its tensor {name!r} is none of ProGAN's generator")
        if name == "4x4/Dense/bias":
            return "blocks.4.bias", x
        ours = f"blocks.{match[1]}.{TF_LAYERS[match[2]]}.{match[3]}"
    if name.endswith("Conv0_up/weight"):  # a transposed convolution: [kh, kw, out, in], spatially flipped
        return ours, x.flip(0, 1).permute(2, 3, 0, 1)
    if x.ndim == 4:
        return ours, x.permute(3, 2, 0, 1)
    return ours, x.T if x.ndim == 2 else x


def conv_to_dense(x: Tensor) -> Tensor:
    """genforce's first layer, a 4x4 convolution of a 1x1 map with itself padded: the dense layer, spatially flipped."""
    return x.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)


GENFORCE = ("generator_smooth", "generator", "")  # moving average first


class GenforceImporter(ganzoo.Importer):
    """genforce/genforce: ``pggan_*.pth``, or a checkpoint of its training."""

    title: ClassVar[str] = "ProGAN of genforce .pth"

    def __init__(self, *, fused: Fused = None) -> None:
        self.fused = fused

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*GENFORCE)
        return found is not None and {"layer0.weight", "layer1.weight", "output0.weight"} <= found[1].tensors.keys()

    def _tensors(self, weights: ForeignWeights) -> tuple[str, Mapping[str, Tensor], bool]:
        found = weights.first(*GENFORCE)
        assert found is not None  # by recognises
        name, network = found
        fused = self.fused
        if fused is None:  # then the weights of layers that upsample are [in, out, kh, kw]
            ups = [key for key in network.tensors if (m := re.fullmatch(r"layer(\d+)\.bias", key)) and int(m[1]) >= 2]
            ups = [key for key in ups if int(key[5:-5]) % 2 == 0]
            shapes = [(network.tensors[key[:-4] + "weight"].shape, len(network.tensors[key])) for key in ups]
            fused = any(shape[0] != width for shape, width in shapes)
        return name, network.tensors, fused

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, tensors, _ = self._tensors(weights)
        count = sum(bool(re.fullmatch(r"output\d+\.weight", key)) for key in tensors)
        resolution = 4 << (count - 1)
        widths = {4 << i: tensors[f"output{i}.weight"].shape[1] for i in range(count)}
        return ImportedModel(
            networks=[name],
            recipe=progan_recipe(widths, tensors["layer0.weight"].shape[1]),
            img_resolution=resolution,
            img_channels=len(tensors["output0.weight"]),
            **stage(float(tensors["lod"]) if "lod" in tensors else 0.0, resolution),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, tensors, fused = self._tensors(weights)
        return dict(genforce_tensor(name, x, fused) for name, x in tensors.items() if name != "lod")


def genforce_tensor(name: str, x: Tensor, fused: bool) -> tuple[str, Tensor]:
    """A tensor of genforce, whose layers are numbered in order of execution, under our name and in our layout."""
    match = re.fullmatch(r"(layer|output)(\d+)\.(weight|bias)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of ProGAN's generator")
    group, number, kind = match[1], int(match[2]), match[3]
    if group == "output":
        return f"to_rgb.{4 << number}.{kind}", x
    if number == 0:
        return ("blocks.4.bias", x) if kind == "bias" else ("blocks.4.dense.weight", conv_to_dense(x))
    if number == 1:
        return f"blocks.4.conv.{kind}", x
    if fused and number % 2 == 0 and kind == "weight":  # a transposed convolution: [in, out, kh, kw], flipped
        x = x.permute(1, 0, 2, 3).flip(2, 3)
    return f"blocks.{4 << number // 2}.conv{number % 2}.{kind}", x


class GANZooImporter(ganzoo.Importer):
    """facebookresearch/pytorch_GAN_zoo: a checkpoint of its ProGAN. avgG, the moving average, is taken.

    There every layer computes (W x + b) * sqrt(2 / fan_in): the bias is scaled, too, and the gain is the same in the
    first and the last layer, so that those weights are stored as other multiples here.
    """

    title: ClassVar[str] = "ProGAN of pytorch_GAN_zoo .pth"

    def recognises(self, weights: ForeignWeights) -> bool:
        found = self._network(weights)
        return found is not None and {"formatLayer.module.weight", "groupScale0.0.module.weight"} <= found[1].keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, dict[str, Tensor]] | None:
        found = weights.first("avgG", "netG", "")
        if found is None:
            return None
        name, network = found
        prefix = "module."  # of torch's DataParallel
        return name, {key.removeprefix(prefix): x for key, x in network.tensors.items()}

    def _tensors(self, weights: ForeignWeights) -> tuple[str, dict[str, Tensor]]:
        found = self._network(weights)
        assert found is not None  # by recognises
        return found

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, tensors = self._tensors(weights)
        config = {key[7:]: value for key, value in weights.values.items() if key.startswith("config/")}
        usual = {"leakyReluLeak": (0.2,), "perChannelNormalization": (True,), "equalizedlR": (True,)}
        refuse_settings(config, {**usual, "lossCriterion": ("WGANGP", "Logistic")})  # others end G in tanh
        count = sum(bool(re.fullmatch(r"toRGBLayers\.\d+\.module\.weight", key)) for key in tensors)
        widths = {4 << i: tensors[f"toRGBLayers.{i}.module.weight"].shape[1] for i in range(count)}
        in_features = tensors["formatLayer.module.weight"].shape[1]
        c_dim = int(config.get("categoryVectorDim") or 0)
        old = float(config.get("alpha") or 0.0)
        if not 0 <= old <= 1:
            raise ValueError(f"its alpha is {old}, and should be from 0 to 1")
        return ImportedModel(
            networks=[name],
            recipe=progan_recipe(widths, in_features - c_dim, pixel_bias=True),
            img_resolution=4 << (count - 1),
            img_channels=len(tensors["toRGBLayers.0.module.weight"]),
            c_dim=c_dim,
            alpha=1 - old if count > 1 else 1.0,
            notes=["labels are one-hot vectors of all attributes together, as there"] if c_dim else [],
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, tensors = self._tensors(weights)
        return dict(ganzoo_tensor(name, x, tensors) for name, x in tensors.items())


def ganzoo_tensor(name: str, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[str, Tensor]:
    """A tensor of pytorch_GAN_zoo under our name, with our gain, and biases as they are added."""
    layer, kind = name.rsplit(".module.", 1)
    scaled = x * math.sqrt(2 / tensors[f"{layer}.module.weight"][0].numel()) if kind == "bias" else x
    if layer == "formatLayer":
        channels = len(tensors["groupScale0.0.module.weight"])
        return ("blocks.4.bias", scaled.reshape(channels, 4, 4)) if kind == "bias" else ("blocks.4.dense.weight", x * 4)
    if layer == "groupScale0.0":
        return f"blocks.4.conv.{kind}", scaled
    if rgb := re.fullmatch(r"toRGBLayers\.(\d+)", layer):
        return f"to_rgb.{4 << int(rgb[1])}.{kind}", scaled if kind == "bias" else x * math.sqrt(2)
    if conv := re.fullmatch(r"scaleLayers\.(\d+)\.([01])", layer):
        return f"blocks.{8 << int(conv[1])}.conv{conv[2]}.{kind}", scaled
    raise ValueError(f"its tensor {name!r} is none of ProGAN's generator")
