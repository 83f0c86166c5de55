"""Weights of others after `ganzoo import`: does the snapshot give their images? One table, a row a family and item.

    python benchmarks/import_equal.py                     # needs the reference data, shared/golden beside the checkout
    python benchmarks/import_equal.py --docs              # and the table into docs/import.md

The reference data hold each network's weights, an input and the image that the original code makes of it. They are
written out here as the original project stores them: torch's zip and its older format, pickles with embedded source
as NVIDIA's PyTorch and TensorFlow code write them. The source would leave a file behind if anybody ran it.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import sys
import tempfile
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ganzoo.build import build_growth, build_networks, build_objective, check_phases
from ganzoo.generation import load_generator
from ganzoo.generation.load import LoadedGenerator
from ganzoo.importing.convert import import_weights
from ganzoo.plugins import LoadedPlugins, load_plugins

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / "shared" / "golden"
DOCS = ROOT / "docs" / "import.md"
BEGIN, END = "<!-- import_equal.py --docs -->\n", "<!-- end -->"
SOURCE = "open({path!r}, 'w').write('the source of a stranger ran')\nclass Network: pass\n"


@dataclass(frozen=True)
class Item:
    """One reference item: see shared/golden/NOTES.md."""

    name: str
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: x for name, x in self.tensors.items() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


Pairs = list[tuple[Tensor, Tensor]]  # (ours, theirs)


@dataclass(frozen=True)
class Case:
    """A family, the items that are of it, and how its project writes and uses them.

    write: item, folder -> files. compare: loaded snapshot, item -> images.
    """

    family: str
    items: str
    stored: str
    write: Callable[[Item, Path], list[Path]]
    compare: Callable[[Any, Item], Pairs]
    options: dict[str, Any] = field(default_factory=dict)
    but: str = "^$"  # items, by name, of which our network is another function


def load_item(name: str) -> Item:
    path = GOLDEN / f"{name}.json"
    return Item(name, json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))


# --- what original projects have of their own in sys.modules when they write -----------------------------------------


def trap() -> Path:
    """Where a file appears if embedded source is ever run."""
    return Path(tempfile.gettempdir()) / "ganzoo-import-source-ran"


@contextmanager
def their_modules() -> Iterator[types.SimpleNamespace]:
    """Modules and classes with the names that pickles of other projects refer to."""
    names = ["torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util", "dnnlib.tflib", "dnnlib.tflib.network"]
    names += ["tfutil", "models", "models.utils", "models.utils.config"]
    before = {name: sys.modules.get(name) for name in names}
    made = {name: types.ModuleType(name) for name in names}
    sys.modules.update(made)

    def place(module: str, thing: Any) -> Any:
        thing.__module__, thing.__qualname__ = module, thing.__name__
        setattr(made[module], thing.__name__, thing)
        return thing

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("nobody is to call this")

    place("torch_utils.persistence", _reconstruct_persistent_obj)

    class EasyDict(dict):
        pass

    class Persistent(nn.Module):
        """A module that is pickled as NVIDIA's @persistent_class does it, class_name by instance."""

        class_name = "Module"

        def __reduce__(self) -> Any:
            meta = made["dnnlib.util"].EasyDict(
                type="class",
                version=6,
                module_src=SOURCE.format(path=str(trap())),
                class_name=self.class_name,
                state=self.__dict__,
            )
            return made["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)

    class Network:
        def __init__(self, state: dict[str, Any]) -> None:
            self.state = state

        def __getstate__(self) -> dict[str, Any]:
            return self.state

    class BaseConfig:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    place("dnnlib.util", EasyDict)
    place("models.utils.config", BaseConfig)
    tf, old_tf = type("Network", (Network,), {}), type("Network", (Network,), {})
    place("dnnlib.tflib.network", tf)
    place("tfutil", old_tf)
    try:
        yield types.SimpleNamespace(
            EasyDict=EasyDict, Persistent=Persistent, Network=tf, OldNetwork=old_tf, BaseConfig=BaseConfig
        )
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def state_dict(tensors: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, x.clone()) for name, x in tensors.items())


