"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676): the pipeline of appendix B, and its p."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import Discriminator, Generator, whole_batch
from ganzoo_progan.layers import at_least_fp32

Group = Literal["blit", "geom", "color", "filter", "noise", "cutout"]
Probability = Annotated[float, Field(ge=0, le=1)]

# Low-pass filters of orthogonal wavelets: Daubechies' least asymmetric ones with 2 and 6 vanishing moments.
SYM2 = [weight / math.sqrt(32) for weight in (1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5)]
SYM6 = [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
]
SYM6_DELAY = sum(i * weight for i, weight in enumerate(SYM6)) / sum(SYM6)

BAND_POWER = [10 / 13, 1 / 13, 1 / 13, 1 / 13]  # of natural images, about 1 / f; the lowest frequencies first


class AdaptiveAugmentation(ganzoo.Augmentation):
    """Each transform of the chosen groups befalls each image with probability p, which follows D's overfitting.

    p rises while D calls more than (1 + target) / 2 of the real images real, and falls otherwise: r_t, the mean sign of
    its logits, is driven to ``target``, but p never beyond ``p_max``: where it is large, augmentation can come out of G
    as well (section 2.2; the authors set no such bound). Images have 1, 3 or 4 channels, any size from 2 px. A
    transform that spares an image leaves it as it is, bit for bit: at p = 0 nothing happens.

    RGBA images are premultiplied by alpha, and empty where all channels are -1. Geometry and filters treat the four
    alike, so that no colour appears where there is no alpha; colours and noise change the straight colours only, which
    is linear in the premultiplied ones too; what cutout cuts becomes empty, where other images become grey.

    Computes in float32 at least. p is a buffer, so checkpoints keep it.
    """

    def __init__(
        self,
        *,
        groups: Annotated[
            tuple[Group, ...],
            Field(
                min_length=1,
                description="flips, quarter turns and shifts by whole pixels (`blit`); scaling, rotation and shifts "
                "(`geom`); brightness, contrast, hue, saturation (`color`); frequency bands (`filter`); `noise`; "
                "`cutout`. The paper found the first three best",
            ),
        ] = ("blit", "geom", "color"),
        target: Annotated[
            float, Field(ge=-1, le=1, description="mean sign of D's logits on real images that p aims at")
        ] = 0.6,
        ada_kimg: Annotated[
            float, Field(gt=0, allow_inf_nan=False, description="thousands of images in which p can go from 0 to 1")
        ] = 500,
        p_start: Annotated[Probability, Field(description="p at the start")] = 0.0,
        p_max: Annotated[
            Probability,
            Field(description="p rises no further: from about 0.8 on (less, for small images), G may learn to augment"),
        ] = 1.0,
        p: Annotated[Probability | None, Field(description="a p that does not adapt")] = None,
    ) -> None:
        super().__init__()
        if p is not None and (p_start, p_max) != (0, 1):
            raise ValueError("p does not adapt, so p_start and p_max have no meaning: leave out p, or those")
        if p_start > p_max:
            raise ValueError(f"p_start is {p_start:g}, above p_max, which is {p_max:g}")
        self.groups = frozenset(groups)
        self.target = target
        self.ada_kimg = ada_kimg
        self.p_max = p_max
        self.adapts_every = 4 if p is None else 0
        self.register_buffer("p", torch.tensor(float(p_start if p is None else p)))
        self.register_buffer("sym6", torch.tensor(SYM6), persistent=False)
        self.register_buffer("bands", torch.tensor(band_filters()), persistent=False)
        self.register_buffer("band_power", torch.tensor(BAND_POWER), persistent=False)

    def check(self, G: Generator, D: Discriminator) -> None:
        _check_channels(D.img_channels)
        if D.img_resolution < 2:
            raise ValueError("images of 1 px cannot be moved or turned; give images of 2 px or more, or leave ada out")

    def adapt(self, real_logits: Tensor, nimg: int) -> None:
        if self.adapts_every == 0:
            return
        with torch.no_grad():
            overfitting = at_least_fp32(real_logits).sign().mean()
            self.p.add_((overfitting - self.target).sign() * (nimg / (self.ada_kimg * 1000))).clamp_(0, self.p_max)

    def forward(self, img: Tensor) -> Tensor:
        _check_channels(img.shape[1])
        with torch.autocast(img.device.type, enabled=False):
            out = self._augment(at_least_fp32(img)).to(img.dtype)
        return keep_layout(out, img)

    def _augment(self, img: Tensor) -> Tensor:
        if self.groups & {"blit", "geom"}:
            img = self._move(img)
        if "color" in self.groups:
            img = self._recolour(img)
        if "filter" in self.groups:
            img = self._filter(img)
        if "noise" in self.groups:
            img = self._add_noise(img)
        if "cutout" in self.groups:
            img = self._cut_out(img)
        return img

    def _some(self, values: Tensor, otherwise: float, p: Tensor | None = None) -> Tensor:
        """values [N, ...] for a random share p of the rows, ``otherwise`` for the rest."""
        chosen = whole_batch.rand(len(values), device=values.device) < (self.p if p is None else p)
        return torch.where(chosen.reshape(-1, *[1] * (values.ndim - 1)), values, otherwise)

    # Geometry: maps from places in the result to places in the image, in pixels from the centre, as [N, 2, 3] matrices.
    # The order is that of the transforms: the last one comes first on the way back.

    def _move(self, img: Tensor) -> Tensor:
        unmoved = _scaling(img.new_ones(len(img)))
        whole_pixels = self._draw_blit(img) if "blit" in self.groups else unmoved
        out = move_pixels(img, whole_pixels)
        if "geom" in self.groups:
            free = self._draw_geom(img)
            moved = (free != unmoved).flatten(1).any(dim=1)
            # Together with the whole pixels, as in the paper: one border to reflect at.
            warped = warp(img, compose(whole_pixels, free), self.sym6.to(img.dtype))
            out = torch.where(moved[:, None, None, None], warped, out)
        return out

    def _draw_blit(self, img: Tensor) -> Tensor:
        size = img.shape[-1]
        mirrored = self._some(_uniform(img, 0, 2).floor(), 0)
        turns = self._some(_uniform(img, 0, 4).floor(), 0)
        shift = self._some((_uniform(img, -0.125, 0.125, 2) * size).round(), 0)
        turn = _rotation((turns - 2).abs() - 1, 1 - (turns - 1).abs())  # exact cosine and sine
        return compose(_scaling(1 - 2 * mirrored, torch.ones_like(mirrored)), turn, _translation(-shift))

    def _draw_geom(self, img: Tensor) -> Tensor:
        pi = math.pi
        p_rotation = 1 - (1 - self.p).sqrt()  # so that one or both rotations happen with probability p
        scale = self._some((0.2 * _normal(img)).exp2(), 1)
        before = self._some(_uniform(img, -pi, pi), 0, p_rotation)
        stretch = self._some((0.2 * _normal(img)).exp2(), 1)
        after = self._some(_uniform(img, -pi, pi), 0, p_rotation)
        shift = self._some(0.125 * img.shape[-1] * _normal(img, 2), 0)
        return compose(
            _scaling(1 / scale),
            _rotation(before.cos(), before.sin()),
            _scaling(1 / stretch, stretch),
            _rotation(after.cos(), after.sin()),
            _translation(-shift),
        )

    def _recolour(self, img: Tensor) -> Tensor:
        brightness = self._some(0.2 * _normal(img), 0)
        contrast = self._some((0.5 * _normal(img)).exp2(), 1)
        flip = 1 - 2 * self._some(_uniform(img, 0, 2).floor(), 0)
        hue = self._some(_uniform(img, -math.pi, math.pi), 0)
        saturation = self._some(_normal(img).exp2(), 1)
        luma, chroma = contrast * flip, contrast * saturation
        return recolour(img, luma=luma, chroma=chroma, hue=hue, shift=brightness * luma)

    def _filter(self, img: Tensor) -> Tensor:
        factors = self._some(_normal(img, 4).exp2().flatten(), 1).unflatten(0, (-1, 4))
        gains = band_gains(factors, self.band_power.to(img.dtype))
        filtered = filter_separable(img, (gains[:, :, None] * self.bands.to(img.dtype)).sum(dim=1))
        changed = (gains != 1).any(dim=1)
        return torch.where(changed[:, None, None, None], filtered, img)

    def _add_noise(self, img: Tensor) -> Tensor:
        strength = self._some(0.1 * _normal(img).abs(), 0)
        noise = _normal(img, *img[0, :3].shape) * strength[:, None, None, None]
        if img.shape[1] != 4:
            return img + noise
        colours, alpha = img[:, :3], img[:, 3:]
        return torch.cat([colours + noise * (alpha + 1) / 2, alpha], dim=1)

    def _cut_out(self, img: Tensor) -> Tensor:
        size = img.shape[-1]
        centre = _uniform(img, 0, 1, 2)
        reach = self._some(torch.full_like(centre, 0.25), 0)
        places = (torch.arange(size, device=img.device) + 0.5) / size
        inside = (places - centre[:, :, None]).abs() < reach[:, :, None]  # [N, 2, R]
        return torch.where((inside[:, 0, None, :] & inside[:, 1, :, None])[:, None], empty_value(img), img)


