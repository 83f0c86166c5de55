"""StyleGAN's networks of ours, written out as other projects store them, come back: what needs no reference data."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ganzoo.generation import load_generator
from ganzoo.importing.convert import import_weights

pytest.importorskip("ganzoo_stylegan")
ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("import_equal", ROOT / "benchmarks" / "import_equal.py")
import_equal = importlib.util.module_from_spec(_spec)
sys.modules["import_equal"] = import_equal  # dataclasses look themselves up
_spec.loader.exec_module(import_equal)

import_stylegan1, import_stylegan2, import_stylegan3, stylegan1, stylegan2, stylegan3 = (
    importlib.import_module(f"ganzoo_stylegan.{name}")
    for name in ("import_stylegan1", "import_stylegan2", "import_stylegan3", "stylegan1", "stylegan2", "stylegan3")
)

SIZES = {"img_resolution": 16, "img_channels": 3}
STYLED = ("weight", "bias", "noise_strength", "noise_const", "affine.weight", "affine.bias")


def shaken(G: nn.Module) -> nn.Module:
    """With random values also where training starts at 0."""
    with torch.no_grad():
        for x in [*G.parameters(), G.w_avg]:
            x.add_(torch.randn_like(x))
    return G.eval()


def item(G: nn.Module, tensors: dict[str, Tensor], /, **constructor) -> import_equal.Item:
    """Their names for all of G's tensors, each once."""
    assert len(tensors) == len(G.state_dict())
    meta = {"constructor": constructor, "resolution": G.img_resolution}
    return import_equal.Item("ours", meta, {f"w/G/{name}": x for name, x in tensors.items()})


def stylegan2_item(c_dim: int, architecture: str) -> tuple[nn.Module, import_equal.Item]:
    widths = {"channel_base": 64, "channel_max": 8}
    G = shaken(
        stylegan2.Generator(
            **SIZES, c_dim=c_dim, z_dim=5, w_dim=6, mapping_layers=2, architecture=architecture, **widths
        )
    )
    names = [
        "mapping.w_avg",
        "synthesis.b4.const",
        *(f"mapping.fc{i}.{k}" for i in range(2) for k in ("weight", "bias")),
    ]
    names += ["mapping.embed.weight", "mapping.embed.bias"] if c_dim else []
    for r in (4, 8, 16):
        names += [f"synthesis.b{r}.{conv}.{k}" for conv in ("conv0", "conv1")[r == 4 :] for k in STYLED]
        if architecture == "skip" or r == 16:
            names += [f"synthesis.b{r}.torgb.{k}" for k in ("weight", "bias", "affine.weight", "affine.bias")]
        names += [f"synthesis.b{r}.skip.weight"] if architecture == "resnet" and r > 4 else []
    state = G.state_dict()
    g = {"z_dim": 5, "c_dim": c_dim, "img_resolution": 16, "conv_clamp": None, "architecture": architecture}
    return G, item(G, {name: state[import_stylegan2.torch_name(name)] for name in names}, G=g, D={})


def check(G: nn.Module, files: list[Path], family: str, out: Path, **options) -> None:
    assert import_weights(files, out, options=options).family == family
    found = load_generator(out).G
    assert type(found) is type(G)
    state = found.state_dict()
    assert state.keys() == G.state_dict().keys()
    for name, x in G.state_dict().items():
        torch.testing.assert_close(state[name], x, rtol=0, atol=1e-6, msg=name)
    assert not import_equal.trap().exists()


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize(
    ("family", "write"),
    [
        ("stylegan2-torch", import_equal.write_persistent),
        ("stylegan2-tf", import_equal.write_stylegan2_tf),
        ("stylegan2-genforce", import_equal.write_stylegan2_genforce),
        ("stylegan2-rosinality", import_equal.write_rosinality),
    ],
)
def test_stylegan2(family, write, architecture, tmp_path):
    if architecture != "skip" and family in ("stylegan2-genforce", "stylegan2-rosinality"):
        pytest.skip("these projects have the skip architecture")
    labels = 3 if family in ("stylegan2-torch", "stylegan2-tf") else 0
    G, stored = stylegan2_item(labels, architecture)
    check(G, write(stored, tmp_path), family, tmp_path / "out.safetensors")


