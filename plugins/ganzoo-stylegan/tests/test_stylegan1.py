"""StyleGAN's networks and layers: contracts, the paper's ladder of configurations, styles, noise, and closed forms."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ganzoo_stylegan
from ganzoo import GrowthState, whole_batch
from ganzoo.testing import check_component, check_discriminator, check_generator, registered
from ganzoo_progan.layers import downsample, upsample
from ganzoo_progan.networks import Generator as ProGANGenerator
from ganzoo_stylegan.layers import AdaIN, BlurredUpConv2d, NoiseInjection, ScaledLinear, adain, blur
from ganzoo_stylegan.losses import path_lengths, squared_gradient_norms
from ganzoo_stylegan.stylegan1 import Discriminator, DiscriminatorBlock, Generator

SIZES = [4, 8, 16]
WIDTHS = {"fmap_base": 64, "fmap_max": 16}
SMALL = {"z_dim": 16, "w_dim": 12, "mapping_layers": 3, "mapping_fmaps": 10, **WIDTHS}
OPTIONS = {
    ("generator", "stylegan"): {"args": SMALL, "resolutions": SIZES},
    ("discriminator", "stylegan"): {"args": WIDTHS, "resolutions": SIZES, "minibatch_statistics": True},
}
# Table 1 of the paper: each rung turns on what it names.
RUNG_B = {"mapping_layers": 0, "use_styles": False, "const_input": False, "use_noise": False, "mixing_prob": 0.0}
RUNG_C = {**RUNG_B, "mapping_layers": 3, "use_styles": True}
RUNG_D = {**RUNG_C, "const_input": True}
RUNG_E = {**RUNG_D, "use_noise": True}
RUNG_F = {**RUNG_E, "mixing_prob": 0.9}
RUNGS = {"B": RUNG_B, "C": RUNG_C, "D": RUNG_D, "E": RUNG_E, "F": RUNG_F}


def at(resolution: int, alpha: float = 1.0) -> GrowthState:
    return GrowthState(resolution, alpha, batch_size=4, g_lr=0.001, d_lr=0.001)


def make_generator(*, seed: int = 0, c_dim: int = 0, img_resolution: int = 16, **changes) -> Generator:
    """Small, with strengths, biases and w_avg that are not 0, so that all terms show."""
    torch.manual_seed(seed)
    G = Generator(c_dim=c_dim, img_resolution=img_resolution, img_channels=3, **{**SMALL, **changes})
    with torch.no_grad():
        for parameter in G.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        G.w_avg.normal_()
    return G


def make_discriminator(**changes) -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(**{"c_dim": 0, "img_resolution": 16, "img_channels": 3, **WIDTHS, **changes})


# --- contracts ---


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_contract(kind, name, c_dim):
    (entry,) = (e for e in registered(ganzoo_stylegan) if (e.kind, e.name) == (kind, name))
    check_component(entry, c_dim=c_dim, **OPTIONS[kind, name])


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_of_the_ladder_keeps_the_contract(rung):
    args = {**{k: v for k, v in SMALL.items() if k != "w_dim"}, **RUNGS[rung]}
    check_generator(Generator, args, resolutions=SIZES)


@pytest.mark.parametrize("blurred", [True, False])
def test_without_minibatch_stddev_logits_are_independent(blurred):
    args = {**WIDTHS, "mbstd_group_size": 1, "blur": blurred}
    check_discriminator(Discriminator, args, resolutions=SIZES, img_channels=1, c_dim=2)


# --- the ladder ---


def test_without_styles_and_blur_it_is_progan():
    """Configuration B less its bilinear sampling is ganzoo_progan's generator, with the biases in the same places."""
    G = make_generator(w_dim=None, blur=False, **RUNG_B)
    progan = ProGANGenerator(c_dim=0, img_resolution=16, img_channels=3, z_dim=16, **WIDTHS)
    progan.load_state_dict({name: x for name, x in G.state_dict().items() if name != "w_avg"})
    z = torch.randn(4, 16)
    for growth in (at(4), at(16), at(16, 0.3)):
        torch.testing.assert_close(G(z, growth=growth), progan(z, growth=growth))


def test_switches_that_contradict_each_other():
    with pytest.raises(ValueError, match="const_input to false"):
        make_generator(use_styles=False, mixing_prob=0.0)
    with pytest.raises(ValueError, match="mixing_prob to 0"):
        make_generator(use_styles=False, const_input=False)
    with pytest.raises(ValueError, match=r"has 16 numbers, not w_dim 12.*mapping_layers to 1"):
        make_generator(mapping_layers=0)
    with pytest.raises(ValueError, match=r"cannot make 24x24.*16 or 32"):
        make_generator(img_resolution=24)
    assert make_generator(mapping_layers=0, w_dim=None).w_dim == 16
    assert make_generator(mapping_layers=0, w_dim=None, c_dim=3).w_dim == 32
    assert make_generator(w_dim=None).w_dim == 512


