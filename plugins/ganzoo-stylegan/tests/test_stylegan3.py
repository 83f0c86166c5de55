"""StyleGAN3: its filters, its equivariance, and the contracts of ganzoo.interfaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ganzoo_stylegan
from ganzoo import GrowthState
from ganzoo.testing import check_generator, registered
from ganzoo_stylegan import stylegan3
from ganzoo_stylegan.alias_free import kaiser_lowpass, leaky_clamp, radial_lowpass, signals_for
from ganzoo_stylegan.stylegan3 import FourierInput, Generator, ModulatedConv2d, Signal, SynthesisLayer

SMALL = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "num_layers": 6}
IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def make(config: str, *, img_resolution: int = 32, img_channels: int = 3, c_dim: int = 0, **args) -> Generator:
    torch.manual_seed(0)
    sizes = {"img_resolution": img_resolution, "img_channels": img_channels, "c_dim": c_dim}
    return Generator(config=config, **sizes, **{**SMALL, **args})


def state(resolution: int = 32) -> GrowthState:
    return GrowthState(resolution, 1.0, batch_size=4, g_lr=0.001, d_lr=0.001)


# --- equivariance ------------------------------------------------------------------------------------------------


def wide(config: str, **args) -> Generator:
    """A network with as many layers as it takes to see errors add up, and enough channels for typical features."""
    return make(config, **{"num_layers": 8, "channel_base": 1024, "channel_max": 32, **args}).eval()


@torch.no_grad()
def images(G: Generator, transform: list[list[float]] = IDENTITY) -> Tensor:
    """Four images (always of the same latents), moved by the user's transform."""
    G.input.transform.copy_(torch.tensor(transform))
    z = torch.randn(4, G.z_dim, generator=torch.Generator().manual_seed(1))
    return G.synthesis(G.broadcast(G.mapping(z)), growth=state(G.img_resolution))


def psnr(a: Tensor, b: Tensor) -> float:
    """In dB, for a range of 2, as the paper's equivariance metrics (appendix E)."""
    return 10 * math.log10(4 / (a.double() - b.double()).square().mean())


def eq_t(G: Generator, x: int, y: int) -> float:
    """How well the image moves with the input, by whole pixels; without those that moved in."""
    size, border = G.img_resolution, max(abs(x), abs(y))
    moved = images(G, [[1.0, 0.0, -x / size], [0.0, 1.0, -y / size], [0.0, 0.0, 1.0]])
    inner = slice(border, size - border)
    return psnr(moved[..., inner, inner], images(G).roll((y, x), (2, 3))[..., inner, inner])


