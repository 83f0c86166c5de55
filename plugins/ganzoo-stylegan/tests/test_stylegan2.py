"""StyleGAN2's layers against plain formulas, and what its networks promise."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo import Batch, GrowthState
from ganzoo.testing import check_discriminator, check_generator, check_loss
from ganzoo_progan.layers import minibatch_stddev as minibatch_stddev_of_progan
from ganzoo_stylegan.losses import R1, LogisticLoss, PathLength
from ganzoo_stylegan.resample import filter2d, fir_kernel
from ganzoo_stylegan.stylegan2 import Discriminator, Generator, StyledConv2d, ToRGB, minibatch_stddev, modulated_conv2d

SMALL_D = {"channel_base": 128, "channel_max": 16, "mapping_layers": 2}
SMALL_G = SMALL_D | {"z_dim": 12, "w_dim": 14}
SIZES = {"img_resolution": 16, "img_channels": 3, "c_dim": 0}
GROWTH = GrowthState(resolution=16, alpha=1.0, batch_size=4, g_lr=0.001, d_lr=0.001)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small_players(**sizes: int) -> tuple[Generator, Discriminator]:
    return Generator(**SMALL_G, **SIZES | sizes), Discriminator(**SMALL_D, **SIZES | sizes)


# --- layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_one_convolution_a_sample(up):
    x, weight, style = torch.randn(3, 5, 8, 8), torch.randn(4, 5, 3, 3), torch.randn(3, 5)
    shift = torch.randn(4, 1, 1)
    kernel = fir_kernel([1, 3, 3, 1])
    ours = modulated_conv2d(x, weight, style, gain=1.5, shift=shift, up=kernel if up else None)
    for n in range(3):
        own = weight * style[n][None, :, None, None]
        own = own / (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            plain = F.conv_transpose2d(x[n : n + 1], own.transpose(0, 1), stride=2)
            plain = filter2d(plain, kernel, padding=1, gain=4.0)
        else:
            plain = F.conv2d(x[n : n + 1], own, padding=1)
        torch.testing.assert_close(ours[n : n + 1], plain * 1.5 + shift, rtol=1e-4, atol=1e-5)


def test_demodulation_keeps_the_deviation():
    """Of independent inputs of deviation 1, whatever the style: the statistical assumption of section 2.2."""
    x, weight = torch.randn(4, 64, 32, 32), torch.randn(8, 64, 3, 3) * 7
    out = modulated_conv2d(x, weight, torch.tensor([0.01, 1.0, 10.0, -3.0])[:, None] * torch.rand(4, 64))
    torch.testing.assert_close(out[..., 1:-1, 1:-1].std(dim=(1, 2, 3)), torch.ones(4), rtol=0.05, atol=0)


def test_rgb_layer_is_one_convolution_a_sample():
    layer = ToRGB(6, 3, 5, clamp=None)
    torch.nn.init.normal_(layer.bias)
    x, w = torch.randn(2, 6, 4, 4), torch.randn(2, 5)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        ours = layer(x.contiguous(memory_format=memory_format), w)
        for n, style in enumerate(layer.affine(w)):
            plain = F.conv2d(x[n : n + 1], layer.weight * style[:, None, None] / math.sqrt(6), layer.bias)
            torch.testing.assert_close(ours[n : n + 1], plain)


@pytest.mark.parametrize("noise", ["random", "const", "none"])
def test_noise_is_one_map_before_the_bias_and_the_activation(noise):
    layer = StyledConv2d(4, 6, 8, 5, upsample=False, clamp=None)
    torch.nn.init.normal_(layer.bias)
    torch.nn.init.constant_(layer.noise_strength, 0.5)
    x, w = torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    torch.manual_seed(3)
    ours = layer(x, w, noise, gain=0.7)
    torch.manual_seed(3)
    drawn = {"random": torch.randn(2, 1, 8, 8), "const": layer.noise_const, "none": torch.zeros([])}[noise]
    plain = modulated_conv2d(x, layer.weight, layer.affine(w)) + 0.5 * drawn + layer.bias[:, None, None]
    torch.testing.assert_close(ours, F.leaky_relu(plain, 0.2) * math.sqrt(2) * 0.7, rtol=1e-4, atol=1e-5)


def test_minibatch_stddev():
    x = torch.randn(8, 6, 4, 4)
    torch.testing.assert_close(minibatch_stddev(x, 4, 1), minibatch_stddev_of_progan(x, 4))
    halves = [minibatch_stddev_of_progan(part, 4)[:, -1:] for part in x.split(3, dim=1)]
    torch.testing.assert_close(minibatch_stddev(x, 4, 2)[:, 6:], torch.cat(halves, dim=1))


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_contract(architecture, c_dim):
    check_generator(Generator, SMALL_G | {"architecture": architecture}, c_dim=c_dim)
    args = SMALL_D | {"architecture": architecture}
    check_discriminator(Discriminator, args, c_dim=c_dim, minibatch_statistics=True)
    check_discriminator(Discriminator, args | {"mbstd_group_size": 1}, c_dim=c_dim)


@pytest.mark.parametrize("sizes", [{"img_channels": 4}, {"img_channels": 1}, {"img_resolution": 4}], ids=str)
def test_contract_of_other_images(sizes):
    check_generator(Generator, SMALL_G, **sizes)
    check_discriminator(Discriminator, SMALL_D, minibatch_statistics=True, **sizes)


def test_loss_with_these_networks():
    check_loss(LogisticLoss, c_dim=2, players=small_players(c_dim=2))


def test_defaults_have_the_sizes_of_the_reference():
    """The numbers of weights that the authors' code prints for FFHQ (config F)."""
    with torch.device("meta"):
        G = Generator(c_dim=0, img_resolution=1024, img_channels=3)
        D = Discriminator(c_dim=0, img_resolution=1024, img_channels=3)
    assert G.num_ws == 18
    assert sum(p.numel() for p in G.parameters()) == 30_370_060
    assert sum(p.numel() for p in D.parameters()) == 29_012_513


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_changes_nothing_and_is_kept(memory_format):
    G, D = (net.eval() for net in small_players())
    z = torch.randn(4, 12)
    with torch.no_grad():
        img = G(z, growth=GROWTH)
        score = D(img, growth=GROWTH)
        G, D = G.to(memory_format=memory_format), D.to(memory_format=memory_format)
        maps = []
        for net in (G, D):
            net.blocks["16"].conv1.register_forward_hook(lambda _, __, out: maps.append(out))
        again = G(z, growth=GROWTH)
        torch.testing.assert_close(again, img, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(D(again.contiguous(memory_format=memory_format), growth=GROWTH), score)
    assert all(m.is_contiguous(memory_format=memory_format) for m in maps) and len(maps) == 2


def test_bfloat16_is_close_to_float32():
    G, D = (net.eval() for net in small_players())
    z = torch.randn(4, 12)
    with torch.no_grad():
        img = G(z, growth=GROWTH)
        score = D(img, growth=GROWTH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough, rough_score = G(z, growth=GROWTH), D(img, growth=GROWTH)
    assert rough.dtype == rough_score.dtype == torch.float32
    assert (rough - img).square().mean().sqrt() < 0.02 * img.std()
    assert (rough_score - score).abs().max() < 0.05 * score.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
def test_regularizers_train_every_weight(autocast):
    """Gradients of gradients are finite, and reach all that can matter; biases of a linear part cannot."""
    G, D = small_players(img_channels=4, c_dim=2)
    c = torch.eye(2)[torch.arange(4) % 2]
    batch = Batch(torch.rand(4, 4, 16, 16) * 2 - 1, c, torch.randn(4, 12), c, GROWTH)
    for net, regularizer in ((D, R1(gamma=1.0)), (G, PathLength())):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            (term,) = regularizer.terms(G, D, batch).values()
        term.mean().backward()
        grads = {name: p.grad for name, p in net.named_parameters() if p.ndim > 1}
        assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in grads.values()), grads.keys()


def test_labels_matter_and_are_demanded():
    G, D = (net.eval() for net in small_players(c_dim=3))
    z, labels = torch.randn(1, 12).expand(3, 12), torch.eye(3)
    img = G(z, labels, growth=GROWTH)
    assert (img[1:] - img[:1]).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    scores = D(img[:1].expand(3, -1, -1, -1), labels, growth=GROWTH)
    assert (scores[1:] - scores[:1]).abs().min() > 1e-3
    with pytest.raises(ValueError, match=r"made for labels: give c \[N, 3\]"):
        G(z, growth=GROWTH)
    with pytest.raises(ValueError, match=r"made for labels: give c \[N, 3\]"):
        D(img, growth=GROWTH)


def test_truncation():
    G, _ = small_players()
    G.w_avg.normal_()
    ws = G.broadcast(G.mapping(torch.randn(3, 12)))
    mean = G.synthesis(G.broadcast(G.w_avg[None]), growth=GROWTH, noise="const")
    none_left = G.synthesis(G.truncate(ws, 0.0), growth=GROWTH, noise="const")
    torch.testing.assert_close(none_left, mean.expand(3, -1, -1, -1), rtol=1e-4, atol=1e-5)
    assert torch.equal(G.truncate(ws, 0.5, cutoff=2)[:, 2:], ws[:, 2:])


def test_only_training_mixes_styles_and_follows_their_mean(monkeypatch):
    G, _ = small_players()
    seen: list[Tensor] = []
    synthesis = G.synthesis
    monkeypatch.setattr(G, "synthesis", lambda ws, **kwargs: seen.append(ws) or synthesis(ws, **kwargs))
    z = torch.randn(2, 12)
    w = G.mapping(z)
    G.eval()(z, growth=GROWTH)
    assert torch.equal(seen.pop(), G.broadcast(w)) and not G.w_avg.any()
    G.train()
    cutoffs = set()
    for _ in range(60):
        G(z, growth=GROWTH)
        ws = seen.pop()
        own = [torch.equal(ws[:, i], w) for i in range(G.num_ws)]
        cutoffs.add(sum(own))
        assert own == sorted(own, reverse=True)  # from some layer on, all are another's
    assert cutoffs == set(range(1, G.num_ws + 1))
    torch.testing.assert_close(G.w_avg, w.mean(dim=0) * (1 - 0.998**60), rtol=1e-3, atol=1e-6)


def test_without_mixing_every_layer_has_one_w(monkeypatch):
    G = Generator(**SMALL_G, **SIZES, mixing_prob=0.0)
    monkeypatch.setattr(G, "synthesis", lambda ws, **kwargs: ws)
    z = torch.randn(2, 12)
    assert all(torch.equal(G(z, growth=GROWTH), G.broadcast(G.mapping(z))) for _ in range(20))


def test_clamping_limits_activations():
    G = Generator(**SMALL_G, **SIZES, conv_clamp=0.3, architecture="resnet").eval()
    limits = []
    for name, layer in G.named_modules():
        if isinstance(layer, (StyledConv2d, ToRGB)):
            # What is added to another branch is limited before it is scaled down.
            limit = 0.3 * math.sqrt(0.5) if name.endswith("conv1") else 0.3
            layer.register_forward_hook(lambda _, __, out, limit=limit: limits.append(out.abs().max() / limit))
    G(torch.randn(4, 12), growth=GROWTH)
    torch.testing.assert_close(torch.stack(limits), torch.ones(len(limits)))
    assert len(limits) == 6


@pytest.mark.parametrize("cls", [Generator, Discriminator])
def test_what_cannot_be_is_refused(cls):
    small = SMALL_G if cls is Generator else SMALL_D
    with pytest.raises(
        ValueError, match=r"48x48 images: set data\.img_resolution to a power of two, for example 32 or 64"
    ):
        cls(**small, **SIZES | {"img_resolution": 48})
    with pytest.raises(ValueError, match="channel_base 15 leaves no feature map at 16x16: make it at least 16"):
        cls(**small | {"channel_base": 15}, **SIZES)


def test_mbstd_channels_must_divide_the_feature_maps():
    with pytest.raises(ValueError, match="the 16 feature maps at 4x4 do not split into mbstd_num_channels=3 parts"):
        Discriminator(**SMALL_D, **SIZES, mbstd_num_channels=3)


def test_growing_is_refused():
    G, D = small_players()
    smaller = GrowthState(resolution=8, alpha=1.0, batch_size=4, g_lr=0.001, d_lr=0.001)
    for run in (lambda: G(torch.randn(2, 12), growth=smaller), lambda: D(torch.zeros(2, 3, 8, 8), growth=smaller)):
        with pytest.raises(ValueError, match=r"stylegan2 does not grow: .* Set growth\.name to fixed"):
            run()


def test_batches_that_do_not_split_are_refused_before_training():
    _, D = small_players()
    D.check_batch_size(8)
    with pytest.raises(ValueError, match="use a batch size of at most 4 or a multiple of it"):
        D.check_batch_size(6)
