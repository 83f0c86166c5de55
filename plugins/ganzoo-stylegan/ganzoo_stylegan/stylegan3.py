"""StyleGAN3's alias-free generator, -T and -R (Karras et al. 2021, arXiv:2106.12423).

Every feature map stands for a continuous, band-limited signal. A layer works on samples of it and keeps to the band:
its nonlinearity runs at a higher sampling rate, between two low-pass filters. So details move with what they belong to,
under translation (T) and under rotation as well (R). Feature maps are larger than the canvas by a margin, whose pixels
never show. No noise, no style mixing, no growth; the discriminator is StyleGAN2's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import GrowthState, whole_batch
from ganzoo_progan.layers import EqualizedLinear, at_least_fp32
from ganzoo_progan.networks import ZDim

from .alias_free import Signal, kaiser_lowpass, leaky_clamp, radial_lowpass, signals_for
from .layers import MappingLr
from .resample import upfirdn2d
from .stylegan2 import ConvClamp, MappingNetwork, refuse_growing

if TYPE_CHECKING:
    from ganzoo.interfaces import Noise


class FourierInput(nn.Module):
    """w to waves: sines of random directions and frequencies in the first signal's band (section 3.2, appendix F).

    w turns and shifts them all together, and so does ``transform`` [3, 3] after it: by setting this buffer, the picture
    is moved. It takes points of the output to points of the input in homogeneous coordinates with the origin in the
    centre and the canvas 1 wide: [[1, 0, -x], [0, 1, -y], [0, 0, 1]] moves the picture to the right by x, down by y.
    """

    freqs: Tensor
    phases: Tensor
    positions: Tensor
    transform: Tensor

    def __init__(self, w_dim: int, signal: Signal) -> None:
        super().__init__()
        self.signal = signal
        # Uniform over the disc of all frequencies in the band.
        radius = signal.cutoff * torch.rand(signal.channels).sqrt()
        angle = 2 * math.pi * torch.rand(signal.channels)
        self.register_buffer("freqs", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))  # [C, (x, y)]
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        positions = (torch.arange(signal.size) + 0.5 - signal.size / 2) / signal.rate
        self.register_buffer("positions", positions, persistent=False)
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        # w -> (cos, sin, x, y), up to a common factor. It starts with no movement, whatever w.
        self.affine = EqualizedLinear(w_dim, 4, gain=1.0)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Tensor) -> Tensor:
        # Always float32: bfloat16 knows positions to 1/256 of the canvas.
        with torch.autocast(w.device.type, enabled=False):
            freqs, phases = self.moved(at_least_fp32(w))
            # Frequencies that the transform has moved beyond the band fade out, and would alias beyond rate / 2.
            distance = torch.linalg.vector_norm(freqs, dim=2) - self.signal.cutoff
            amplitudes = (1 - distance / (self.signal.rate / 2 - self.signal.cutoff)).clamp(0, 1)  # [N, C]
            along_x = freqs[:, :, 0, None, None] * self.positions
            along_y = freqs[:, :, 1, None, None] * self.positions[:, None]
            waves = (2 * math.pi * (along_x + (along_y + phases[:, :, None, None]))).sin()  # [N, C, H, W]
            weight = self.weight * (amplitudes / math.sqrt(len(self.weight)))[:, None]  # [N, C', C]
            return torch.bmm(weight, waves.flatten(2)).unflatten(2, waves.shape[2:])

    def moved(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The waves after both transforms: frequencies [N, C, 2] and phases [N, C]."""
        t = self.affine(w)
        cos, sin, x, y = (t / torch.linalg.vector_norm(t[:, :2], dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).unflatten(1, (3, 3))
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).unflatten(1, (3, 3))
        moves = matmul_fp32(matmul_fp32(rotation, translation), self.transform)  # [N, 3, 3]
        moved = matmul_fp32(self.freqs, moves[:, :2])  # [N, C, 3]
        return moved[:, :, :2], self.phases + moved[:, :, 2]