def empty_value(img: Tensor) -> float:
    """What pixels hold where there is nothing: grey, but RGBA images, -1 in all channels, are transparent there."""
    return -1.0 if img.shape[1] == 4 else 0.0


def keep_layout(out: Tensor, img: Tensor) -> Tensor:
    """out, in the memory format of img."""
    if img.is_contiguous(memory_format=torch.channels_last) and not img.is_contiguous():
        return out.contiguous(memory_format=torch.channels_last)
    return out.contiguous()


def _check_channels(channels: int) -> None:
    if channels not in (1, 3, 4):
        raise ValueError(f"ada augments grey, RGB and RGBA images (1, 3, 4 channels): D sees {channels} channels")


def _uniform(img: Tensor, low: float, high: float, *shape: int) -> Tensor:
    """[N, *shape] random numbers for the N images."""
    return low + (high - low) * whole_batch.rand(len(img), *shape, device=img.device, dtype=img.dtype)


def _normal(img: Tensor, *shape: int) -> Tensor:
    return whole_batch.randn(len(img), *shape, device=img.device, dtype=img.dtype)


def _scaling(x: Tensor, y: Tensor | None = None) -> Tensor:
    zero = torch.zeros_like(x)
    return torch.stack([x, zero, zero, zero, x if y is None else y, zero], dim=1).unflatten(1, (2, 3))


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    zero = torch.zeros_like(cos)
    return torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).unflatten(1, (2, 3))