@pytest.mark.parametrize("const_input", [True, False])
def test_constant_input_is_the_same_for_all(const_input):
    """A constant input takes nothing from w, so that styles alone make the difference."""
    G = make_generator(const_input=const_input, use_noise=False)
    for epilogue in (m for m in G.modules() if isinstance(m, AdaIN)):
        torch.nn.init.zeros_(epilogue.affine.weight)
    img = G(torch.randn(2, 16), growth=at(16))
    assert torch.allclose(img[0], img[1], atol=1e-4) == const_input


# --- styles ---


def captured_ws(G: Generator, monkeypatch) -> list[Tensor]:
    seen: list[Tensor] = []
    monkeypatch.setattr(G, "synthesis", lambda ws, **_: seen.append(ws) or ws)
    return seen


@pytest.mark.parametrize("resolution", [4, 16])
def test_mixing_in_training(monkeypatch, resolution):
    """In 90 % of the batches, from a layer on that is drawn among those in use; before it styles are those of z."""
    G = make_generator()
    seen = captured_ws(G, monkeypatch)
    z = torch.randn(4, 16)
    ws = G.broadcast(G.mapping(z))
    for _ in range(600):
        G(z, growth=at(resolution))
    cutoffs = []
    for mixed in seen:
        changed = (mixed != ws).flatten(2).any(dim=2)  # [N, num_ws]
        assert torch.equal(changed, changed[:1].expand_as(changed))  # one cutoff for all images of a batch
        cutoff = int((~changed[0]).sum())
        assert torch.equal(changed[0], torch.arange(G.num_ws) >= cutoff)
        cutoffs.append(cutoff)
    layers = G.num_ws_at(resolution)
    assert set(cutoffs) == {*range(1, layers), G.num_ws}
    assert cutoffs.count(G.num_ws) / len(cutoffs) == pytest.approx(0.1, abs=0.05)
    assert cutoffs.count(1) / len(cutoffs) == pytest.approx(0.9 / (layers - 1), abs=0.06)


def test_mixing_with_the_same_latents_changes_nothing(monkeypatch):
    G, z = make_generator(use_noise=False, mixing_prob=1.0), torch.randn(4, 16)
    plain = G.eval()(z, growth=at(16))
    assert not torch.allclose(G.train()(z, growth=at(16)), plain, atol=1e-3)
    monkeypatch.setattr(whole_batch, "randn", lambda *shape, **kwargs: z)
    torch.testing.assert_close(G(z, growth=at(16)), plain)


def test_no_mixing_in_eval_mode_or_at_probability_zero(monkeypatch):
    z = torch.randn(4, 16)
    for G in (make_generator(mixing_prob=1.0).eval(), make_generator(mixing_prob=0.0)):
        seen = captured_ws(G, monkeypatch)
        G(z, growth=at(16))
        assert torch.equal(seen[0], G.broadcast(G.mapping(z)))


def test_mean_of_w_follows_in_training_only():
    G, z = make_generator(w_avg_beta=0.9), torch.randn(8, 16)
    before = G.w_avg.clone()
    G.eval()(z, growth=at(8))
    G.mapping(z)
    assert torch.equal(G.w_avg, before)
    G.train()(z, growth=at(8))
    torch.testing.assert_close(G.w_avg, 0.9 * before + 0.1 * G.mapping(z).mean(dim=0))