def matmul_fp32(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of small matrices in full precision, also on GPUs that may compute matrix products in TF32."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(dim=-2)


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by w, brought to unit magnitude before and, if demodulated, after.

    Before: by a running mean of the square of the input, updated in training; after: by what the weights predict for
    an input of independent values (StyleGAN2). Weights and styles are normalised too, which demodulation undoes:
    with it their scale has no meaning, and must not get near the epsilon.
    """

    magnitude_ema: Tensor

    def __init__(
        self,
        w_dim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        demodulate: bool = True,
        magnitude_ema_beta: float = 0.999,
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, gain=1.0)
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.magnitude_ema_beta = magnitude_ema_beta
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, C, H, W], w [N, w_dim] -> [N, C', H + k - 1, W + k - 1]: the border shrinks elsewhere."""
        if self.training:
            self.follow_magnitude(x.detach())
        weight, gain = self.weight, None
        with torch.autocast(x.device.type, enabled=False):
            style = self.affine(at_least_fp32(w))  # [N, C]
            if self.demodulate:
                weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
                style = style * style.square().mean(dim=1, keepdim=True).rsqrt()
                gain = (style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()  # [N, C']
            else:
                style = style / math.sqrt(weight[0].numel())
            style = style * self.magnitude_ema.rsqrt()
        # Every sample has weights of its own; scaling input and output instead leaves one convolution for all of them.
        x = F.conv2d(x * style.to(x.dtype)[:, :, None, None], weight, padding=weight.shape[2] - 1)
        bias = self.bias.to(x.dtype)[:, None, None]
        return x + bias if gain is None else torch.addcmul(bias, x, gain.to(x.dtype)[:, :, None, None])

    @torch.no_grad()
    def follow_magnitude(self, x: Tensor) -> None:
        mean_square = torch.linalg.vector_norm(x, dtype=at_least_fp32(x[:0]).dtype).square() / x.numel()
        mean_square = whole_batch.mean(mean_square)
        self.magnitude_ema.copy_(mean_square.lerp(self.magnitude_ema, self.magnitude_ema_beta))


class SynthesisLayer(nn.Module):
    """One signal to the next: convolution, bias, and the nonlinearity at ``lrelu_upsampling`` times the rate."""

    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self,
        w_dim: int,
        source: Signal,
        target: Signal,
        *,
        kernel_size: int,
        radial: bool,
        filter_size: int,
        lrelu_upsampling: int,
        conv_clamp: float | None,
        magnitude_ema_beta: float,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(
            w_dim, source.channels, target.channels, kernel_size, magnitude_ema_beta=magnitude_ema_beta
        )
        self.conv_clamp = conv_clamp
        self.resolution = max(source.rate, target.rate)

        rate = self.resolution * lrelu_upsampling
        up, down = rate // source.rate, rate // target.rate
        up_taps, down_taps = filter_size * up, filter_size * down
        up_filter = kaiser_lowpass(up_taps, source.cutoff, 2 * source.half_width, rate)
        make_down_filter = radial_lowpass if radial else kaiser_lowpass
        down_filter = make_down_filter(down_taps, target.cutoff, 2 * target.half_width, rate)
        # Made from the arguments alone, so no part of the state.
        self.register_buffer("up_filter", torch.tensor(up_filter, dtype=torch.float32), persistent=False)
        self.register_buffer("down_filter", torch.tensor(down_filter, dtype=torch.float32), persistent=False)
        self.up, self.down = up, down
        # What to add on both sides so that the filters leave target.size samples. Zero insertion puts its zeros behind
        # every sample; this split keeps the centre in place.
        padding = (target.size - 1) * down + 1 + down_taps + up_taps - 2 - (source.size + kernel_size - 1) * up
        before = (padding + up) // 2
        self.padding = (before, padding - before) * 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w)
        # The leaky ReLU lets positive factors through: its gain of sqrt(2) is a part of the filter.
        gain = self.up**2 * math.sqrt(2)
        x = upfirdn2d(x, self.up_filter, up=self.up, padding=self.padding, gain=gain)
        x = leaky_clamp(x, self.conv_clamp)
        return upfirdn2d(x, self.down_filter, down=self.down)


class Generator(ganzoo.StyleGenerator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R], always R = img_resolution.

    ``config`` chooses the paper's T, equivariant to translation, or R, to rotation as well: 1x1 convolutions, twice as
    many channels, radial filters. The last layer is linear: values may leave [-1, 1]. In training mode, every call
    moves w_avg and the magnitudes that layers divide by.
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        config: Annotated[
            Literal["t", "r"], Field(description="t: equivariant to translation; r: to rotation as well")
        ] = "t",
        z_dim: ZDim = 512,
        w_dim: Annotated[int, Field(ge=1, description="size of w")] = 512,
        mapping_layers: Annotated[int, Field(ge=1, le=1000, description="layers from z to w")] = 2,
        mapping_lr: MappingLr = 0.01,
        channel_base: Annotated[
            int | None,
            Field(ge=1, description="feature maps times twice the cutoff frequency; null: 32768 for t, 65536 for r"),
        ] = None,
        channel_max: Annotated[
            int | None, Field(ge=1, description="the most feature maps a layer has; null: 512 for t, 1024 for r")
        ] = None,
        num_layers: Annotated[int, Field(ge=2, le=1000, description="layers, without input and to-RGB")] = 14,
        num_critical: Annotated[
            int, Field(ge=1, description="layers at the end that use the whole band: sharp, and not free of aliasing")
        ] = 2,
        first_cutoff: Annotated[
            float, Field(gt=0, allow_inf_nan=False, description="band of the input, in cycles over the canvas")
        ] = 2.0,
        first_stopband: Annotated[
            float,
            Field(gt=0, allow_inf_nan=False, description="frequency from which the first filters stop everything"),
        ] = 2**2.1,
        last_stopband_rel: Annotated[
            float, Field(gt=1, le=16, description="the same for the last, relative to the band of the image")
        ] = 2**0.3,
        margin_size: Annotated[
            int, Field(ge=0, le=256, description="pixels around the canvas, at every sampling rate")
        ] = 10,
        filter_size: Annotated[int, Field(ge=2, le=64, description="taps of a filter, at the lower sampling rate")] = 6,
        lrelu_upsampling: Annotated[
            Literal[2, 4], Field(description="sampling rate of the nonlinearity, relative to the layer's")
        ] = 2,
        output_scale: Annotated[
            float, Field(gt=0, allow_inf_nan=False, description="the image is this times the last signal")
        ] = 0.25,
        conv_clamp: ConvClamp = None,
        magnitude_ema_beta: Annotated[
            float, Field(ge=0, lt=1, description="weight of the past in the mean square of a layer's input")
        ] = 0.999,
        w_avg_beta: Annotated[float, Field(ge=0, lt=1, description="weight of the past in the mean of w")] = 0.998,
    ) -> None:
        super().__init__(
            z_dim=z_dim,
            w_dim=w_dim,
            num_ws=num_layers + 2,
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
        )
        double = 2 if config == "r" else 1
        signals = signals_for(
            img_resolution,
            channel_base=channel_base or 32768 * double,
            channel_max=channel_max or 512 * double,
            num_layers=num_layers,
            num_critical=num_critical,
            first_cutoff=first_cutoff,
            first_stopband=first_stopband,
            last_stopband_rel=last_stopband_rel,
            margin_size=margin_size,
        )
        self.conv_clamp = conv_clamp
        self.output_scale = output_scale
        self.w_avg_beta = w_avg_beta
        self.mapping_network = MappingNetwork(z_dim, c_dim, w_dim, num_layers=mapping_layers, lr_multiplier=mapping_lr)
        self.input = FourierInput(w_dim, signals[0])
        # Layer i makes signal i; the first makes one like its input.
        self.layers = nn.ModuleList(
            SynthesisLayer(
                w_dim,
                signals[max(i - 1, 0)],
                signals[i],
                kernel_size=1 if config == "r" else 3,
                radial=config == "r" and i < num_layers - num_critical,
                filter_size=filter_size,
                lrelu_upsampling=lrelu_upsampling,
                conv_clamp=conv_clamp,
                magnitude_ema_beta=magnitude_ema_beta,
            )
            for i in range(num_layers)
        )
        self.to_rgb = ModulatedConv2d(
            w_dim, signals[-1].channels, img_channels, 1, demodulate=False, magnitude_ema_beta=magnitude_ema_beta
        )

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("stylegan3", self.img_resolution, resolution)

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping_network(z, c)

    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: Noise = "random") -> Tensor:
        """In training mode the input magnitudes are followed. There is no noise: ``noise`` has no effect."""
        self.check_resolution(growth.resolution)
        first, *others, last = ws.unbind(dim=1)
        x = self.input(first)
        if x.device.type == "cpu":  # where filters are several times faster in this format
            x = x.contiguous(memory_format=torch.channels_last)
        for layer, w in zip(self.layers, others, strict=True):
            x = ganzoo.recompute(layer.resolution, layer, x, w)
        img = at_least_fp32(self.to_rgb(x, last))
        if self.conv_clamp is not None:
            img = img.clamp(-self.conv_clamp, self.conv_clamp)
        return img * self.output_scale

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        w = self.mapping(z, c)
        if self.training:
            self.w_avg.lerp_(whole_batch.mean(w.detach().mean(dim=0)), 1 - self.w_avg_beta)
        return self.synthesis(self.broadcast(w), growth=growth)
