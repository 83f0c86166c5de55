"""StyleGAN's generator as others have stored it: the authors' TensorFlow and genforce. Names and layouts are theirs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, ImportedModel
from ganzoo_progan.importers import GENFORCE, conv_to_dense, fit_rule, refuse_settings, scalar, stage

from .layers import MappingLr

Fused = Annotated[
    bool | None,
    Field(
        description="whether upsampling was fused with the convolution (fused_scale); null: from 128 px on, as usual"
    ),
]
FUSED_FROM = 128  # px, of fused_scale "auto"


def rule_for(widths: Mapping[int, int], scale: float) -> tuple[int, int]:
    """``fit_rule``; raises ValueError where feature maps follow none."""
    rule = fit_rule(widths, scale)
    if rule is None:
        raise ValueError(f"its feature maps, {dict(widths)} by resolution, do not halve with the resolution as ours do")
    return rule


def stylegan_recipe(widths: Mapping[int, int], **args: Any) -> dict[str, Any]:
    base, most = rule_for(widths, 0.5)
    maps = {"fmap_base": base, "fmap_max": most}
    start = min(8, max(widths))
    fade = {"stable_kimg": 600, "fade_kimg": 600, "batch_size": 16, "start_resolution": start}
    return {
        "generator": {"name": "stylegan", "args": {**maps, **args}},
        "discriminator": {"name": "stylegan", "args": maps},
        "loss": {"name": "non-saturating"},
        "regularizers": [{"name": "r1", "args": {"gamma": 10.0}}],
        "growth": {"name": "fade", "args": fade},
    }


def fused_from(fused: bool | str | None) -> float:
    """The resolution from which kernels of layers that upsample are stored flipped."""
    if isinstance(fused, bool):
        return 0 if fused else math.inf
    return FUSED_FROM


TF_LAYERS = {"Const": 0, "Dense": 0, "Conv": 1, "Conv0_up": 0, "Conv1": 1}  # place in its block
EPILOGUE = {
    "Noise/weight": "noise.strength",
    "StyleMod/weight": "style.affine.weight",
    "StyleMod/bias": "style.affine.bias",
}


class TFImporter(ganzoo.Importer):
    """NVlabs/stylegan: a pickle of (G, D, Gs). Gs, the moving average, is taken."""

    title: ClassVar[str] = "StyleGAN of its authors, TensorFlow .pkl"

    def recognises(self, weights: ForeignWeights) -> bool:
        return bool(self._networks(weights))

    def _networks(self, weights: ForeignWeights) -> dict[str, ForeignNetwork]:
        wanted = {"synthesis/ToRGB_lod0/weight", "synthesis/4x4/Conv/weight", "mapping/Dense0/weight"}
        return {name: n for name, n in weights.networks.items() if n.kind == "tf" and wanted <= n.tensors.keys()}

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork, int]:
        name, network = list(self._networks(weights).items())[-1]  # Gs is the last
        lods = [int(m[1]) for key in network.tensors if (m := re.fullmatch(r"synthesis/ToRGB_lod(\d+)/weight", key))]
        return name, network, 4 << max(lods)

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network, resolution = self._network(weights)
        tensors, args = network.tensors, network.args
        refuse_settings(
            args,
            {
                "use_wscale": (True,),
                "use_pixel_norm": (False,),
                "use_instance_norm": (True,),
                "normalize_latents": (True,),
                "nonlinearity": ("lrelu",),
                "mapping_nonlinearity": ("lrelu",),
            },
        )
        rgb = {
            resolution >> lod: tensors[f"synthesis/ToRGB_lod{lod}/weight"]
            for lod in range(20)
            if resolution >> lod >= 4
        }
        label = tensors.get("mapping/LabelConcat/weight")
        denses = _count(tensors, r"mapping/Dense\d+/weight")
        use_styles = "synthesis/4x4/Conv/StyleMod/weight" in tensors
        first = tensors["mapping/Dense0/weight"]
        recipe = stylegan_recipe(
            {r: x.shape[2] for r, x in sorted(rgb.items())},
            z_dim=len(first) if label is None else label.shape[1],
            w_dim=tensors[f"mapping/Dense{denses - 1}/weight"].shape[1],
            mapping_layers=denses,
            mapping_fmaps=first.shape[1],
            mapping_lr=float(args.get("mapping_lrmul", 0.01)),
            const_input="synthesis/4x4/Const/const" in tensors,
            use_noise="synthesis/4x4/Conv/Noise/weight" in tensors,
            use_styles=use_styles,
            mixing_prob=0.9 if use_styles else 0.0,
            blur=_blur(args.get("blur_filter", [1, 2, 1])),
        )
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=resolution,
            img_channels=rgb[resolution].shape[3],
            c_dim=0 if label is None else len(label),
            **stage(scalar(network, "synthesis/lod", scalar(network, "lod", 0.0)), resolution),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network, _ = self._network(weights)
        flipped_from = fused_from(network.args.get("fused_scale"))
        tensors = {key: x for key, x in network.tensors.items() if not key.endswith("lod")}
        return dict(tf_tensor(name, x, network, flipped_from) for name, x in tensors.items())


def _blur(blur_filter: Any) -> bool:
    if blur_filter not in ([1, 2, 1], None):
        raise ValueError(f"it was made with blur_filter={blur_filter!r}; with [1, 2, 1] or none it can be imported")
    return blur_filter is not None


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, key)) for key in tensors)


def tf_tensor(name: str, x: Tensor, network: ForeignNetwork, flipped_from: float) -> tuple[str, Tensor]:
    """A tensor of the authors' code under our name and in our layout: [kh, kw, in, out] and [in, out] there."""
    if name == "dlatent_avg":
        return "w_avg", x
    if name == "mapping/LabelConcat/weight":
        return "mapping_network.label_weight", x
    if dense := re.fullmatch(r"mapping/Dense(\d+)/(\w+)", name):
        return f"mapping_network.layers.{dense[1]}.{dense[2]}", x.T if x.ndim == 2 else x
    if noise := re.fullmatch(r"synthesis/noise(\d+)", name):
        return f"blocks.{4 << int(noise[1]) // 2}.epilogue{int(noise[1]) % 2}.noise.const", x
    if rgb := re.fullmatch(r"synthesis/ToRGB_lod(\d+)/(\w+)", name):
        lods = _count(network.tensors, r"synthesis/ToRGB_lod\d+/weight")
        return f"to_rgb.{4 << lods - 1 - int(rgb[1])}.{rgb[2]}", x.permute(3, 2, 0, 1) if x.ndim == 4 else x
    match = re.fullmatch(r"synthesis/(\d+)x\d+/(\w+)/([\w/]+)", name)
    if match is None or match[2] not in TF_LAYERS:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN's generator")
    resolution, layer, kind = int(match[1]), match[2], match[3]
    if kind in EPILOGUE:
        return f"blocks.{resolution}.epilogue{TF_LAYERS[layer]}.{EPILOGUE[kind]}", x.T if x.ndim == 2 else x
    if layer in ("Const", "Dense"):
        ours = {"const": "const", "weight": "dense.weight", "bias": "bias"}[kind]
        return f"blocks.4.{ours}", x.T if x.ndim == 2 else x
    x = x.permute(3, 2, 0, 1) if x.ndim == 4 else x
    if layer == "Conv0_up" and kind == "weight" and resolution >= flipped_from:  # a transposed convolution's kernel
        x = x.flip(2, 3)
    return f"blocks.{resolution}.conv{'' if resolution == 4 else TF_LAYERS[layer]}.{kind}", x


