"""StyleGAN2's generator as others have stored it: NVIDIA's PyTorch and TensorFlow, rosinality. Names are theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

import ganzoo
from ganzoo import ForeignNetwork, ForeignWeights, ImportedModel
from ganzoo_progan.importers import GENFORCE, refuse_settings

from .import_stylegan1 import rule_for
from .layers import MappingLr
from .resample import fir_kernel
from .stylegan2 import TAPS

NVIDIA = ("G_ema", "G", "")  # moving average first


def stylegan2_recipe(widths: Mapping[int, int], **args: Any) -> dict[str, Any]:
    base, most = rule_for(widths, 1.0)
    maps = {"channel_base": base, "channel_max": most}
    return {
        "generator": {"name": "stylegan2", "args": {**maps, **args}},
        "discriminator": {"name": "stylegan2", "args": maps},
        "loss": {"name": "non-saturating"},
        "regularizers": [{"name": "r1", "args": {"gamma": "auto", "every": 16}}],
        "growth": {"name": "fixed", "args": {"batch_size": 32, "lr": 0.002}},
    }


def refuse_filter(name: str, kernel: Tensor | None, gain: float = 1.0) -> None:
    """Raise ValueError unless a stored resampling filter, if there is one, is the usual."""
    usual = fir_kernel(TAPS) * gain
    if kernel is not None and (kernel.shape != usual.shape or not torch.allclose(kernel, usual, atol=1e-4)):
        raise ValueError(f"its {name} is not the filter [1, 3, 3, 1], which alone our network has")


def half_precision(count: Any) -> list[str]:
    """A note where the original computes some resolutions in float16 on GPUs."""
    if not isinstance(count, int) or count == 0:
        return []
    return [f"on GPUs the original computes its {count} highest resolutions in float16, this network in float32"]


class TorchImporter(ganzoo.Importer):
    """NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3: a pickle of G, D, and G_ema, or a state dict."""

    title: ClassVar[str] = "StyleGAN2(-ADA) of NVIDIA, PyTorch .pkl"

    def __init__(self, *, mapping_lr: MappingLr = 0.01) -> None:
        self.mapping_lr = mapping_lr

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*NVIDIA)
        wanted = {"synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight"}
        return found is not None and wanted <= found[1].tensors.keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork]:
        found = weights.first(*NVIDIA)
        assert found is not None  # by recognises
        return found

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network = self._network(weights)
        tensors, said = network.tensors, network.attributes
        refuse_settings({key.rpartition(".")[2]: value for key, value in said.items()}, {"use_noise": (True,)})
        refuse_settings({"activation": said.get("synthesis.b4.conv1.activation", "lrelu")}, {"activation": ("lrelu",)})
        refuse_filter("resample_filter", tensors.get("synthesis.b4.conv1.resample_filter"))
        resolutions = sorted(
            int(m[1]) for key in tensors if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", key))
        )
        last = tensors[f"synthesis.b{resolutions[-1]}.torgb.weight"]
        layers = len([key for key in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", key)])
        w_dim = len(tensors[f"mapping.fc{layers - 1}.weight"])
        embed = tensors.get("mapping.embed.weight")
        clamp = said.get("synthesis.b4.conv1.conv_clamp", _nested(network.args, "conv_clamp"))
        recipe = stylegan2_recipe(
            {r: len(tensors[f"synthesis.b{r}.conv1.weight"]) for r in resolutions},
            z_dim=tensors["mapping.fc0.weight"].shape[1] - (0 if embed is None else w_dim),
            w_dim=w_dim,
            mapping_layers=layers,
            mapping_lr=float(said.get("mapping.fc0.bias_gain", self.mapping_lr)),
            architecture=_architecture("synthesis.b4.torgb.weight", r"synthesis\.b\d+\.skip\.weight", tensors),
            conv_clamp=None if clamp is None else float(clamp),
        )
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=resolutions[-1],
            img_channels=len(last),
            c_dim=0 if embed is None else embed.shape[1],
            notes=half_precision(said.get("synthesis.num_fp16_res", _nested(network.args, "num_fp16_res"))),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network = self._network(weights)
        return {torch_name(n): x for n, x in network.tensors.items() if not n.endswith("resample_filter")}


def _nested(args: Mapping[str, Any], name: str) -> Any:
    """An argument of G, or of its synthesis network within (stylegan2-ada-pytorch)."""
    inner = args.get("synthesis_kwargs")
    return args.get(name, inner.get(name) if isinstance(inner, dict) else None)


def _architecture(rgb: str, skip: str, tensors: Mapping[str, Tensor]) -> str:
    if rgb in tensors:
        return "skip"
    return "resnet" if any(re.fullmatch(skip, key) for key in tensors) else "orig"


def torch_name(name: str) -> str:
    if name == "mapping.w_avg":
        return "w_avg"
    if name.startswith("mapping."):
        return re.sub(r"^mapping\.(fc(?=\d))?", lambda m: f"mapping_network.{'layers.' if m[1] else ''}", name)
    match = re.fullmatch(r"synthesis\.b(\d+)\.(.*)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN2's generator")
    resolution, layer = match[1], match[2]
    if layer.startswith("torgb."):
        return f"to_rgb.{resolution}.{layer.removeprefix('torgb.')}"
    if resolution == "4":
        return "const" if layer == "const" else f"conv4.{layer.removeprefix('conv1.')}"
    return f"blocks.{resolution}.{'skip' if layer == 'skip.weight' else layer}"


class TFImporter(ganzoo.Importer):
    """NVlabs/stylegan2 and NVlabs/stylegan2-ada: a pickle of (G, D, Gs). Gs, the moving average, is taken."""

    title: ClassVar[str] = "StyleGAN2(-ADA) of its authors, TensorFlow .pkl"

    def recognises(self, weights: ForeignWeights) -> bool:
        return bool(self._networks(weights))

    def _networks(self, weights: ForeignWeights) -> dict[str, ForeignNetwork]:
        wanted = {"synthesis/4x4/Const/const", "synthesis/4x4/Conv/mod_weight", "mapping/Dense0/weight"}
        return {name: n for name, n in weights.networks.items() if n.kind == "tf" and wanted <= n.tensors.keys()}

    def _network(self, weights: ForeignWeights) -> tuple[str, ForeignNetwork]:
        return list(self._networks(weights).items())[-1]  # Gs is the last

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, network = self._network(weights)
        tensors, args = network.tensors, network.args
        if "mapping/LabelConcat/weight" in tensors:
            raise ValueError(
                "its labels join the latent before both are normalised together, as in StyleGAN2's first code: another "
                "function. Networks without labels, or of StyleGAN2-ADA, can be imported"
            )
        refuse_settings(
            args,
            {
                "normalize_latents": (True,),
                "nonlinearity": ("lrelu",),
                "mapping_nonlinearity": ("lrelu",),
                "resample_kernel": ([1, 3, 3, 1], None),
                "fused_modconv": (True, False),
            },
        )
        pattern = r"synthesis/(\d+)x\d+/Conv1?/weight"
        resolutions = sorted(int(m[1]) for key in tensors if (m := re.fullmatch(pattern, key)))
        layers = len([key for key in tensors if re.fullmatch(r"mapping/Dense\d+/weight", key)])
        w_dim = tensors[f"mapping/Dense{layers - 1}/weight"].shape[1]
        embed = tensors.get("mapping/LabelEmbed/weight")
        clamp = args.get("conv_clamp")
        recipe = stylegan2_recipe(
            {r: tensors[f"synthesis/{r}x{r}/Conv{'' if r == 4 else 1}/weight"].shape[3] for r in resolutions},
            z_dim=len(tensors["mapping/Dense0/weight"]) - (0 if embed is None else w_dim),
            w_dim=w_dim,
            mapping_layers=layers,
            mapping_lr=float(args.get("mapping_lrmul", 0.01)),
            architecture=_architecture("synthesis/4x4/ToRGB/weight", r"synthesis/\d+x\d+/Skip/weight", tensors),
            conv_clamp=None if clamp is None else float(clamp),
        )
        size = resolutions[-1]
        return ImportedModel(
            networks=[name],
            recipe=recipe,
            img_resolution=size,
            img_channels=tensors[f"synthesis/{size}x{size}/ToRGB/weight"].shape[3],
            c_dim=0 if embed is None else len(embed),
            notes=half_precision(args.get("num_fp16_res")),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, network = self._network(weights)
        numbers = {
            name: torch.tensor(float(value))
            for name, value in network.attributes.items()
            if name.endswith("/noise_strength")
        }
        tensors = {**network.tensors, **numbers}
        return dict(tf_tensor(name, x) for name, x in tensors.items() if name.rpartition("/")[2] != "lod")


def tf_tensor(name: str, x: Tensor) -> tuple[str, Tensor]:
    """A tensor of the authors' code under our name and in our layout: [kh, kw, in, out] and [in, out] there."""
    if name == "dlatent_avg":
        return "w_avg", x
    if dense := re.fullmatch(r"mapping/(Dense(\d+)|LabelEmbed)/(\w+)", name):
        layer = "embed" if dense[2] is None else f"layers.{dense[2]}"
        return f"mapping_network.{layer}.{dense[3]}", x.T if x.ndim == 2 else x
    if noise := re.fullmatch(r"synthesis/noise(\d+)", name):
        number = int(noise[1])
        layer = "conv4" if number == 0 else f"blocks.{8 << (number - 1) // 2}.conv{(number - 1) % 2}"
        return f"{layer}.noise_const", x.flatten(0, -2)
    match = re.fullmatch(r"synthesis/(\d+)x\d+/(Const|Conv|Conv0_up|Conv1|Skip|ToRGB)/(\w+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN2's generator")
    resolution, layer, kind = match[1], match[2], match[3]
    if layer == "Const":
        return "const", x.flatten(0, 1)
    layer = {"Conv": "conv4", "ToRGB": f"to_rgb.{resolution}"}.get(
        layer, f"blocks.{resolution}.{ {'Conv0_up': 'conv0', 'Conv1': 'conv1', 'Skip': 'skip'}.get(layer) }"
    )
    if kind == "weight":
        x = x.permute(3, 2, 0, 1)
        if match[2] in ("Conv0_up", "Skip"):  # stored for a convolution there, for a transposed one here
            x = x.flip(2, 3)
        return (layer if match[2] == "Skip" else f"{layer}.weight"), x
    if kind == "mod_weight":
        return f"{layer}.affine.weight", x.T
    if kind == "mod_bias":  # 1 is added to styles there, and part of the bias here
        return f"{layer}.affine.bias", x + 1
    return f"{layer}.{kind}", x.reshape([]) if kind == "noise_strength" else x