def eq_r(G: Generator, degrees: float) -> float:
    """How well the image turns with the input, inside the circle where its rotation can be computed."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = images(G, [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    expected, inside = rotate(images(G), cos, sin)
    return psnr(turned[..., inside], expected[..., inside])


def rotate(img: Tensor, cos: float, sin: float, reach: int = 6) -> tuple[Tensor, Tensor]:
    """The image at turned positions, by Lanczos interpolation over ``reach`` pixels, and where that is possible."""
    size = img.shape[-1]
    grid = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")

    def weights(position: Tensor) -> Tensor:
        distance = position.flatten()[:, None] - grid
        return distance.sinc() * (distance / reach).sinc() * (distance.abs() < reach)  # [pixels, size]

    rows, columns = weights(sin * x + cos * y), weights(cos * x - sin * y)
    turned = torch.einsum("pi,pj,ncij->ncp", rows, columns, img.double()).unflatten(2, (size, size))
    return turned, x.hypot(y) < size / 2 - reach


# Unrelated images of this variance would have about 20 dB. Shifts are fractions of a sample in all but the last layers.
@pytest.mark.parametrize("config", ["t", "r"])
@pytest.mark.parametrize("shift", [(1, 0), (3, -2), (-5, 7)])
def test_translation_equivariance(config, shift):
    assert eq_t(wide(config), *shift) > 80  # measured: 93 and more


@pytest.mark.parametrize("spoiled", [{"margin_size": 0}, {"filter_size": 2}])
def test_translation_equivariance_needs_margin_and_filters(spoiled):
    assert eq_t(wide("t", **spoiled), 3, -2) < 70  # measured: 36, 63


@pytest.mark.parametrize("degrees", [10, 30, 45])
def test_rotation_equivariance(degrees):
    assert eq_r(wide("r"), degrees) > 68  # measured: 72 and more, and the interpolation adds its own error
    assert eq_r(wide("t"), degrees) < 50  # measured: 43 and less


def test_r_turns_by_a_right_angle_exactly():
    G = wide("r")
    turned = images(G, [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert psnr(turned, images(G).rot90(-1, (2, 3))) > 110


def test_w_moves_the_picture_as_the_user_transform_does():
    G = wide("r")
    with torch.no_grad():
        G.input.affine.bias.copy_(torch.tensor([1.2, 1.6, 0.3, -0.1]))  # of length 2, by which all is divided
    by_w = images(G)
    with torch.no_grad():
        G.input.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    turn, shift = torch.eye(3), torch.eye(3)
    turn[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    shift[:2, 2] = torch.tensor([-0.15, 0.05])
    torch.testing.assert_close(images(G, (turn @ shift).tolist()), by_w, rtol=1e-4, atol=1e-5)


# --- filters -----------------------------------------------------------------------------------------------------


def gain(f: np.ndarray, frequency: np.ndarray, rate: float) -> np.ndarray:
    """Amplitude at frequencies along the first axis, of a filter summed over the others."""
    line = f.reshape(len(f), -1).sum(1)
    t = (np.arange(len(f)) - (len(f) - 1) / 2) / rate
    return np.abs((line * np.exp(2j * np.pi * frequency[:, None] * t)).sum(1))


def test_kaiser_filter_passes_and_stops():
    f = kaiser_lowpass(64, cutoff=10, width=8, rate=64)
    assert np.abs(gain(f, np.linspace(0, 6, 50), 64) - 1).max() < 0.001
    assert gain(f, np.array([10.0]), 64) == pytest.approx(0.5, abs=0.01)
    assert gain(f, np.linspace(14, 32, 200), 64).max() < 0.001  # 60 dB


def test_radial_filter_is_the_same_in_all_directions():
    taps, rate, cutoff = 48, 64, 10
    line = kaiser_lowpass(taps, cutoff, 8, rate)
    t = (np.arange(taps) - (taps - 1) / 2) / rate

    def diagonal(f: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        wave = np.exp(2j * np.pi * frequency[:, None] * t / math.sqrt(2))
        return np.abs(np.einsum("fi,ij,fj->f", wave, f, wave))

    frequency = np.linspace(0, 30, 100)
    radial = radial_lowpass(taps, cutoff, 8, rate)
    assert np.abs(diagonal(radial, frequency) - gain(radial, frequency, rate)).max() < 0.01
    separable = np.outer(line, line)
    assert np.abs(diagonal(separable, frequency) - gain(separable, frequency, rate)).max() > 0.5


@pytest.mark.parametrize("radial", [False, True])
def test_layer_filters_stop_what_would_alias(radial):
    """Frequencies that the next sampling rate cannot hold are 40 dB down, and 26 dB where bands come close to it."""
    signals = paper_signals(256)
    for source, target in zip([signals[0], *signals], signals, strict=False):
        layer = SynthesisLayer(
            4,
            Signal(**{**vars(source), "channels": 1}),
            Signal(**{**vars(target), "channels": 1}),
            kernel_size=1,
            radial=radial,
            filter_size=6,
            lrelu_upsampling=2,
            conv_clamp=None,
            magnitude_ema_beta=0.999,
        )
        rate = max(source.rate, target.rate) * 2
        for f, signal in ((layer.up_filter, source), (layer.down_filter, target)):
            f = f.double().numpy()
            assert f.sum() == pytest.approx(1, abs=1e-6)
            stopped = np.linspace(signal.cutoff + signal.half_width, rate / 2, 200)
            assert gain(f, stopped, rate).max() < 10 ** (-(40 if signal.rate <= 64 else 26) / 20), signal


def paper_signals(img_resolution: int) -> list[Signal]:
    return signals_for(
        img_resolution,
        channel_base=32768,
        channel_max=512,
        num_layers=14,
        num_critical=2,
        first_cutoff=2.0,
        first_stopband=2**2.1,
        last_stopband_rel=2**0.3,
        margin_size=10,
    )


LAST_AT_1024 = [323, 203, 128, 81, 51, 32, 32]


@pytest.mark.parametrize(
    ("img_resolution", "sizes", "channels"),
    [
        (256, [36, 36, 36, 52, 52, 84, 84, 148, 148, 148, 276, 276, 276, 256], [512] * 9 + [362, 256, 181, 128, 128]),
        (1024, [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024], [512] * 7 + LAST_AT_1024),
    ],
)
def test_sizes_of_the_published_networks(img_resolution, sizes, channels):
    """Sizes and channels of the layers of the authors' networks, which carry them in their names."""
    signals = paper_signals(img_resolution)
    assert [s.size for s in signals] == sizes
    assert [s.channels for s in signals] == channels


