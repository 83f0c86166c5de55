"""Feature maps and settings that importers infer; with reference data, tests/importing compares the images."""

from __future__ import annotations

import pytest
import torch

from ganzoo import ForeignNetwork, ForeignWeights
from ganzoo.testing import check_importer
from ganzoo_progan.importers import GANZooImporter, GenforceImporter, TFImporter, fit_rule, stage
from ganzoo_progan.networks import feature_maps


@pytest.mark.parametrize("base", [8192, 4096, 16384, 5000])
@pytest.mark.parametrize("most", [512, 64, 4096])
def test_the_rule_is_found_again(base, most):
    widths = {r: feature_maps(r, base, 1.0, most) for r in (4, 8, 16, 32, 64, 128, 256, 512, 1024)}
    found = fit_rule(widths, 0.5)
    assert found is not None
    assert {r: feature_maps(r, found[0], 1.0, found[1]) for r in widths} == widths
    if base in (4096, 8192) and most == 512:
        assert found == (base, most)


def test_feature_maps_that_follow_no_rule():
    assert fit_rule({4: 32, 8: 32, 16: 16, 32: 16}, 0.5) is None


def test_where_growing_stood():
    assert stage(0.0, 32) == {"resolution": 32, "alpha": 1.0}
    assert stage(1.25, 32) == {"resolution": 16, "alpha": 0.75}
    for lod in (-1.0, 3.5, float("nan")):
        with pytest.raises(ValueError, match="lod"):
            stage(lod, 32)


def pgz(**config) -> ForeignWeights:
    """The smallest network of pytorch_GAN_zoo: 4 px."""
    shapes = {"formatLayer": (16 * 6, 5), "groupScale0.0": (6, 6, 3, 3), "toRGBLayers.0": (3, 6, 1, 1)}
    tensors = {f"{layer}.module.weight": torch.randn(shape) for layer, shape in shapes.items()}
    tensors |= {f"{layer}.module.bias": torch.randn(shape[0]) for layer, shape in shapes.items()}
    networks = {"netG": ForeignNetwork("torch", tensors), "netD": ForeignNetwork("torch", {"x": torch.zeros(1)})}
    return ForeignWeights(networks, values={f"config/{key}": value for key, value in config.items()})


def test_pytorch_gan_zoo():
    check_importer(GANZooImporter, weights=pgz())
    model = GANZooImporter().model(pgz(noiseVectorDim=3, categoryVectorDim=2, alpha=0.0))
    assert (model.img_resolution, model.img_channels, model.c_dim) == (4, 3, 2)
    assert model.recipe["generator"]["args"]["z_dim"] == 3
    assert model.notes


@pytest.mark.parametrize("config", [{"leakyReluLeak": 0.1}, {"equalizedlR": False}, {"lossCriterion": "DCGAN"}])
def test_other_settings_are_another_function(config):
    with pytest.raises(ValueError, match=f"{next(iter(config))}=.*another function"):
        GANZooImporter().model(pgz(**config))


def test_authors_settings_are_read():
    shapes = {
        "4x4/Dense/weight": (7, 96),
        "4x4/Dense/bias": (6,),
        "4x4/Conv/weight": (3, 3, 6, 6),
        "4x4/Conv/bias": (6,),
    }
    shapes |= {"ToRGB_lod0/weight": (1, 1, 6, 1), "ToRGB_lod0/bias": (1,)}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}

    def weights(**args) -> ForeignWeights:
        return ForeignWeights(
            {"0": ForeignNetwork("tf", tensors, args=args), "2": ForeignNetwork("tf", tensors, args=args)}
        )

    check_importer(TFImporter, weights=weights())
    model = TFImporter().model(weights(label_size=3, normalize_latents=False))
    assert (model.networks, model.c_dim, model.img_channels) == (["2"], 3, 1)
    assert model.recipe["generator"]["args"]["z_dim"] == 4
    assert model.recipe["generator"]["args"]["normalize_latents"] is False
    with pytest.raises(ValueError, match="use_wscale=False"):
        TFImporter().model(weights(use_wscale=False))


def test_fused_layers_of_genforce_are_told_by_their_shape():
    shapes = {"layer0": (8, 5, 4, 4), "layer1": (8, 8, 3, 3), "output0": (3, 8, 1, 1), "layer3": (4, 4, 3, 3)}
    shapes |= {"output1": (3, 4, 1, 1)}
    for up, shape in {"fused": (8, 4, 3, 3), "apart": (4, 8, 3, 3)}.items():
        all_shapes = {**shapes, "layer2": shape}
        widths = {"layer0": 8, "layer1": 8, "layer2": 4, "layer3": 4, "output0": 3, "output1": 3}
        tensors = {f"{layer}.weight": torch.randn(size) for layer, size in all_shapes.items()}
        tensors |= {f"{layer}.bias": torch.randn(width) for layer, width in widths.items()}
        weights = ForeignWeights({"": ForeignNetwork("torch", tensors)})
        check_importer(GenforceImporter, weights=weights)
        state = GenforceImporter().generator_state(weights)
        assert state["blocks.8.conv0.weight"].shape == (4, 8, 3, 3)
        if up == "fused":
            assert torch.equal(state["blocks.8.conv0.weight"], tensors["layer2.weight"].transpose(0, 1).flip(2, 3))