class GenforceImporter(ganzoo.Importer):
    """genforce/genforce: ``stylegan2_*.pth``, or a checkpoint of its training."""

    title: ClassVar[str] = "StyleGAN2 of genforce .pth"

    def __init__(self, *, mapping_lr: MappingLr = 0.01) -> None:
        self.mapping_lr = mapping_lr

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*GENFORCE)
        wanted = {"synthesis.early_layer.const", "synthesis.layer0.noise_strength", "mapping.dense0.weight"}
        return found is not None and wanted <= found[1].tensors.keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, Mapping[str, Tensor]]:
        found = weights.first(*GENFORCE)
        assert found is not None  # by recognises
        return found[0], found[1].tensors

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, tensors = self._network(weights)
        if "mapping.label_weight" in tensors:
            raise ValueError(
                "its labels join the latent before both are normalised together: another function. Networks without "
                "labels can be imported"
            )
        outputs = sorted(int(m[1]) for key in tensors if (m := re.fullmatch(r"synthesis\.output(\d+)\.weight", key)))
        layers = len([key for key in tensors if re.fullmatch(r"mapping\.dense\d+\.weight", key)])
        refuse_filter("filter.kernel", _plane(tensors.get("synthesis.layer1.filter.kernel")), gain=4.0)
        return ImportedModel(
            networks=[name],
            recipe=stylegan2_recipe(
                {4 << i: len(tensors[f"synthesis.layer{2 * i}.weight"]) for i in range(outputs[-1] + 1)},
                z_dim=tensors["mapping.dense0.weight"].shape[1],
                w_dim=len(tensors[f"mapping.dense{layers - 1}.weight"]),
                mapping_layers=layers,
                mapping_lr=self.mapping_lr,
                architecture="skip" if outputs[0] == 0 else "orig",
            ),
            img_resolution=4 << outputs[-1],
            img_channels=len(tensors[f"synthesis.output{outputs[-1]}.weight"]),
        )

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, tensors = self._network(weights)
        return dict(genforce_tensor(name, x) for name, x in tensors.items() if not name.endswith(".kernel"))