# --- parts -------------------------------------------------------------------------------------------------------


def test_waves_beyond_the_band_fade_out():
    torch.manual_seed(0)
    layer = FourierInput(4, Signal(cutoff=2.0, half_width=6.0, rate=16, size=36, channels=8))
    w = torch.randn(2, 4)
    assert layer(w).std() > 0.3
    layer.transform.copy_(torch.diag(torch.tensor([1000.0, 1000.0, 1.0])))
    assert not layer(w).any()


def test_modulated_convolution_against_a_loop():
    torch.manual_seed(0)
    conv = ModulatedConv2d(4, 5, 6, 3).eval()
    conv.magnitude_ema.fill_(4.0)
    x, w = torch.randn(3, 5, 7, 7), torch.randn(3, 4)
    for i in range(3):
        style = conv.affine(w[i : i + 1])
        weight = conv.weight * style[:, :, None, None]
        weight = weight / weight.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        expected = F.conv2d(x[i : i + 1] / 2, weight, padding=2)
        torch.testing.assert_close(conv(x, w)[i : i + 1], expected, rtol=1e-4, atol=1e-5)


def test_input_magnitude_is_followed_in_training_only():
    torch.manual_seed(0)
    conv = ModulatedConv2d(4, 5, 6, 3, magnitude_ema_beta=0.5)
    x, w = 3 * torch.randn(2, 5, 7, 7), torch.randn(2, 4)
    conv.eval()(x, w)
    assert conv.magnitude_ema == 1
    conv.train()(x, w)
    torch.testing.assert_close(conv.magnitude_ema, 0.5 + 0.5 * x.square().mean())
    for _ in range(30):
        conv(x, w)
    followed = conv.eval()(x, w)
    conv.magnitude_ema.fill_(1.0)
    torch.testing.assert_close(followed, conv(x / x.square().mean().sqrt(), w), rtol=1e-4, atol=1e-5)


def test_leaky_clamp_has_all_its_derivatives():
    x = torch.tensor([-40.0, -3.0, -0.5, 0.5, 3.0, 9.0], dtype=torch.float64, requires_grad=True)
    y = leaky_clamp(x.clone(), 5.0)
    torch.testing.assert_close(y, F.leaky_relu(x, 0.2).clamp(-5, 5))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0.0, 0.2, 0.2, 1.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(leaky_clamp(x.clone(), None), F.leaky_relu(x, 0.2))
    assert torch.autograd.gradgradcheck(lambda x: leaky_clamp(x * x.sin(), 5.0), x)


def test_nonlinearity_keeps_one_byte_a_value():
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    kept: list[int] = []

    def pack(saved: Tensor) -> Tensor:
        kept.append(saved.nbytes)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        leaky_clamp(x * 2, None)
    assert kept == [x.numel()]