def save(content: Any, path: Path, *, legacy: bool = False) -> list[Path]:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return [path]


def dump(content: Any, path: Path) -> list[Path]:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return [path]


def tf_network(
    make: Any, name: str, variables: dict[str, Tensor], args: dict[str, Any], components: dict[str, Any] | None = None
) -> Any:
    """As dnnlib.tflib.Network pickles itself; tfutil's had no components."""
    found = [(key, x.numpy().copy() if x.ndim else np.float32(x.item())) for key, x in variables.items()]
    state = {
        "version": 4 if components is not None else 2,
        "name": name,
        "static_kwargs": args,
        "build_module_src": SOURCE.format(path=str(trap())),
        "build_func_name": name,
        "variables": found,
    }
    return make(state if components is None else {**state, "components": components})


# --- ProGAN -----------------------------------------------------------------------------------------------------------


def write_progan_tf(item: Item, folder: Path, lod: float = 0.0) -> list[Path]:
    g, d = item.meta["constructor"]["G"], item.meta["constructor"]["D"]
    with their_modules() as made:
        variables = {"lod": torch.tensor(lod), **item.under("w/G/")}
        networks = (
            tf_network(made.OldNetwork, "G", {k: torch.zeros_like(x) for k, x in variables.items()}, g),
            tf_network(made.OldNetwork, "D", item.under("w/D/"), d),
            tf_network(made.OldNetwork, "Gs", variables, g),
        )
        return dump(networks, folder / "network-final.pkl")


def write_progan_fading(item: Item, folder: Path) -> list[Path]:
    return write_progan_tf(item, folder, fading_lod(item))


def fading_lod(item: Item) -> float:
    return next(lod for lod in item.meta["lods"] if lod % 1)


def compare_lod(lod_of: Callable[[Item], float]) -> Callable[[Any, Item], Pairs]:
    def compare(generator: Any, item: Item) -> Pairs:
        lod = lod_of(item)
        image = generator(item["in/z"], item.tensors.get("in/label"))
        size = item.meta["resolution"]
        shown = F.interpolate(image, size=(size, size), mode="nearest")
        theirs = f"out/image_lod{lod}"
        return [(shown, item[theirs if theirs in item.tensors else "out/image"])]

    return compare


def write_genforce(item: Item, folder: Path) -> list[Path]:
    ema, d = state_dict(item.under("w/G/")), state_dict(item.under("w/D/"))
    g = OrderedDict((name, torch.zeros_like(x)) for name, x in ema.items())
    optimiser = {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.001, "params": [0]}]}
    models = {"discriminator": d, "generator": g, "generator_smooth": ema}
    return save({"models": models, "optimizers": {"generator": optimiser}, "iteration": 7}, folder / "checkpoint.pth")


def write_pgz(item: Item, folder: Path) -> list[Path]:
    with their_modules() as made:
        config = made.BaseConfig(
            noiseVectorDim=item.meta["constructor"]["dimLatentVector"],
            categoryVectorDim=0,
            alpha=item.meta["alpha"],
            leakyReluLeak=0.2,
            perChannelNormalization=True,
            depthScales=[512, 512],
        )
        ema = state_dict(item.under("w/G/"))  # their image is of netG
        g = OrderedDict((name, torch.zeros_like(x)) for name, x in ema.items())
        content = {"config": config, "netG": g, "netD": state_dict(item.under("w/D/")), "avgG": ema}
        return save(content, folder / "celeba_s3_i48000.pt", legacy=True)


# --- StyleGAN ---------------------------------------------------------------------------------------------------------


def flipped_from(fused: bool | str) -> float:
    return {"auto": 128, True: 0, False: math.inf}[fused]


