"""The signal processing of StyleGAN3 (Karras et al. 2021, arXiv:2106.12423): bands, filters and the nonlinearity.

Frequencies are in cycles over the width of the canvas, sampling rates in samples over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2  # of the leaky ReLU, which is followed by a gain of sqrt(2)


def kaiser_beta(taps: int, width: float, rate: float) -> float:
    """The shape of the Kaiser window of ``taps`` taps whose transition band is ``width`` wide (Kaiser 1974)."""
    attenuation = 2.285 * (taps - 1) * math.pi * width / (rate / 2) + 7.95  # in dB
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def kaiser_lowpass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """A low-pass filter [taps] for signals sampled at ``rate``: a sinc under a Kaiser window, gain 1 at frequency 0."""
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    f = np.sinc(2 * cutoff * t) * np.kaiser(taps, kaiser_beta(taps, width, rate))
    return f / f.sum()


def radial_lowpass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """The same in all directions, [taps, taps]: a jinc under the product of two Kaiser windows (appendix C).

    ``taps`` must be even, so that no tap lies in the centre, where the formula is 0/0.
    """
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(t, t[:, None])
    jinc = torch.special.bessel_j1(torch.from_numpy(2 * math.pi * cutoff * r)).numpy() / (math.pi * r)
    window = np.kaiser(taps, kaiser_beta(taps, width, rate))
    f = jinc * window * window[:, None]
    return f / f.sum()


def leaky_clamp(x: Tensor, clamp: float | None) -> Tensor:
    """Leaky ReLU, then clamp to [-clamp, clamp] unless that is None, both in place. Twice differentiable.

    For the backward pass, one byte a value is kept (two with a clamp): features are never larger than here, at the high
    sampling rate, and automatic differentiation would keep them in full.
    """
    if torch.compiler.is_compiling():  # it finds the derivatives itself, and would lose second ones of a Function
        x = F.leaky_relu(x, SLOPE)
        return x if clamp is None else x.clamp(-clamp, clamp)
    return _LeakyClamp.apply(x, clamp)


class _LeakyClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clamp: float | None) -> Tensor:
        ctx.mark_dirty(x)
        F.leaky_relu_(x, SLOPE)
        clamped = []
        if clamp is not None:
            x.clamp_(-clamp, clamp)
            clamped = [x.abs() == clamp] if ctx.needs_input_grad[0] else []
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x > 0, *clamped)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        positive, *clamped = ctx.saved_tensors
        scaled = grad * SLOPE
        # Where nobody differentiates this, in memory that is there: on CPUs, new memory takes longest.
        out = None if torch.is_grad_enabled() else scaled
        grad = torch.where(positive, grad, scaled, out=out)
        for mask in clamped:
            grad = grad.masked_fill(mask, 0)
        return grad, None


@dataclass(frozen=True)
class Signal:
    """Feature maps as samples of a continuous signal. Frequencies are in cycles over the width of the canvas.

    cutoff: the band that carries information. half_width: half of the transition band of a filter to it. rate: samples
    over the canvas. size: samples in all, with the margin. channels: feature maps.
    """

    cutoff: float
    half_width: float
    rate: int
    size: int
    channels: int


def signals_for(
    img_resolution: int,
    *,
    channel_base: int,
    channel_max: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
) -> list[Signal]:
    """The output of every layer; the first is like the input, too. Bands widen geometrically (section 3.2).

    The last ``num_critical`` layers use all of the band that pixels can hold: sharpness is bought with aliasing.
    Raises ValueError, saying what would work, where there is no such network.
    """
    if img_resolution & (img_resolution - 1) or img_resolution <= 2 * first_cutoff:
        raise ValueError(
            f"stylegan3 doubles its sampling rate and starts with a band up to first_cutoff={first_cutoff:g}: it "
            f"cannot make {img_resolution}x{img_resolution} images. Set data.img_resolution to a power of two above "
            f"{2 * first_cutoff:g}"
        )
    if num_critical >= num_layers:
        raise ValueError(f"num_critical={num_critical} leaves no other layer: use less than num_layers={num_layers}")
    if first_stopband <= first_cutoff:
        raise ValueError(f"first_stopband={first_stopband:g} must be above first_cutoff={first_cutoff:g}")
    highest = img_resolution / 2 * last_stopband_rel
    if not 0.5 <= first_stopband <= highest:
        raise ValueError(f"first_stopband={first_stopband:g} must be from 0.5 to {highest:g}, which is the last one")

    last_cutoff = img_resolution / 2
    last_stopband = last_cutoff * last_stopband_rel
    signals = []
    for i in range(num_layers):
        progress = min(i / (num_layers - num_critical), 1)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** progress
        stopband = first_stopband * (last_stopband / first_stopband) ** progress
        rate = 1 << math.ceil(math.log2(min(stopband * 2, img_resolution)))
        size = img_resolution if i >= num_layers - 1 else rate + 2 * margin_size
        channels = round(min(channel_base / 2 / cutoff, channel_max))
        if channels < 1:
            raise ValueError(f"channel_base {channel_base} leaves no feature map at a cutoff of {cutoff:g}: raise it")
        signals.append(Signal(cutoff, max(stopband, rate / 2) - cutoff, rate, size, channels))
    return signals