def test_truncation_to_the_mean_gives_one_image():
    G = make_generator().eval()
    ws = G.broadcast(G.mapping(torch.randn(4, 16)))
    images = G.synthesis(G.truncate(ws, 0.0), growth=at(16), noise="const")
    mean = G.synthesis(G.broadcast(G.w_avg[None]), growth=at(16), noise="const")
    torch.testing.assert_close(images, mean.expand_as(images))
    assert torch.equal(G.truncate(ws, 1.0), ws)
    assert torch.equal(G.truncate(ws, 0.5, cutoff=2)[:, 2:], ws[:, 2:])


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_styles_of_layers_in_use_matter_and_others_do_not(resolution):
    G = make_generator()
    ws = G.broadcast(G.mapping(torch.randn(2, 16))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(G.synthesis(ws, growth=at(resolution)).square().sum(), ws)
    used = gradient.abs().sum(dim=(0, 2)) > 0
    assert torch.equal(used, torch.arange(6) < G.num_ws_at(resolution))
    assert G.num_ws == 6


def test_labels_choose_the_image_and_the_score():
    G, D = make_generator(c_dim=3).eval(), make_discriminator(c_dim=3)
    z, labels = torch.randn(1, 16).expand(3, -1), torch.eye(3)
    images = G(z, labels, growth=at(16))
    assert all((images[i] - images[j]).abs().max() > 0.01 for i, j in ((0, 1), (0, 2), (1, 2)))
    # For a one-hot label the logit is the score of that class; labels may also be mixtures.
    by_class = torch.cat([D(images[:1], label[None], growth=at(16)) for label in labels], dim=1)
    assert by_class.unique().numel() == 3
    mixture = torch.tensor([[0.2, 0.5, 0.3]])
    torch.testing.assert_close(D(images[:1], mixture, growth=at(16)), (by_class * mixture).sum(dim=1, keepdim=True))
    with pytest.raises(ValueError, match=r"give c \[N, 3\]"):
        G(z, growth=at(16))
    with pytest.raises(ValueError, match=r"give c \[N, 3\]"):
        D(images, growth=at(16))


def test_mapping_is_float32_under_autocast():
    G, z = make_generator(), torch.randn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        w = G.mapping(z)
    assert torch.equal(w, G.mapping(z))


# --- noise ---


def test_kinds_of_noise():
    G = make_generator()
    ws = G.broadcast(G.mapping(torch.randn(2, 16)))

    def images(noise: str) -> Tensor:
        return G.synthesis(ws, growth=at(16), noise=noise)

    assert torch.equal(images("none"), images("none"))
    assert torch.equal(images("const"), images("const"))
    assert not torch.allclose(images("random"), images("random"), atol=1e-2)
    z = torch.randn(2, 16)
    ws_of_z = G.broadcast(G.mapping(z))
    in_eval_mode = copy.deepcopy(G).eval()(z, growth=at(16))
    assert torch.equal(in_eval_mode, G.synthesis(ws_of_z, growth=at(16), noise="const"))
    assert not torch.allclose(images("const"), images("none"), atol=1e-2)
    for name, buffer in G.named_buffers():
        if name.endswith("noise.const"):
            buffer.zero_()
    assert torch.equal(images("const"), images("none"))


def test_random_noise_differs_between_images_and_is_shared_by_channels():
    layer = NoiseInjection(5, 8)
    layer.strength.data = torch.tensor([0.5, 1.0, 2.0, -1.0, 4.0])
    noise = layer(torch.zeros(300, 5, 8, 8)) / layer.strength[:, None, None]
    torch.testing.assert_close(noise, noise[:, :1].expand_as(noise))
    maps = noise[:, 0].detach().flatten(1)
    assert maps.mean().abs() < 0.05 and maps.std() == pytest.approx(1, abs=0.05)
    assert torch.corrcoef(maps[:2])[0, 1].abs() < 0.5


def test_noise_has_no_effect_before_training():
    torch.manual_seed(0)
    G = Generator(c_dim=0, img_resolution=16, img_channels=3, **SMALL)
    ws = G.broadcast(G.mapping(torch.randn(2, 16)))
    assert torch.equal(G.synthesis(ws, growth=at(16)), G.synthesis(ws, growth=at(16), noise="none"))


# --- layers against closed forms ---


def test_adain_gives_every_map_the_mean_and_the_deviation_of_its_style():
    x = torch.randn(3, 5, 9, 7, dtype=torch.float64) * 4 + 10
    scale, shift = torch.rand(3, 5, dtype=torch.float64) + 0.5, torch.randn(3, 5, dtype=torch.float64)
    y = adain(x, scale, shift)
    torch.testing.assert_close(y.mean(dim=(2, 3)), shift)
    torch.testing.assert_close(y.std(dim=(2, 3), correction=0), scale)
    for n in range(3):
        for c in range(5):
            m = x[n, c]
            expected = (m - m.mean()) / (m.var(correction=0) + 1e-8).sqrt() * scale[n, c] + shift[n, c]
            torch.testing.assert_close(y[n, c], expected)


def test_gradients_of_adain():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    style = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(adain, (x, *style))
    assert torch.autograd.gradgradcheck(adain, (x, *style))


def test_adain_of_flat_maps_is_finite():
    x = torch.full((2, 3, 4, 4), 0.7, requires_grad=True)
    y = adain(x, torch.ones(2, 3), torch.full((2, 3), 0.5))
    y.sum().backward()
    torch.testing.assert_close(y, torch.full_like(y, 0.5), atol=1e-2, rtol=0)
    assert x.grad.isfinite().all()


def test_blur_is_the_binomial_filter_with_zeros_outside():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1))
    expected = sum(
        (2 - abs(i)) * (2 - abs(j)) / 16 * padded[:, :, 1 + i : 7 + i, 1 + j : 6 + j]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    )
    torch.testing.assert_close(blur(x), expected)
    x.requires_grad_()
    assert torch.autograd.gradcheck(blur, x) and torch.autograd.gradgradcheck(blur, x)