def _translation(shift: Tensor) -> Tensor:
    """shift [N, 2]: x, y."""
    one, zero = torch.ones_like(shift[:, 0]), torch.zeros_like(shift[:, 0])
    return torch.stack([one, zero, shift[:, 0], zero, one, shift[:, 1]], dim=1).unflatten(1, (2, 3))


def compose(first: Tensor, *others: Tensor) -> Tensor:
    """Affine maps [N, 2, 3] -> ``first(second(third(place)))``."""
    for other in others:
        # No matrix product: on GPUs it may round to TF32, which is a pixel in a thousand.
        product = (first[:, :, :2, None] * other[:, None]).sum(dim=2)
        first = product + F.pad(first[:, :, 2:], (2, 0))
    return first


def _places(inverse: Tensor, coords: Tensor) -> Tensor:
    """Where the points of the square grid of coords [M] come from, under maps [N, 2, 3]: x and y, [N, M, M, 2]."""
    across = inverse[:, None, None, :, 0] * coords[:, None]
    down = inverse[:, None, :, 1] * coords[:, None] + inverse[:, None, :, 2]
    return across + down[:, :, None]


def _reflected(places: Tensor, half: float) -> Tensor:
    """Places from the centre -> those inside of [-half, half] that mirrors at both ends show there."""
    return half - ((places + half) % (4 * half) - 2 * half).abs()