def stylegan1_as_tf(item: Item) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """genforce's tensors under the official names, which the key map has: of mapping, synthesis, and the whole."""
    names = json.loads((GOLDEN / "keys_stylegan1_genforce.json").read_text())["keys"]["G"]
    count = sum(bool(re.fullmatch(r"w/G/synthesis\.output\d+\.weight", key)) for key in item.tensors)
    parts: tuple[dict[str, Tensor], ...] = ({}, {}, {})
    for key, x in item.under("w/G/").items():
        if key.endswith(("blur.kernel", ".lod")):
            continue
        if key == "mapping.label_weight":
            name = "LabelConcat/weight"
        elif rgb := re.fullmatch(r"synthesis\.output(\d+)\.(\w+)", key):
            name = f"ToRGB_lod{count - 1 - int(rgb[1])}/{rgb[2]}"
        elif key == "synthesis.layer0.weight":  # a 4x4 convolution in place of the dense layer
            name, x = "4x4/Dense/weight", x.flip(2, 3).permute(1, 0, 2, 3).flatten(1)
        else:
            name = names[key]["official_tf_name"]
            if "synthesis.layer0.const" not in item.under("w/G/"):
                name = name.replace("4x4/Const/", "4x4/Dense/")
        if name.endswith("weight") and x.ndim == 4:
            x = x.permute(2, 3, 1, 0)
        elif name.endswith("weight") and x.ndim == 2 and name not in ("LabelConcat/weight", "4x4/Dense/weight"):
            x = x.T
        parts[0 if key.startswith("mapping") else 1 if key.startswith("synthesis") else 2][name] = x.contiguous()
    parts[1]["lod"] = torch.tensor(0.0)
    return parts


def write_tf_triple(make: Any, args: dict[str, Any], parts: Sequence[dict[str, Tensor]], path: Path) -> list[Path]:
    """(G, D, Gs), of which Gs has the weights."""
    networks = []
    for name in ("G", "Gs"):
        mapping, synthesis, whole = (
            part if name == "Gs" else {key: torch.zeros_like(x) for key, x in part.items()} for part in parts
        )
        components = {
            "synthesis": tf_network(make, "G_synthesis", synthesis, args, {}),
            "mapping": tf_network(make, "G_mapping", mapping, args, {}),
        }
        networks.append(tf_network(make, "G_style", whole, args, components))
    d = tf_network(make, "D_basic", {"4x4/Dense0/weight": torch.zeros(4, 4)}, args, {})
    return dump((networks[0], d, networks[1]), path)


def write_stylegan1_tf(item: Item, folder: Path) -> list[Path]:
    g = item.meta["constructor"]["G"]
    with their_modules() as made:
        args = {"num_channels": 3, "resolution": g["resolution"], "label_size": g["label_size"]}
        args |= {"fused_scale": g["fused_scale"], "mapping_lrmul": 0.01, "blur_filter": [1, 2, 1]}
        return write_tf_triple(made.Network, args, stylegan1_as_tf(item), folder / "karras2019stylegan.pkl")


def write_genforce_published(item: Item, folder: Path) -> list[Path]:
    content = {"generator_smooth": state_dict(item.under("w/G/")), "discriminator": state_dict(item.under("w/D/"))}
    return save(content, folder / "stylegan.pth", legacy=True)


def compare_styles(generator: Any, item: Item) -> Pairs:
    """The image, and one of w truncated towards its mean."""
    label = item.tensors.get("in/label")
    psi, cutoff = item.meta["trunc_psi"], item.meta["trunc_cutoffs"][0]
    layers = min(cutoff, generator.num_ws)
    truncated = generator.truncate(generator.mapping(item["in/z"], label), psi, layers)
    image = item["out/image_lod0.0" if "out/image_lod0.0" in item.tensors else "out/image"]
    return [
        (generator(item["in/z"], label), image),
        (generator.synthesis(truncated), item[f"out/image_psi{psi}_cut{cutoff}"]),
    ]


# --- StyleGAN2 and 3 --------------------------------------------------------------------------------------------------