GENFORCE_EPILOGUE = {
    "apply_noise.weight": "noise.strength",
    "apply_noise.noise": "noise.const",
    "style.weight": "style.affine.weight",
    "style.bias": "style.affine.bias",
}


class GenforceImporter(ganzoo.Importer):
    """genforce/genforce: ``stylegan_*.pth``, or a checkpoint of its training."""

    title: ClassVar[str] = "StyleGAN of genforce .pth"

    def __init__(
        self,
        *,
        fused: Fused = None,
        mapping_lr: MappingLr = 0.01,
    ) -> None:
        self.fused = fused
        self.mapping_lr = mapping_lr

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*GENFORCE)
        wanted = {"mapping.dense0.weight", "synthesis.layer1.apply_noise.weight", "synthesis.output0.weight"}
        return found is not None and wanted <= found[1].tensors.keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork]:
        found = weights.first(*GENFORCE)
        assert found is not None  # by recognises
        return found

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network = self._network(weights)
        tensors = network.tensors
        count = _count(tensors, r"synthesis\.output\d+\.weight")
        denses = _count(tensors, r"mapping\.dense\d+\.weight")
        label = tensors.get("mapping.label_weight")
        first = tensors["mapping.dense0.weight"]
        recipe = stylegan_recipe(
            {4 << i: tensors[f"synthesis.output{i}.weight"].shape[1] for i in range(count)},
            z_dim=first.shape[1] if label is None else label.shape[1],
            w_dim=len(tensors[f"mapping.dense{denses - 1}.weight"]),
            mapping_layers=denses,
            mapping_fmaps=len(first),
            mapping_lr=self.mapping_lr,
            const_input="synthesis.layer0.const" in tensors,
        )
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=4 << count - 1,
            img_channels=len(tensors["synthesis.output0.weight"]),
            c_dim=0 if label is None else len(label),
            **stage(float(tensors["synthesis.lod"]) if "synthesis.lod" in tensors else 0.0, 4 << count - 1),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network = self._network(weights)
        flipped_from = fused_from(self.fused)
        tensors = {key: x for key, x in network.tensors.items() if not key.endswith((".lod", "blur.kernel"))}
        return dict(genforce_tensor(name, x, flipped_from) for name, x in tensors.items())