def _pad_reflected(img: Tensor, margin: int) -> Tensor:
    """As ``F.pad``, for any margin: to pad by all that an image has, and once more, is the same mirrors again."""
    while margin > 0:
        step = min(margin, img.shape[-1] - 1)
        img = F.pad(img, (step, step, step, step), mode="reflect")
        margin -= step
    return img


def move_pixels(img: Tensor, inverse: Tensor) -> Tensor:
    """Transform img [N, C, R, R] by maps [N, 2, 3] that lead from pixels to pixels: copies, no arithmetic."""
    size = img.shape[-1]
    half = (size - 1) / 2
    places = _places(inverse, torch.arange(size, device=img.device) - half)
    x, y = (_reflected(places, half) + half).round().long().unbind(dim=3)
    index = (y * size + x).flatten(1)[:, None].expand(-1, img.shape[1], -1)
    return img.flatten(2).gather(2, index).unflatten(2, (size, size))


def warp(img: Tensor, inverse: Tensor, taps: Tensor) -> Tensor:
    """Transform img [N, C, R, R] by affine maps [N, 2, 3]: upsample by 2, look up bilinearly, downsample (appendix B).

    taps [12]: the low-pass filter of an orthogonal wavelet (SYM6): up- and downsampling alone give the image back.
    The filter delays; places are counted from where it puts a pixel, so that rotated images stay in place. Beyond
    the borders are reflections, which are looked up rather than padded: no map reaches too far, nothing depends on how
    far it reaches, and the tensors stay small.
    """
    n, channels, size, _ = img.shape
    half, margin = (size - 1) / 2, 7
    # All channels of all images are one image with a group for each: on CPUs up to ten times faster than a batch.
    groups = n * channels
    row = taps.expand(groups, 1, 1, -1)
    fine = F.conv_transpose2d(_pad_reflected(img, margin).flatten(0, 1)[None], row.mT, stride=(2, 1), groups=groups)
    fine = F.conv_transpose2d(fine, row, stride=(1, 2), groups=groups)[0].unflatten(0, (n, channels))

    length = fine.shape[-1]
    coords = (torch.arange(2 * size + len(taps) - 2, device=img.device) - SYM6_DELAY) / 2 - half
    places = _places(inverse, coords)
    # Close to the border the padding has what the filter makes of it, which is not quite symmetric.
    places = torch.where(places.abs() <= half + margin / 2, places, _reflected(places, half))
    grid = (4 * places + (2 * SYM6_DELAY - len(taps) + 1)) / (length - 1)
    coarse = F.conv2d(lookup(fine, grid).flatten(0, 1)[None], row.mT, stride=(2, 1), groups=groups)
    return F.conv2d(coarse, row, stride=(1, 2), groups=groups)[0].unflatten(0, (n, channels))


def lookup(img: Tensor, grid: Tensor) -> Tensor:
    """``F.grid_sample``, bilinear, with corners aligned: differentiable any number of times with respect to the image.

    img [N, C, H, W], grid [N, H', W', 2] of (x, y) in [-1, 1], beyond which everything is 0 -> [N, C, H', W'].
    """
    if torch.compiler.is_compiling():  # it would lose second derivatives of a Function
        return _lookup(img, grid)
    return _Lookup.apply(img, grid)


def _lookup(img: Tensor, grid: Tensor) -> Tensor:
    n, channels, height, width = img.shape
    x, y = ((grid + 1) / 2 * grid.new_tensor([width - 1, height - 1])).unbind(dim=3)
    left, top = x.floor(), y.floor()
    found = img.new_zeros(n, channels, *grid.shape[1:3])
    for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long().flatten(1)
            pixels = img.flatten(2).gather(2, index[:, None].expand(-1, channels, -1)).unflatten(2, grid.shape[1:3])
            found = found + pixels * (share_x * share_y * inside)[:, None]
    return found


