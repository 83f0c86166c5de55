"""StyleGAN2's generator and discriminator (Karras et al. 2020, arXiv:1912.04958; labels as in arXiv:2006.06676).

They do not grow: skip connections and residuals do what growing did (section 4). Feature maps are computed under
autocast; styles, demodulation, scores and the sum of the RGB layers are float32 always.
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
from ganzoo_progan.layers import EqualizedLinear, at_least_fp32, check_groups, leaky, pixel_norm, variance
from ganzoo_progan.networks import ZDim, resolutions_up_to

from .layers import MappingLr, ScaledLinear
from .resample import downsample2d, downsample_conv2d, fir_kernel, upsample2d, upsample_conv2d
from .styles import MixingGenerator

if TYPE_CHECKING:
    from ganzoo.interfaces import Noise

ChannelBase = Annotated[int, Field(ge=1, description="feature maps times resolution: 32768 gives 32 maps at 1024x1024")]
ChannelMax = Annotated[int, Field(ge=1, description="the most feature maps a layer has")]
ConvClamp = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="limit of activations; the authors need 256 for float16, float32 and bfloat16 do without",
    ),
]

TAPS = (1, 3, 3, 1)  # of the filter that goes with every change of resolution
ACTIVATION_GAIN = math.sqrt(2)  # keeps the mean square, of which leaky ReLU takes about a half
RESIDUAL_GAIN = math.sqrt(0.5)  # of each of the two branches that are added


def feature_maps(resolutions: list[int], channel_base: int, channel_max: int) -> dict[int, int]:
    """Width of the layers of each resolution. Raises ValueError where the rule leaves no feature map."""
    if channel_base < resolutions[-1]:
        raise ValueError(
            f"channel_base {channel_base} leaves no feature map at {resolutions[-1]}x{resolutions[-1]}: "
            f"make it at least {resolutions[-1]}"
        )
    return {r: min(channel_base // r, channel_max) for r in resolutions}


def refuse_growing(name: str, img_resolution: int, resolution: int) -> None:
    """Raise ValueError unless images have the final resolution."""
    if resolution != img_resolution:
        raise ValueError(
            f"{name} does not grow: it works at {img_resolution}x{img_resolution} only, and the schedule asks for "
            f"{resolution}x{resolution}. Set growth.name to fixed, or use the networks stylegan or progan"
        )


def activate(x: Tensor, clamp: float | None) -> Tensor:
    """Leaky ReLU, in place, and the limit. Its gain was applied before, to what x is the sum of."""
    x = leaky(x)
    return x if clamp is None else x.clamp(-clamp, clamp)


class MappingNetwork(nn.Module):
    """Latents z [N, z_dim] and labels c [N, c_dim] to w [N, w_dim]. z_dim or c_dim may be 0.

    z and the embedded label are normalised one by one, and then concatenated.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, *, num_layers: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.embed = EqualizedLinear(c_dim, w_dim, gain=1.0) if c_dim > 0 else None
        widths = [z_dim + (w_dim if c_dim > 0 else 0), *[w_dim] * num_layers]
        self.layers = nn.ModuleList(
            ScaledLinear(widths[i], widths[i + 1], gain=1.0, lr_multiplier=lr_multiplier) for i in range(num_layers)
        )

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        # Always float32: it is small, and truncation, interpolation and projection compute with w.
        device = self.layers[0].weight.device
        with torch.autocast(device.type, enabled=False):
            parts = [] if z is None else [at_least_fp32(z)]
            if self.embed is not None:
                if c is None:
                    raise ValueError(f"this network was made for labels: give c [N, {self.embed.weight.shape[1]}]")
                parts.append(self.embed(c.to(self.embed.weight.dtype)))
            x = torch.cat([pixel_norm(part) for part in parts], dim=1)
            for layer in self.layers:
                x = leaky(layer(x)) * ACTIVATION_GAIN
            return x


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    gain: float = 1.0,
    shift: Tensor | None = None,
    up: Tensor | None = None,
) -> Tensor:
    """A convolution whose weight is multiplied by a style per input channel and scaled to norm 1 per output channel.

    x [N or 1, C, H, W], weight [C', C, k, k], style [N, C] -> gain * convolution + shift, [N, C', H, W]. up: the filter
    of upsampling, then the result is twice as large. shift: broadcastable to the result. Equations 1 and 3.

    Every sample has its own weights, but the style may as well scale the input, and the demodulation the output. The
    batch is one convolution then: channels-last, this takes 0.4 to 1 times as long as a grouped one over the samples.
    """
    with torch.autocast(x.device.type, enabled=False):
        style = at_least_fp32(style)
        squares = at_least_fp32(weight).square().sum(dim=(2, 3))  # [C', C]
        demodulation = torch.rsqrt(style.square() @ squares.T + 1e-8) * gain  # [N, C']
    x = x * style.to(x.dtype)[:, :, None, None]
    x = F.conv2d(x, weight, padding=weight.shape[-1] // 2) if up is None else upsample_conv2d(x, weight, up)
    scale = demodulation.to(x.dtype)[:, :, None, None]
    return x * scale if shift is None else torch.addcmul(shift.to(x.dtype), x, scale)


class StyleAffine(EqualizedLinear):
    """w [N, w_dim] to a style [N, C], float32, which starts near 1: the 'A' of figure 2."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__(w_dim, channels, gain=1.0)
        nn.init.ones_(self.bias)

    def forward(self, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            return super().forward(at_least_fp32(w))


class StyledConv2d(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU: a 'style block' of figure 2c.

    x [N or 1, C, H, W], w [N, w_dim] -> [N, C', R, R]; upsample: R = 2H, else R = H. The same noise goes to all
    channels, with one learned strength.
    """

    noise_const: Tensor
    kernel: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, w_dim: int, *, upsample: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.affine = StyleAffine(w_dim, in_channels)
        # Demodulation makes any factor of the weight irrelevant, so that there is no equalized learning rate.
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("kernel", fir_kernel(TAPS) if upsample else None, persistent=False)
        self.resolution = resolution
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Noise, *, gain: float = 1.0) -> Tensor:
        # leaky(a * x) = a * leaky(x) for a > 0: gains are applied to the small factors, not in a pass over the maps.
        factor = gain * ACTIVATION_GAIN
        bias = self.bias[:, None, None] * factor
        if noise == "none":
            x = modulated_conv2d(x, self.weight, self.affine(w), gain=factor, shift=bias, up=self.kernel)
        else:
            shift = self._noise(len(w), noise) * (self.noise_strength * factor)
            x = modulated_conv2d(x, self.weight, self.affine(w), gain=factor, shift=shift, up=self.kernel)
            x = x.add_(bias.to(x.dtype))
        return activate(x, None if self.clamp is None else self.clamp * gain)

    def _noise(self, n: int, noise: Noise) -> Tensor:
        if noise == "const":
            return self.noise_const
        return whole_batch.randn(n, 1, self.resolution, self.resolution, device=self.weight.device)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution, not demodulated. x [N, C, R, R], w [N, w_dim] -> float32 [N, img_channels, R, R]."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, *, clamp: float | None) -> None:
        super().__init__()
        self.affine = StyleAffine(w_dim, in_channels)
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.scale = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        # Here weights are few and pixels many: weights for each sample make a scaled copy of x needless.
        weight = self.weight[:, :, 0, 0] * (self.affine(w) * self.scale)[:, None]  # [N, img_channels, C]
        img = at_least_fp32(torch.bmm(weight.to(x.dtype), x.flatten(2))).unflatten(2, x.shape[2:])
        img = img + self.bias[:, None, None]
        return img if self.clamp is None else img.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """Features of one resolution to features of twice that; two layers, and a residual branch if asked for."""

    kernel: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, w_dim: int, *, residual: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.conv0 = StyledConv2d(in_channels, out_channels, resolution, w_dim, upsample=True, clamp=clamp)
        self.conv1 = StyledConv2d(out_channels, out_channels, resolution, w_dim, upsample=False, clamp=clamp)
        self.skip = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1)) if residual else None
        self.register_buffer("kernel", fir_kernel(TAPS), persistent=False)

    def forward(self, x: Tensor, ws: Tensor, noise: Noise) -> Tensor:
        """ws [N, 2, w_dim], one w a layer."""
        y = self.conv0(x, ws[:, 0], noise)
        if self.skip is None:
            return self.conv1(y, ws[:, 1], noise)
        y = self.conv1(y, ws[:, 1], noise, gain=RESIDUAL_GAIN)
        skip = upsample_conv2d(x, self.skip * (RESIDUAL_GAIN / math.sqrt(x.shape[1])), self.kernel)
        return y + skip