BUFFERS = ("_filter", "noise_const", "w_avg", "magnitude_ema", "freqs", "phases", "transform")


def persistent(made: Any, tensors: dict[str, Tensor], kwargs: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """A tree of persistent modules with these tensors, and attributes by module."""
    root = made.Persistent()
    root.class_name = "Generator"
    root._init_args, root._init_kwargs = (), made.EasyDict(kwargs)
    for name, x in [*tensors.items(), *attributes.items()]:
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, made.Persistent())
            module = module._modules[part]
        if not isinstance(x, Tensor):
            setattr(module, last, x)
        elif last.endswith(BUFFERS):
            module.register_buffer(last, x.clone())
        else:
            module.register_parameter(last, nn.Parameter(x.clone()))
    return root.eval().requires_grad_(False)


def write_persistent(item: Item, folder: Path) -> list[Path]:
    constructor = item.meta["constructor"]
    g = constructor.get("G", constructor)
    tensors = item.under("w/G/")
    convs = {name.rpartition(".")[0] for name in tensors if name.endswith("noise_strength")}
    attributes = {f"{conv}.conv_clamp": g.get("conv_clamp", 256) for conv in convs}
    attributes |= {f"{conv}.activation": "lrelu" for conv in convs}
    attributes |= {"z_dim": g["z_dim"], "mapping.fc0.bias_gain": 0.01, "synthesis.bandwidth": np.float64(3.5)}
    with their_modules() as made:
        ema = persistent(made, tensors, g, attributes)
        raw = persistent(made, {name: torch.zeros_like(x) for name, x in tensors.items()}, g, attributes)
        d = persistent(made, item.under("w/D/"), constructor.get("D", {}), {})
        content = {"G": raw, "D": d, "G_ema": ema, "augment_pipe": None, "training_set_kwargs": made.EasyDict(path="x")}
        return dump(content, folder / "network-snapshot-000100.pkl")


def stylegan2_as_tf(item: Item) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Under the names of NVlabs/stylegan2-ada's TensorFlow code, in its layout."""
    mapping, synthesis, whole = {}, {}, {}
    kinds = {"affine.weight": "mod_weight", "affine.bias": "mod_bias", "noise_strength": "noise_strength"}
    for key, x in item.under("w/G/").items():
        if key.endswith("resample_filter"):
            continue
        if key == "mapping.w_avg":
            whole["dlatent_avg"] = x
        elif dense := re.fullmatch(r"mapping\.(?:fc(\d+)|embed)\.(\w+)", key):
            layer = "LabelEmbed" if dense[1] is None else f"Dense{dense[1]}"
            mapping[f"{layer}/{dense[2]}"] = x.T.contiguous() if x.ndim == 2 else x
        elif key == "synthesis.b4.const":
            synthesis["4x4/Const/const"] = x[None]
        else:
            resolution, layer, kind = re.fullmatch(r"synthesis\.b(\d+)\.(\w+?)\.(.+)", key).groups()
            if kind == "noise_const":
                number = 0 if resolution == "4" else 2 * int(math.log2(int(resolution))) - 5 + (layer == "conv1")
                synthesis[f"noise{number}"] = x[None, None]
                continue
            theirs = {"conv0": "Conv0_up", "torgb": "ToRGB", "skip": "Skip", "conv1": "Conv1"}[layer]
            theirs = "Conv" if resolution == "4" and layer == "conv1" else theirs
            if kind == "weight":
                x = (x.flip(2, 3) if theirs in ("Conv0_up", "Skip") else x).permute(2, 3, 1, 0).contiguous()
            x = x.T.contiguous() if kind == "affine.weight" else x - 1 if kind == "affine.bias" else x
            synthesis[f"{resolution}x{resolution}/{theirs}/{kinds.get(kind, kind)}"] = x
    return mapping, synthesis, whole