@pytest.mark.parametrize("config", ["t", "r"])
def test_double_backward_against_plain_operators(config, monkeypatch):
    """The gradient of a path length, with our nonlinearity and with torch's."""
    G = make(config, conv_clamp=1.5)  # so low that it is met
    ws = torch.randn(2, G.num_ws, G.w_dim)

    def gradients() -> dict[str, Tensor]:
        G.eval().zero_grad()
        variable = ws.clone().requires_grad_()
        img = G.synthesis(variable, growth=state())
        (gradient,) = torch.autograd.grad((img * img.detach().cos()).sum(), variable, create_graph=True)
        gradient.square().sum().backward()
        return {name: p.grad for name, p in G.named_parameters() if p.grad is not None}

    ours = gradients()
    plain_called = []

    def plain(x: Tensor, clamp: float) -> Tensor:
        plain_called.append(x.abs().max() > clamp)
        return F.leaky_relu(x, 0.2).clamp(-clamp, clamp)

    monkeypatch.setattr(stylegan3, "leaky_clamp", plain)
    expected = gradients()
    assert any(plain_called)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (ours[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


@pytest.mark.parametrize("config", ["t", "r"])
def test_double_backward_under_bf16(config):
    G = make(config)
    ws = torch.randn(2, G.num_ws, G.w_dim, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        img = G.synthesis(ws, growth=state())
    (gradient,) = torch.autograd.grad((img * torch.randn_like(img)).sum(), ws, create_graph=True)
    gradient.square().sum().backward()
    trained = [p.grad for name, p in G.named_parameters() if name.startswith("layers.") and name.endswith("weight")]
    assert img.dtype == torch.float32
    assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in trained)


def test_bf16_is_near_fp32():
    G = wide("t")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = images(G)
    assert psnr(rounded, images(G)) > 40


# --- contracts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["t", "r"])
@pytest.mark.parametrize("sizes", [{}, {"c_dim": 3}, {"img_channels": 4}, {"img_channels": 1, "img_resolution": 8}])
def test_contract(config, sizes):
    check_generator(Generator, {"config": config, **SMALL}, **sizes)


def test_registered():
    (entry,) = (e for e in registered(ganzoo_stylegan) if (e.kind, e.name) == ("generator", "stylegan3"))
    assert entry.cls is Generator


def test_w_avg_follows_w_in_training_only():
    G, z = make("t", w_avg_beta=0.75), torch.randn(4, 16)
    w = G.mapping(z)
    G.eval()(z, growth=state())
    assert not G.w_avg.any()
    G.train()(z, growth=state())
    torch.testing.assert_close(G.w_avg, 0.25 * w.mean(0).detach())


def test_labels_change_the_image():
    G = make("t", c_dim=2).eval()
    z = torch.randn(1, 16).repeat(2, 1)
    img = G(z, torch.eye(2), growth=state())
    assert (img[0] - img[1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="label"):
        G(z, growth=state())


def test_noise_has_no_effect():
    G = make("r").eval()
    ws = torch.randn(1, G.num_ws, G.w_dim)
    drawn = [G.synthesis(ws, growth=state(), noise=noise) for noise in ("random", "const", "none")]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_r_has_the_papers_defaults():
    with torch.device("meta"):
        t, r = (Generator(config=config, img_resolution=256, img_channels=3, c_dim=0) for config in "tr")
    assert t.layers[0].conv.weight.shape == (512, 512, 3, 3)
    assert r.layers[0].conv.weight.shape == (1024, 1024, 1, 1)
    assert [layer.down_filter.ndim for layer in t.layers] == [1] * 14
    assert [layer.down_filter.ndim for layer in r.layers] == [2] * 12 + [1] * 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"img_resolution": 24}, "power of two"),
        ({"img_resolution": 4}, "power of two above 4"),
        ({"num_critical": 6}, "use less than num_layers=6"),
        ({"first_cutoff": 5.0}, "must be above first_cutoff=5"),
        ({"channel_base": 8}, "raise it"),
    ],
)
def test_what_cannot_be_built(args, message):
    with pytest.raises(ValueError, match=message):
        make("t", **args)


def test_it_does_not_grow():
    G = make("t")
    with pytest.raises(ValueError, match="fixed"):
        G(torch.randn(1, 16), growth=state(16))