def _plane(kernel: Tensor | None) -> Tensor | None:
    return None if kernel is None else kernel.flatten(0, -2)


def genforce_tensor(name: str, x: Tensor) -> tuple[str, Tensor]:
    """A tensor of genforce, whose layers are numbered in order of execution, under our name and in our layout."""
    if name == "truncation.w_avg":
        return "w_avg", x
    if name == "synthesis.early_layer.const":
        return "const", x[0]
    if dense := re.fullmatch(r"mapping\.dense(\d+)\.(\w+)", name):
        return f"mapping_network.layers.{dense[1]}.{dense[2]}", x
    match = re.fullmatch(r"synthesis\.(layer|output)(\d+)\.([\w.]+)", name)
    if match is None:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN2's generator")
    number, kind = int(match[2]), match[3]
    layer = f"to_rgb.{4 << number}" if match[1] == "output" else _conv(number)
    if kind == "style.bias":  # 1 is added to styles there, and part of the bias here
        return f"{layer}.affine.bias", x + 1
    if kind == "style.weight":
        return f"{layer}.affine.weight", x
    if kind == "noise":
        return f"{layer}.noise_const", x[0, 0]
    if kind == "weight" and match[1] == "layer" and number % 2 == 1:  # upsampling: flipped when used there
        x = x.flip(2, 3)
    return f"{layer}.{kind}", x