class _Lookup(torch.autograd.Function):
    """``lookup`` with torch's own kernels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(img: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(img, grid, mode="bilinear", padding_mode="zeros", align_corners=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        img, grid = inputs
        ctx.shape = img.shape
        ctx.save_for_backward(grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(grad, grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The transpose of ``_Lookup``, which torch computes but does not differentiate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        img = grad.new_zeros(1).expand(shape)  # only its shape matters
        mask = [True, False]
        return torch.ops.aten.grid_sampler_2d_backward(grad, img, grid, 0, 0, True, mask)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, torch.Size], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Lookup.apply(grad, grid), None, None


def recolour(img: Tensor, *, luma: Tensor, chroma: Tensor, hue: Tensor, shift: Tensor) -> Tensor:
    """Scale grey by luma, scale what differs from grey by chroma and turn it by hue, then add shift; each [N].

    All of the paper's colour transforms are of this kind, and so is any sequence of them. img [N, C, R, R], C = 1, 3 or
    4: then colours are premultiplied by alpha, which stays.
    """
    luma, chroma, hue, shift = (x[:, None, None, None] for x in (luma, chroma, hue, shift))
    colours = img[:, :3]
    kept, turned = chroma * hue.cos(), chroma * hue.sin() / math.sqrt(3)
    out = kept * colours + (luma - kept) * colours.mean(dim=1, keepdim=True)
    out = out + turned * (colours.roll(1, dims=1) - colours.roll(-1, dims=1))
    if img.shape[1] != 4:
        return out + shift
    # The straight colour s in [-1, 1] of a premultiplied x is given by x + 1 = opacity * (s + 1).
    alpha = img[:, 3:]
    opacity = (alpha + 1) / 2
    return torch.cat([out + (luma - 1 + opacity * (shift + 1 - luma)), alpha], dim=1)


def band_filters() -> list[list[float]]:
    """Four symmetric filters of 43 taps for the bands up to pi/8, pi/4, pi/2 and pi, which add up to the identity.

    From SYM2: half of its autocorrelation is a low-pass filter L(z) with a complement H(z) = L(-z) = 1 - L(z).
    The bands are L(z) L(z^2) L(z^4), L(z) L(z^2) H(z^4), L(z) H(z^2) and H(z).
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = -low
    high[len(high) // 2] += 1

    def spread(taps: np.ndarray, step: int) -> np.ndarray:
        """taps(z) -> taps(z^step)."""
        out = np.zeros((len(taps) - 1) * step + 1)
        out[::step] = taps
        return out

    low2 = np.convolve(low, spread(low, 2))
    bands = [
        np.convolve(low2, spread(low, 4)),
        np.convolve(low2, spread(high, 4)),
        np.convolve(low, spread(high, 2)),
        high,
    ]
    width = max(map(len, bands))
    return [np.pad(band, (width - len(band)) // 2).tolist() for band in bands]


def band_gains(factors: Tensor, power: Tensor) -> Tensor:
    """Amplify one band after the other by factors [N, 4], each time keeping the expected power; power [4] sums to 1."""
    return factors / (1 + power * (factors.square() - 1)).sqrt().prod(dim=1, keepdim=True)


def filter_separable(img: Tensor, kernels: Tensor) -> Tensor:
    """img [N, C, R, R], filtered in both directions with a kernel for each image, [N, taps]; borders are reflected."""
    n, channels = img.shape[:2]
    empty = empty_value(img)
    weight = kernels.repeat_interleave(channels, dim=0)[:, None, None]
    padded = _pad_reflected(img - empty, kernels.shape[1] // 2).flatten(0, 1)[None]
    out = F.conv2d(F.conv2d(padded, weight, groups=n * channels), weight.mT, groups=n * channels)
    return out.reshape(img.shape) + empty