def write_stylegan2_tf(item: Item, folder: Path) -> list[Path]:
    g = item.meta["constructor"]["G"]
    with their_modules() as made:
        args = {"num_channels": 3, "resolution": g["img_resolution"], "label_size": g["c_dim"], "num_fp16_res": 4}
        args |= {"conv_clamp": g["conv_clamp"], "architecture": g["architecture"], "resample_kernel": [1, 3, 3, 1]}
        return write_tf_triple(made.Network, args, stylegan2_as_tf(item), folder / "stylegan2-ffhq-config-f.pkl")


def write_stylegan2_genforce(item: Item, folder: Path) -> list[Path]:
    found: dict[str, Tensor] = {}
    fir = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kinds = {"affine.weight": "style.weight", "affine.bias": "style.bias", "noise_const": "noise"}
    for key, x in item.under("w/G/").items():
        if key == "mapping.w_avg":
            found["truncation.w_avg"] = x
        elif dense := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", key):
            found[f"mapping.dense{dense[1]}.{dense[2]}"] = x
        elif key == "synthesis.b4.const":
            found["synthesis.early_layer.const"] = x[None]
        elif not key.endswith("resample_filter"):
            resolution, layer, kind = re.fullmatch(r"synthesis\.b(\d+)\.(\w+?)\.(.+)", key).groups()
            block = int(math.log2(int(resolution))) - 2
            theirs = f"output{block}" if layer == "torgb" else f"layer{2 * block - (layer == 'conv0')}"
            if layer == "conv0":
                found[f"synthesis.{theirs}.filter.kernel"] = (fir.outer(fir) / 64 * 4)[None, None]
            x = x.flip(2, 3) if layer == "conv0" and kind == "weight" else x
            x = x - 1 if kind == "affine.bias" else x[None, None] if kind == "noise_const" else x
            found[f"synthesis.{theirs}.{kinds.get(kind, kind)}"] = x
    return save({"generator_smooth": state_dict(found)}, folder / "stylegan2_ffhq1024.pth")


def write_rosinality(item: Item, folder: Path) -> list[Path]:
    found: dict[str, Tensor] = {}
    fir = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kinds = {"weight": "conv.weight", "affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias"}
    kinds |= {"noise_strength": "noise.weight"}
    for key, x in item.under("w/G/").items():
        if key.endswith("resample_filter") or key == "mapping.w_avg":
            continue
        if dense := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", key):
            found[f"style.{int(dense[1]) + 1}.{dense[2]}"] = x
            continue
        if key == "synthesis.b4.const":
            found["input.input"] = x[None]
            continue
        resolution, layer, kind = re.fullmatch(r"synthesis\.b(\d+)\.(\w+?)\.(.+)", key).groups()
        block = int(math.log2(int(resolution))) - 3
        number = 0 if block < 0 else 2 * block + 1 + (layer == "conv1")
        if kind == "noise_const":
            found[f"noises.noise_{number}"] = x[None, None]
            continue
        theirs = "conv1" if number == 0 else f"convs.{number - 1}"
        if layer == "torgb":
            theirs = "to_rgb1" if block < 0 else f"to_rgbs.{block}"
            if block >= 0:
                found[f"{theirs}.upsample.kernel"] = fir.outer(fir) / 64 * 4
        if kind == "bias":
            found[f"{theirs}.bias" if layer == "torgb" else f"{theirs}.activate.bias"] = (
                x.reshape(1, -1, 1, 1) if layer == "torgb" else x
            )
        else:
            x = x[None] if kind == "weight" else x.reshape(1) if kind == "noise_strength" else x
            found[f"{theirs}.{kinds[kind]}"] = x
    ema = state_dict(found)
    g = OrderedDict((name, torch.zeros_like(x)) for name, x in ema.items())
    content = {"g": g, "g_ema": ema, "d": state_dict(item.under("w/D/")), "latent_avg": item["w/G/mapping.w_avg"]}
    content["args"] = argparse.Namespace(size=item.meta["resolution"], mixing=0.9)
    return save(content, folder / "550000.pt")