ROSINALITY = ("g_ema", "g", "")


class RosinalityImporter(ganzoo.Importer):
    """rosinality/stylegan2-pytorch: a checkpoint of its training, or of its converter. g_ema is taken."""

    title: ClassVar[str] = "StyleGAN2 of rosinality .pt"

    def __init__(self, *, mapping_lr: MappingLr = 0.01) -> None:
        self.mapping_lr = mapping_lr

    def recognises(self, weights: ForeignWeights) -> bool:
        found = weights.first(*ROSINALITY)
        return found is not None and {"input.input", "conv1.conv.weight", "style.1.weight"} <= found[1].tensors.keys()

    def _network(self, weights: ForeignWeights) -> tuple[str, Mapping[str, Tensor]]:
        for wanted in ROSINALITY:  # the file itself may have loose tensors beside its networks
            found = weights.first(wanted)
            if found is not None and "conv1.conv.weight" in found[1].tensors:
                return found[0], found[1].tensors
        raise ValueError("it has no generator")

    def model(self, weights: ForeignWeights) -> ImportedModel:
        name, tensors = self._network(weights)
        blocks = len([key for key in tensors if re.fullmatch(r"to_rgbs\.\d+\.conv\.weight", key)])
        refuse_filter("upsample.kernel", tensors.get("to_rgbs.0.upsample.kernel"), gain=4.0)
        widths = {4: tensors["conv1.conv.weight"].shape[1]}
        widths |= {8 << i: tensors[f"convs.{2 * i + 1}.conv.weight"].shape[1] for i in range(blocks)}
        layers = len([key for key in tensors if re.fullmatch(r"style\.\d+\.weight", key)])
        notes = []
        if self._mean(weights) is None:
            notes.append("it has no latent_avg, the mean of w: images cannot be truncated")
        if "noises.noise_0" not in tensors:
            notes.append("it has no stored noise: some was drawn, so that a latent always gives the same image")
        return ImportedModel(
            networks=[name],
            recipe=stylegan2_recipe(
                widths,
                z_dim=tensors["style.1.weight"].shape[1],
                w_dim=len(tensors[f"style.{layers}.weight"]),
                mapping_layers=layers,
                mapping_lr=self.mapping_lr,
            ),
            img_resolution=4 << blocks,
            img_channels=tensors["to_rgb1.conv.weight"].shape[1],
            notes=notes,
        )

    def _mean(self, weights: ForeignWeights) -> Tensor | None:
        beside = weights.networks.get("")
        return None if beside is None else beside.tensors.get("latent_avg")

    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        _, tensors = self._network(weights)
        kept = {n: x for n, x in tensors.items() if not n.endswith(".kernel") and n != "latent_avg"}
        state = dict(rosinality_tensor(name, x) for name, x in kept.items())
        mean = self._mean(weights)
        state["w_avg"] = torch.zeros(len(state["mapping_network.layers.0.bias"])) if mean is None else mean.flatten()
        chance = torch.Generator().manual_seed(0)
        for name in list(state):
            if name.endswith(".noise_strength"):
                key = name.removesuffix("strength") + "const"
                resolution = 4 if name.startswith("conv4") else int(name.split(".")[1])
                if key not in state:
                    state[key] = torch.randn(resolution, resolution, generator=chance)
        return state


ROSINALITY_LAYER = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def rosinality_tensor(name: str, x: Tensor) -> tuple[str, Tensor]:
    if name == "input.input":
        return "const", x[0]
    if style := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping_network.layers.{int(style[1]) - 1}.{style[2]}", x
    if noise := re.fullmatch(r"noises\.noise_(\d+)", name):
        number = int(noise[1])
        return f"{_conv(number)}.noise_const", x[0, 0]
    match = re.fullmatch(r"(conv1|to_rgb1|convs\.(\d+)|to_rgbs\.(\d+))\.(.+)", name)
    if match is None or match[4] not in ROSINALITY_LAYER:
        raise ValueError(f"its tensor {name!r} is none of StyleGAN2's generator")
    if "to_rgb" in match[1]:
        layer = f"to_rgb.{4 if match[3] is None else 8 << int(match[3])}"
    else:
        layer = _conv(0 if match[2] is None else int(match[2]) + 1)
    kind = ROSINALITY_LAYER[match[4]]
    shaped = {"weight": lambda: x[0], "noise_strength": lambda: x.reshape([]), "bias": x.flatten}
    return f"{layer}.{kind}", shaped.get(kind, lambda: x)()


def _conv(number: int) -> str:
    """Of convolutions in order of execution."""
    return "conv4" if number == 0 else f"blocks.{8 << (number - 1) // 2}.conv{(number - 1) % 2}"