def genforce_tensor(name: str, x: Tensor, flipped_from: float) -> tuple[str, Tensor]:
    """A tensor of genforce, whose layers are numbered in order of execution, under our name and in our layout."""
    if name == "truncation.w_avg":
        return "w_avg", x
    if name == "mapping.label_weight":
        return "mapping_network.label_weight", x
    if dense := re.fullmatch(r"mapping\.dense(\d+)\.(\w+)", name):
        return f"mapping_network.layers.{dense[1]}.{dense[2]}", x
    if rgb := re.fullmatch(r"synthesis\.output(\d+)\.(\w+)", name):
        return f"to_rgb.{4 << int(rgb[1])}.{rgb[2]}", x
    match = re.fullmatch(r"synthesis\.layer(\d+)\.([\w.]+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN's generator")
    number, kind = int(match[1]), match[2]
    block, nth = 4 << number // 2, number % 2
    if kind in GENFORCE_EPILOGUE:
        return f"blocks.{block}.epilogue{nth}.{GENFORCE_EPILOGUE[kind]}", x
    if number == 0:
        return ("blocks.4.dense.weight", conv_to_dense(x)) if kind == "weight" else (f"blocks.4.{kind}", x)
    if block == 4:
        return f"blocks.4.conv.{kind}", x
    if nth == 0 and kind == "weight" and block >= flipped_from:  # a transposed convolution's kernel
        x = x.flip(2, 3)
    return f"blocks.{block}.conv{nth}.{kind}", x


class GANZooImporter(ganzoo.Importer):
    """facebookresearch/pytorch_GAN_zoo's StyleGAN, which is told from others to be refused."""

    title: ClassVar[str] = "StyleGAN of pytorch_GAN_zoo: another function, refused with the reason"

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first("avgG", "netG", "")
        return found is not None and {"baseScale0", "mapping.FC.0.module.weight"} <= found[1].tensors.keys()

    def model(self, weights: ForeignWeights) -> ImportedModel:
        raise ValueError(
            "it is another function than StyleGAN: no blur, no image at 4 px, styles without the added 1, one noise "
            "strength a layer. Import the authors' network, or genforce's, instead"
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        raise ValueError("it is another function than StyleGAN")