def test_blurred_up_convolution():
    layer = BlurredUpConv2d(3, 4, 3)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 5, 5)
    expected = blur(F.conv2d(upsample(x), layer.weight * layer.scale, padding=1)) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("blurred", [True, False])
def test_discriminator_block_averages_before_bias_and_activation(blurred):
    block = DiscriminatorBlock(3, 4, blur=blurred)
    torch.nn.init.normal_(block.conv0.bias)
    torch.nn.init.normal_(block.conv1.bias)
    x = torch.randn(2, 3, 8, 8)
    features = F.leaky_relu(F.conv2d(x, block.conv0.weight * block.conv0.scale, block.conv0.bias, padding=1), 0.2)
    features = blur(features) if blurred else features
    features = downsample(F.conv2d(features, block.conv1.weight * block.conv1.scale, padding=1))
    expected = F.leaky_relu(features + block.conv1.bias[:, None, None], 0.2)
    torch.testing.assert_close(block(x), expected)


def test_learning_rate_multiplier_slows_down_and_changes_nothing_else():
    slow, normal = (ScaledLinear(6, 5, lr_multiplier=m).double() for m in (0.01, 1.0))
    with torch.no_grad():
        normal.bias.normal_()
        for p, q in zip(slow.parameters(), normal.parameters(), strict=True):
            p.copy_(q / 0.01)
    x = torch.randn(4, 6, dtype=torch.float64)
    before = normal(x)
    torch.testing.assert_close(slow(x), before)
    moved = {}
    for layer in (slow, normal):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.001)
        layer(x).sum().backward()
        optimizer.step()
        moved[layer] = (layer(x) - before).abs().mean().item()
    assert moved[slow] / moved[normal] == pytest.approx(0.01, rel=0.01)


# --- precision, layout, meta ---


def test_double_backward_in_half_precision_is_finite():
    G, D = make_generator(), make_discriminator()
    img = torch.randn(4, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        squares = squared_gradient_norms(D, img, growth=at(16, 0.5))
        ws = G.broadcast(G.mapping(torch.randn(4, 16)))
        lengths = path_lengths(partial(G.synthesis, growth=at(16, 0.5)), ws, torch.randn_like(img))
    assert squares.dtype == lengths.dtype == torch.float32
    (squares.mean() + lengths.var()).backward()
    for net in (G, D):
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        assert len(gradients) > 10 and all(g.isfinite().all() for g in gradients)


def test_half_precision_is_near_single():
    G, D = make_generator().eval(), make_discriminator().eval()
    z = torch.randn(4, 16)
    img = G(z, growth=at(16))
    scores = D(img, growth=at(16))
    with torch.autocast("cpu", torch.bfloat16):
        half = G(z, growth=at(16))
        half_scores = D(img, growth=at(16))
    assert (half - img).abs().max() < 0.05 * img.abs().max()
    assert (half_scores - scores).abs().max() < 0.05 * scores.abs().max()


def test_channels_last_goes_through():
    G, D = (net.to(memory_format=torch.channels_last) for net in (make_generator(), make_discriminator()))
    layouts = []
    for net in (G, D):
        for block in net.blocks.values():
            block.register_forward_hook(
                lambda _, __, out: layouts.append(out.ndim < 4 or out.is_contiguous(memory_format=torch.channels_last))
            )
    img = G(torch.randn(4, 16), growth=at(16))
    D(img, growth=at(16))
    assert len(layouts) == 6 and all(layouts)


def test_built_on_the_meta_device():
    """As a recipe is checked: no memory, no random numbers."""
    with torch.device("meta"):
        G = Generator(c_dim=2, img_resolution=1024, img_channels=3)
        D = Discriminator(c_dim=2, img_resolution=1024, img_channels=3)
    # The paper has 26.2 million (table 1) without labels, which add 512 * 2 and 512 * 512 numbers.
    assert sum(p.numel() for p in G.parameters()) == pytest.approx(26.2e6 + 512 * 514, rel=0.002)
    assert all(p.is_meta for p in (*G.parameters(), *D.parameters()))


def test_copy_is_independent():
    G = make_generator()
    other = copy.deepcopy(G)
    G(torch.randn(4, 16), growth=at(16))
    assert not torch.equal(G.w_avg, other.w_avg)