def compare_const_noise(generator: Any, item: Item) -> Pairs:
    """The image with the stored noise, and one of w truncated towards its mean."""
    c = item.tensors.get("in/c")
    w = generator.mapping(item["in/z"], c)
    truncated = generator.truncate(w, item.meta["truncation_psi"], item.meta["truncation_cutoff"])
    return [
        (generator(item["in/z"], c), item["out/image_const"]),
        (generator.synthesis(truncated), item["out/image_trunc"]),
    ]


def compare_stylegan3(generator: Any, item: Item) -> Pairs:
    truncated = generator.truncate(generator.mapping(item["in/z"]), item.meta["truncation_psi"])
    return [(generator(item["in/z"]), item["out/image"]), (generator.synthesis(truncated), item["out/image_trunc"])]


# --- BigGAN, DCGAN, CycleGAN, pix2pix ---------------------------------------------------------------------------------


def write_state_dict(item: Item, folder: Path) -> list[Path]:
    return save(state_dict(item.under("w/G/")), folder / "G_ema.pth", legacy=True)


def compare_biggan(generator: Any, item: Item) -> Pairs:
    classes = item.meta["constructor"]["G"]["n_classes"]
    return [(generator(item["in/z"], F.one_hot(item["in/y"], classes).float()), item["out/image_eval"])]


def compare_dcgan(generator: Any, item: Item) -> Pairs:
    return [(generator(item["in/z"].flatten(1)), item["out/image_eval"])]


def write_pair(item: Item, folder: Path) -> list[Path]:
    names = ("G_A", "G_B")
    return [
        save(state_dict(item.under(f"w/{name}/")), folder / f"latest_net_{name}.pth", legacy=name == "G_A")[0]
        for name in names
    ]


def write_one_direction(item: Item, folder: Path) -> list[Path]:
    return write_pair(item, folder)[:1]


def compare_pair(generator: Any, item: Item) -> Pairs:
    return [
        (generator.translate(item["in/real_A"]), item["out/fake_B"]),
        (generator.translate(item["in/real_B"], "b2a"), item["out/fake_A"]),
    ]


def compare_one_direction(generator: Any, item: Item) -> Pairs:
    return [(generator.translate(item["in/real_A"]), item["out/fake_B"])]


def compare_pix2pix(generator: Any, item: Item) -> Pairs:
    return [(generator.translate(item["in/real_A"]), item["out/fake_B_eval"])]


CASES = [
    Case("progan-tf", "progan_official_r*", ".pkl", write_progan_tf, compare_lod(lambda item: 0.0)),
    Case("progan-tf", "progan_official_r16_fused", ".pkl, lod 0.4", write_progan_fading, compare_lod(fading_lod)),
    Case(
        "progan-genforce",
        "progan_genforce_*",
        ".pth",
        write_genforce,
        compare_lod(lambda item: 0.0),
        but="label",
    ),
    Case("progan-pgz", "progan_pgz_s*", ".pt, old format", write_pgz, compare_lod(lambda item: 0.0)),
    Case("stylegan-tf", "stylegan1_genforce_*", ".pkl, official names", write_stylegan1_tf, compare_styles),
    Case(
        "stylegan-genforce",
        "stylegan1_genforce_*",
        ".pth, old format",
        write_genforce_published,
        compare_styles,
        but="fused",
    ),
    Case(
        "stylegan-genforce",
        "stylegan1_genforce_r32_fused",
        ".pth, --set fused=true",
        write_genforce_published,
        compare_styles,
        {"fused": True},
    ),
    Case("stylegan2-torch", "stylegan2_*", ".pkl, embedded source", write_persistent, compare_const_noise),
    Case("stylegan2-tf", "stylegan2_*", ".pkl", write_stylegan2_tf, compare_const_noise),
    Case("stylegan2-genforce", "stylegan2_r32", ".pth", write_stylegan2_genforce, compare_const_noise),
    Case("stylegan2-rosinality", "stylegan2_r32", ".pt", write_rosinality, compare_const_noise),
    Case("stylegan3-torch", "stylegan3_*", ".pkl, embedded source", write_persistent, compare_stylegan3),
    Case("biggan", "biggan_*", ".pth, old format", write_state_dict, compare_biggan),
    Case("dcgan", "dcgan_*", ".pth, old format", write_state_dict, compare_dcgan),
    Case("cyclegan", "cyclegan_resnet*", "two .pth", write_pair, compare_pair),
    Case("pix2pix", "cyclegan_resnet6_r32", ".pth, one direction", write_one_direction, compare_one_direction),
    Case("pix2pix", "pix2pix_unet5_*", ".pth, old format", write_state_dict, compare_pix2pix, {"img_size": 32}),
    Case("pix2pix", "pix2pix_unet6_*", ".pth, old format", write_state_dict, compare_pix2pix, {"img_size": 64}),
]