class Generator(MixingGenerator):
    """Latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R], R = img_resolution at all times.

    In training mode noise is drawn anew, styles of two latents are mixed, and w_avg follows the mean of w; in eval mode
    the stored noise is used, so that a latent always gives the same image. The last layer is linear: values may leave
    [-1, 1].
    """

    kernel: Tensor

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        z_dim: ZDim = 512,
        w_dim: Annotated[int, Field(ge=1, description="size of w")] = 512,
        mapping_layers: Annotated[int, Field(ge=1, le=1000, description="layers from z to w; for CIFAR-10, 2")] = 8,
        mapping_lr: MappingLr = 0.01,
        channel_base: ChannelBase = 32768,
        channel_max: ChannelMax = 512,
        architecture: Annotated[
            Literal["skip", "resnet", "orig"],
            Field(description="RGB summed over resolutions, residual blocks, or neither (figure 7)"),
        ] = "skip",
        mixing_prob: Annotated[
            float, Field(ge=0, le=1, description="how often a training batch has styles of two latents")
        ] = 0.9,
        conv_clamp: ConvClamp = None,
        w_avg_beta: Annotated[float, Field(ge=0, lt=1, description="weight of the past in the mean of w")] = 0.998,
    ) -> None:
        resolutions = resolutions_up_to(img_resolution, "stylegan2 doubles")
        super().__init__(
            z_dim=z_dim,
            w_dim=w_dim,
            num_ws=2 * len(resolutions),  # one layer at 4x4, two at the others, and the last RGB layer
            c_dim=c_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
        )
        self.mixing_prob = mixing_prob
        self.w_avg_beta = w_avg_beta
        self.mapping_network = MappingNetwork(z_dim, c_dim, w_dim, num_layers=mapping_layers, lr_multiplier=mapping_lr)
        width = feature_maps(resolutions, channel_base, channel_max)
        self.const = nn.Parameter(torch.randn(width[4], 4, 4))
        self.conv4 = StyledConv2d(width[4], width[4], 4, w_dim, upsample=False, clamp=conv_clamp)
        self.blocks = nn.ModuleDict(
            {
                str(r): SynthesisBlock(
                    width[r // 2], width[r], r, w_dim, residual=architecture == "resnet", clamp=conv_clamp
                )
                for r in resolutions[1:]
            }
        )
        self.to_rgb = nn.ModuleDict(
            {
                str(r): ToRGB(width[r], img_channels, w_dim, clamp=conv_clamp)
                for r in (resolutions if architecture == "skip" else resolutions[-1:])
            }
        )
        self.register_buffer("kernel", fir_kernel(TAPS), persistent=False)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("stylegan2", self.img_resolution, resolution)

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mapping_network(z, c)

    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: Noise = "random") -> Tensor:
        self.check_resolution(growth.resolution)
        x = self.conv4(self.const[None], ws[:, 0], noise)
        img = self.to_rgb["4"](x, ws[:, 1]) if "4" in self.to_rgb else None
        layer = 1
        for resolution, block in self.blocks.items():
            x = ganzoo.recompute(int(resolution), block, x, ws[:, layer : layer + 2], noise)
            layer += 2
            if resolution in self.to_rgb:  # it shares the w of the next block's first layer
                rgb = self.to_rgb[resolution](x, ws[:, layer])
                img = rgb if img is None else rgb.add_(upsample2d(img, self.kernel))
        assert img is not None  # the last resolution has an RGB layer
        return img