@pytest.mark.parametrize("config", ["t", "r"])
def test_stylegan3(config, tmp_path):
    own = {"num_layers": 4, "num_critical": 1, "margin_size": 2, "channel_base": 64, "channel_max": 8}
    G = shaken(stylegan3.Generator(**SIZES, **own, c_dim=2, config=config, z_dim=5, w_dim=6, mapping_layers=1))
    names = ["mapping.w_avg", "mapping.fc0.weight", "mapping.fc0.bias", "mapping.embed.weight", "mapping.embed.bias"]
    names += [f"synthesis.input.{name}" for name in import_stylegan3.INPUT]
    kinds = ("weight", "bias", "magnitude_ema", "affine.weight", "affine.bias")
    signals = import_stylegan3.signals_for(16, **{**import_stylegan3.SIGNALS, **own})
    layers = [f"L{i}_{s.size}_{s.channels}" for i, s in enumerate(signals)] + ["L4_16_3"]
    names += [f"synthesis.{layer}.{kind}" for layer in layers for kind in kinds]
    state = G.state_dict()
    tensors = {name: state[import_stylegan3.torch_name(name, 4)] for name in names}
    kernel = {"conv_kernel": 1, "use_radial_filters": True} if config == "r" else {}
    g = {"z_dim": 5, "c_dim": 2, "w_dim": 6, "img_resolution": 16, **own, **kernel}
    check(
        G, import_equal.write_persistent(item(G, tensors, **g), tmp_path), "stylegan3-torch", tmp_path / "o.safetensors"
    )
    g["margin_size"] = 5
    with pytest.raises(ValueError, match=r"its layer . makes .* by its arguments"):
        import_weights(import_equal.write_persistent(item(G, tensors, **g), tmp_path), tmp_path / "x.safetensors")


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("const_input", [True, False])
def test_stylegan_of_genforce(const_input, fused, tmp_path):
    args = {"z_dim": 5, "w_dim": 6, "mapping_layers": 2, "mapping_fmaps": 7, "fmap_base": 32, "fmap_max": 8}
    G = shaken(stylegan1.Generator(**SIZES, **args, c_dim=3, const_input=const_input))
    kinds = ("weight", "bias", "apply_noise.weight", "apply_noise.noise", "style.weight", "style.bias")
    names = ["truncation.w_avg", "mapping.label_weight"]
    names += [f"mapping.dense{i}.{kind}" for i in range(2) for kind in ("weight", "bias")]
    names += [f"synthesis.output{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    names += [f"synthesis.layer{i}.{kind}" for i in range(1, 6) for kind in kinds]
    names += [f"synthesis.layer0.{kind}" for kind in ("const" if const_input else "weight", *kinds[1:])]
    state, tensors = G.state_dict(), {}
    for name in names:
        flipped_from = import_stylegan1.fused_from(fused)
        ours, flipped = import_stylegan1.genforce_tensor(name, torch.zeros(1, 1, 4, 4), flipped_from)[0], False
        flipped = fused is True and name.endswith(("layer2.weight", "layer4.weight"))
        x = state[ours].flip(2, 3) if flipped else state[ours]
        if name == "synthesis.layer0.weight":
            x = x.reshape(8, 4, 4, 6).permute(0, 3, 1, 2).flip(2, 3)
        tensors[name] = x
    files = import_equal.write_genforce_published(item(G, tensors, G={}), tmp_path)
    options = {} if fused is None else {"fused": fused}
    check(G, files, "stylegan-genforce", tmp_path / "out.safetensors", **options)