@dataclass(frozen=True)
class Row:
    family: str
    item: str
    stored: str
    difference: float
    largest: float

    @property
    def relative(self) -> float:
        return self.difference / self.largest


def items_of(case: Case) -> list[str]:
    return [p.stem for p in sorted(GOLDEN.glob(f"{case.items}.json")) if not re.search(case.but, p.stem)]


@torch.no_grad()
def measure(case: Case, name: str, plugins: LoadedPlugins | None = None) -> Row:
    """Write, import, sample, compare. Raises RuntimeError if embedded source was run."""
    plugins = plugins or load_plugins()
    item = load_item(name)
    with tempfile.TemporaryDirectory() as folder:
        files = case.write(item, Path(folder))
        out = Path(folder) / "imported.safetensors"
        found = import_weights(files, out, options=case.options, plugins=plugins)
        if found.family != case.family:
            raise RuntimeError(f"{name}: taken for {found.family} and is {case.family}")
        generator = load_generator(out, plugins=plugins)
        pairs = case.compare(generator, item)
        check_recipe(generator, plugins)
    if trap().exists():
        trap().unlink()
        raise RuntimeError(f"{name}: embedded source was run")
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise RuntimeError(f"{name}: images of {list(ours.shape)} in place of {list(theirs.shape)}")
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    return Row(case.family, name, case.stored, difference, max(float(theirs.abs().max()) for _, theirs in pairs))


def check_recipe(generator: LoadedGenerator, plugins: LoadedPlugins) -> None:
    """Raise RecipeError unless the snapshot's recipe can be trained."""
    G, recipe, registry = generator.G, generator.recipe, plugins.registry
    sizes = {"img_channels": G.img_channels, "c_dim": G.c_dim, "in_channels": getattr(G, "in_channels", 0)}
    players = build_networks(recipe, registry, **sizes, device="meta")
    build_objective(recipe, registry, *players)
    check_phases(recipe, registry, *players, build_growth(recipe, registry).phases(100_000))


def table(rows: Sequence[Row]) -> str:
    lines = ["| family | reference item | stored as | largest difference | of values up to |", "|---|---|---|---|---|"]
    lines += [f"| `{r.family}` | {r.item} | {r.stored} | {r.difference:.1e} | {r.largest:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/import.md")
    arguments = parser.parse_args()
    if not GOLDEN.is_dir():
        sys.exit(f"{GOLDEN}: not there; the reference data lie beside the checkout")
    plugins = load_plugins()
    rows = [measure(case, name, plugins) for case in CASES for name in items_of(case)]
    print(table(rows))
    if arguments.docs:
        before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
        DOCS.write_text(before + BEGIN + table(rows) + END + rest.split(END, 1)[1], encoding="utf-8")
    worst = max(row.relative for row in rows)
    if not math.isfinite(worst) or worst > 1e-4:
        sys.exit(f"an image differs by {worst:.1e} of its largest value")


if __name__ == "__main__":
    main()