def minibatch_stddev(x: Tensor, group_size: int, num_channels: int) -> Tensor:
    """Append channels that tell how much the samples of a group differ. [N, C, H, W] -> [N, C + num_channels, H, W].

    As ``ganzoo_progan.layers.minibatch_stddev``, but each new channel sees C / num_channels of the old ones.
    """
    _, c, h, w = x.shape
    everywhere = whole_batch.gather(x)
    n = len(everywhere)
    check_groups(n, group_size)
    size = min(group_size, n)
    groups = everywhere.reshape(size, n // size, num_channels, c // num_channels, h, w)
    stddev = (variance(groups) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [N / size, num_channels]
    channels = whole_batch.share(stddev.repeat(size, 1))[:, :, None, None]
    return torch.cat([x, channels.expand(-1, -1, h, w)], dim=1)


class ActivatedConv2d(nn.Module):
    """A convolution with equalized learning rate and leaky ReLU. [N, C, H, W] -> [N, C', R, R].

    downsample: the filter comes before it, and R = H/2; else R = H.
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        downsample: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("kernel", fir_kernel(TAPS) if downsample else None, persistent=False)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.clamp = clamp

    def forward(self, x: Tensor, *, gain: float = 1.0) -> Tensor:
        factor = gain * ACTIVATION_GAIN  # before the activation, as in StyledConv2d
        weight, bias = self.weight * (self.scale * factor), self.bias * factor
        if self.kernel is None:
            x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        else:
            x = downsample_conv2d(x, weight, bias, self.kernel)
        return activate(x, None if self.clamp is None else self.clamp * gain)


class DiscriminatorBlock(nn.Module):
    """Features of one resolution to features of half that; two layers, and a residual branch if asked for."""

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, residual: bool, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = ActivatedConv2d(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = ActivatedConv2d(in_channels, out_channels, 3, downsample=True, clamp=clamp)
        self.skip = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1)) if residual else None
        self.register_buffer("kernel", fir_kernel(TAPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.skip is None:
            return self.conv1(self.conv0(x))
        y = self.conv1(self.conv0(x), gain=RESIDUAL_GAIN)
        skip = downsample_conv2d(x, self.skip * (RESIDUAL_GAIN / math.sqrt(x.shape[1])), None, self.kernel)
        return skip.add_(y)


class DiscriminatorOutput(nn.Module):
    """4x4 features [N, C, 4, 4] to [N, out_features], in float32."""

    def __init__(
        self, channels: int, out_features: int, *, mbstd_group_size: int, mbstd_num_channels: int, clamp: float | None
    ) -> None:
        super().__init__()
        self.mbstd_group_size = mbstd_group_size
        self.mbstd_num_channels = mbstd_num_channels if mbstd_group_size > 1 else 0
        self.conv = ActivatedConv2d(channels + self.mbstd_num_channels, channels, 3, clamp=clamp)
        self.dense0 = EqualizedLinear(channels * 16, channels, gain=1.0)
        self.dense1 = EqualizedLinear(channels, out_features, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        # bfloat16 has three digits: too few for scores whose differences the loss is made of.
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_fp32(x)
            if self.mbstd_num_channels > 0:
                x = minibatch_stddev(x, self.mbstd_group_size, self.mbstd_num_channels)
            x = self.conv(x)
            return self.dense1(leaky(self.dense0(x.flatten(1))) * ACTIVATION_GAIN)


class Discriminator(ganzoo.Discriminator):
    """Images [N, img_channels, R, R] to logits [N, 1], R = img_resolution at all times.

    With labels, the score is the projection of the image's features on the mapped label (ADA paper, appendix C).
    Raises ValueError if minibatch-stddev groups do not divide the batch.
    """

    kernel: Tensor

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: ChannelBase = 32768,
        channel_max: ChannelMax = 512,
        architecture: Annotated[
            Literal["resnet", "skip", "orig"],
            Field(description="residual blocks, the image given to every resolution, or neither (figure 7)"),
        ] = "resnet",
        mapping_layers: Annotated[
            int, Field(ge=1, le=1000, description="layers that map a label, if there are labels")
        ] = 8,
        mapping_lr: MappingLr = 0.01,
        mbstd_group_size: Annotated[
            int, Field(ge=1, description="images compared with each other in minibatch stddev; 1 = off")
        ] = 4,
        mbstd_num_channels: Annotated[int, Field(ge=1, description="feature maps that minibatch stddev adds")] = 1,
        conv_clamp: ConvClamp = None,
    ) -> None:
        resolutions = resolutions_up_to(img_resolution, "stylegan2 doubles")
        width = feature_maps(resolutions, channel_base, channel_max)
        if width[4] % mbstd_num_channels != 0:
            raise ValueError(
                f"the {width[4]} feature maps at 4x4 do not split into mbstd_num_channels={mbstd_num_channels} parts: "
                "take a divisor of that number, such as 1"
            )
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.mbstd_group_size = mbstd_group_size
        self.from_rgb = nn.ModuleDict(
            {
                str(r): ActivatedConv2d(img_channels, width[r], 1, clamp=conv_clamp)
                for r in (resolutions if architecture == "skip" else resolutions[-1:])
            }
        )
        self.blocks = nn.ModuleDict(
            {
                str(r): DiscriminatorBlock(width[r], width[r // 2], residual=architecture == "resnet", clamp=conv_clamp)
                for r in reversed(resolutions[1:])
            }
        )
        self.output = DiscriminatorOutput(
            width[4],
            width[4] if c_dim > 0 else 1,
            mbstd_group_size=mbstd_group_size,
            mbstd_num_channels=mbstd_num_channels,
            clamp=conv_clamp,
        )
        self.mapping_network = (
            MappingNetwork(0, c_dim, width[4], num_layers=mapping_layers, lr_multiplier=mapping_lr)
            if c_dim > 0
            else None
        )
        self.register_buffer("kernel", fir_kernel(TAPS), persistent=False)

    def check_resolution(self, resolution: int) -> None:
        refuse_growing("stylegan2", self.img_resolution, resolution)

    def check_batch_size(self, n: int) -> None:
        check_groups(n, self.mbstd_group_size)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        self.check_resolution(growth.resolution)
        x = self.from_rgb[str(self.img_resolution)](img)
        for resolution, block in self.blocks.items():
            x = ganzoo.recompute(int(resolution), block, x)
            smaller = str(int(resolution) // 2)
            if smaller in self.from_rgb:
                img = downsample2d(img, self.kernel)
                x = x + self.from_rgb[smaller](img)
        out = self.output(x)
        if self.mapping_network is None:
            return out
        # Float32, too: no product here is one that autocast knows.
        return (out * self.mapping_network(None, c)).sum(dim=1, keepdim=True) / math.sqrt(out.shape[1])
