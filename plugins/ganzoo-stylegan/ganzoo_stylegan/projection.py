"""From an image to the w that comes nearest to it (Karras et al. 2020, arXiv:1912.04958, section 5 and appendix D)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageColor
from safetensors.torch import load_file
from torch import Tensor, nn

from ganzoo.data.decode import decode
from ganzoo.data.fit import Fit
from ganzoo.data.images import float_to_uint8
from ganzoo.data.sources.files import read_file
from ganzoo.errors import CheckpointError, DataError, GanzooError
from ganzoo.generation import LoadedGenerator, labels_for_seeds
from ganzoo.weights import load_weights, read_metadata, save_weights
from ganzoo_progan.layers import downsample

Distance = Callable[[Tensor], Tensor]

W_FORMAT = "ganzoo-w-1"

_SAMPLES = 10_000
_LEARNING_RATE = 0.1
_NOISE_WEIGHT = 1e5
_MODES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}


@torch.no_grad()
def w_samples(generator: LoadedGenerator, chosen: str | int | None = None, n: int = _SAMPLES) -> Tensor:
    """w [n, w_dim] of fixed random latents, on the CPU. chosen: the class; None: as many of each."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(n, generator.z_dim, generator=random)
    c = None
    if chosen is not None:
        c = labels_for_seeds(generator, [0], chosen)
        c = None if c is None else c.expand(n, -1)
    elif generator.c_dim > 0:
        c = torch.eye(generator.c_dim)[torch.arange(n) % generator.c_dim]
    parts = [slice(i, i + 1000) for i in range(0, n, 1000)]
    return torch.cat([generator.mapping(z[p], None if c is None else c[p]).float().cpu() for p in parts])


class Projector:
    """Walks w towards an image, a step at a time.

    w starts at its mean over 10,000 samples, and is disturbed with noise that fades during the first three quarters.
    Adam's learning rate rises to 0.1 in the first twentieth and falls as a cosine in the last quarter. Stored maps of
    noise are optimised too; they are kept normal, and a penalty on their autocorrelation keeps them from drawing the
    image. space: 'w' for one w, which stays close to what the network can make, 'w+' for one a layer, which comes
    nearer to any image. distance: of an image [1, C, R, R] to the target, to be minimised.
    """

    def __init__(
        self,
        generator: LoadedGenerator,
        distance: Distance,
        *,
        steps: int,
        space: Literal["w", "w+"] = "w",
        chosen: str | int | None = None,
        seed: int = 0,
    ) -> None:
        G = generator.style("no w to project into")
        self.generator = replace(generator, G=copy.deepcopy(G))  # its noise maps will change
        self.distance, self.steps, self.done = distance, steps, 0
        samples = w_samples(generator, chosen)
        mean = samples.mean(dim=0)
        self._spread = float((samples - mean).square().sum(dim=1).mean().sqrt())
        self._mean = mean.to(generator.device)
        layers = 1 if space == "w" else G.num_ws
        self._w = self._mean.expand(1, layers, -1).clone().requires_grad_()
        self.noise = noise_maps(self.generator)
        for map_ in self.noise.values():
            map_.requires_grad_()
        self._adam = torch.optim.Adam([self._w, *self.noise.values()], betas=(0.9, 0.999))
        self._random = torch.Generator().manual_seed(seed)

    def step(self) -> float:
        """One step; the distance before it. Raises GanzooError if it is no finite number."""
        t = self.done / self.steps
        self._adam.param_groups[0]["lr"] = _LEARNING_RATE * _ramp(t)
        disturbance = 0.05 * self._spread * max(0.0, 1 - t / 0.75) ** 2
        noise = torch.randn(self._w.shape, generator=self._random).to(self._w)
        distance = self.distance(self.image(self._w + disturbance * noise))
        value = float(distance.detach())
        if not math.isfinite(value):
            raise GanzooError(f"the distance is {value} after {self.done} steps: does the snapshot work?")
        penalty = sum((noise_penalty(map_) for map_ in self.noise.values()), start=torch.zeros([]).to(distance))
        self._adam.zero_grad(set_to_none=True)
        (distance + _NOISE_WEIGHT * penalty).backward()
        self._adam.step()
        with torch.no_grad():
            for map_ in self.noise.values():
                std, mean = torch.std_mean(map_, correction=0)
                map_.sub_(mean).div_(std.clamp_min(1e-8))
        self.done += 1
        return value

    @property
    def ws(self) -> Tensor:
        """What was found, [1, all layers, w_dim]."""
        return self._w.detach().expand(1, self.generator.style().num_ws, -1).clone()

    def image(self, w: Tensor) -> Tensor:
        """[1, C, R, R] of w [1, 1 or all layers, w_dim], with the noise found so far. Differentiable."""
        ws = w.expand(1, self.generator.style().num_ws, -1)
        return self.generator.synthesis(ws).float()

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """What was found as uint8 [C, R, R]."""
        return float_to_uint8(self.image(self._w))[0].cpu().numpy()

    def save(self, path: Path) -> None:
        """Write ws and the maps of noise as safetensors: ``load_w`` gives the image again."""
        noise = {f"noise/{name}": map_ for name, map_ in self.noise.items()}
        save_weights(path, {"w": self.ws[0], **noise}, {"format": W_FORMAT})


def load_w(path: Path, generator: LoadedGenerator) -> tuple[Tensor, LoadedGenerator]:
    """ws [1, all layers, w_dim] of a file, and the generator with the file's maps of noise.

    The file: of ``Projector.save``, or any safetensors with a tensor 'w', [w_dim] or [all layers, w_dim].
    Raises GanzooError if it is of another network, or cannot be read.
    """
    G = generator.style()
    tensors = read_tensors(path, "w", "ganzoo project makes such files")
    w = tensors.pop("w").float()
    if w.shape not in ((G.w_dim,), (G.num_ws, G.w_dim)) or not bool(w.isfinite().all()):
        raise GanzooError(
            f"{path}: 'w' has the shape {list(w.shape)}; for {generator.path} it is [{G.w_dim}] or "
            f"[{G.num_ws}, {G.w_dim}], all finite: is it of another network?"
        )
    maps = {name.removeprefix("noise/"): x for name, x in tensors.items() if name.startswith("noise/")}
    if maps:
        generator = replace(generator, G=copy.deepcopy(G))
        buffers = noise_maps(generator)
        for name, map_ in maps.items():
            if name not in buffers or buffers[name].shape != map_.shape:
                raise GanzooError(
                    f"{path}: its noise {name!r} does not fit {generator.path}: is it of another network?"
                )
            if not bool(map_.isfinite().all()):
                raise GanzooError(f"{path}: its noise {name!r} has values that are no finite numbers")
            buffers[name].copy_(map_)
    return w.expand(1, G.num_ws, -1).to(generator.device), generator


def read_tensors(path: Path, wanted: str, hint: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, verified if ganzoo wrote it. Raises GanzooError without ``wanted``."""
    if "sha256" in read_metadata(path):
        tensors, _ = load_weights(path)
    else:
        try:
            tensors = load_file(path)
        except Exception as error:  # safetensors' own, or torch's for types and shapes that it has not
            raise CheckpointError(f"{path}: cannot be read: {str(error).partition(chr(10))[0]}") from error
    if wanted not in tensors:
        there = ", ".join(list(tensors)[:5]) or "nothing"
        raise GanzooError(f"{path}: has no tensor {wanted!r}, but {there}; {hint}")
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            raise GanzooError(f"{path}: its tensor {name!r} is of the type {tensor.dtype}; make it float32")
    return tensors


def noise_maps(generator: LoadedGenerator) -> dict[str, Tensor]:
    """The stored maps of noise of a network that images depend on, by the name of the buffer.

    A map is a square buffer that images depend on with noise 'const' and not with 'none'. A network that has none, or
    that gave all of them strength 0, has an empty result.
    """
    G = generator.style()
    square = {
        name: x
        for name, x in G.named_buffers()
        if x.is_floating_point() and x.ndim >= 2 and x.shape[-1] == x.shape[-2] > 1 and x.numel() == x.shape[-1] ** 2
    }
    used: dict[str, set[str]] = {}
    for noise in ("const", "none"):
        for x in square.values():
            x.requires_grad_()
        try:
            img = generator.synthesis(G.w_avg[None], noise=noise)  # type: ignore[arg-type]
            grads = _gradients(img.float().square().sum(), list(square.values()))
        finally:
            for x in square.values():
                x.requires_grad_(False)
        used[noise] = {name for name, grad in zip(square, grads, strict=True) if grad is not None and grad.any()}
    return {name: x for name, x in square.items() if name in used["const"] - used["none"]}


def _gradients(value: Tensor, inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
    if not inputs or not value.requires_grad:
        return (None,) * len(inputs)
    return torch.autograd.grad(value, inputs, allow_unused=True)


def noise_penalty(map_: Tensor) -> Tensor:
    """How much a map [..., R, R] repeats itself one pixel away, at its own size and every smaller one down to 8 px."""
    x = map_.reshape(1, 1, *map_.shape[-2:])
    total = x.new_zeros([])
    while True:
        total = total + (x * x.roll(1, 3)).mean().square() + (x * x.roll(1, 2)).mean().square()
        if x.shape[-1] <= 8:
            return total
        x = downsample(x) * 2  # the mean of four has half the deviation


def _ramp(t: float) -> float:
    return min(1.0, t / 0.05 + 1e-3) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25)))


def load_target(path: Path, generator: LoadedGenerator, *, fit: bool) -> np.ndarray:
    """A picture as uint8 [C, R, R], as the network makes them (RGBA premultiplied by alpha).

    fit: bring it to size and colours as the recipe does its data. Raises DataError, saying what would work, if it has
    another size or mode and may not be fitted, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no file; give a picture")
    pixels = decode(read_file(path), str(path))
    size, channels = generator.growth.resolution, generator.img_channels
    height, width = pixels.shape[:2]
    data = generator.recipe.data
    if not fit and (height, width) != (size, size):
        raise DataError(
            f"{path}: is {width} x {height} px, and this network makes images of {size} x {size}: scale it "
            f"yourself, or add --fit to {data.fit} it as the recipe does its data"
        )
    found = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if not fit and found != channels:
        raise DataError(
            f"{path}: is {_MODES[found]}, and this network makes {_MODES[channels]} images: convert it, or add --fit "
            f"to treat it as the recipe does its data (background {data.background})"
        )
    return Fit(size, channels, data.fit, data.filter, data.background)(pixels, str(path))


def pyramid_distance(target: Tensor) -> Distance:
    """Mean absolute difference to target [1, C, R, R] of pixels, plus that of each band of a Laplacian pyramid.

    Needs no weights. A band is what 2x2 means, enlarged bilinearly, leave out; bands go down to 4 px, and the rest is
    the last of them (as the Lap1 loss of Bojanowski et al. 2018, arXiv:1707.05776, where all bands weigh the same).
    """

    def distance(img: Tensor) -> Tensor:
        x = img - target  # the pyramid is linear: that of the difference is the difference of the two
        total = x.abs().mean()
        while x.shape[-1] > 4:
            smaller = downsample(x)
            total = total + (x - F.interpolate(smaller, scale_factor=2, mode="bilinear")).abs().mean()
            x = smaller
        return total + x.abs().mean()

    return distance


def vgg_distance(target: Tensor, weights: Path, background: str) -> Distance:
    """Difference to target [1, C, R, R] of the features of VGG16 (Simonyan & Zisserman 2015), as LPIPS measures it.

    The features of every pixel are scaled to length 1 after the last layer of each of the five blocks, and their
    squared differences averaged over pixels and added up: LPIPS (Zhang et al. 2018, arXiv:1801.03924) without its
    learned weights. Images larger than 256 px are averaged down to that, as in the projection of StyleGAN2; grey is
    repeated, RGBA is seen in front of ``background``, and the mean absolute difference of alpha is added.
    weights: torchvision's file vgg16-397923af.pth. Raises CheckpointError if it cannot be read or is another network's.
    """
    network = VGG16(weights).to(target.device)
    behind = torch.tensor(ImageColor.getrgb(background)[:3], device=target.device)[:, None, None] / 255

    def features(img: Tensor) -> Iterator[Tensor]:
        x = (img + 1) / 2
        x = x[:, :3] + (1 - x[:, 3:]) * behind if x.shape[1] == 4 else x.expand(-1, 3, -1, -1)
        while x.shape[-1] > 256:
            x = downsample(x)
        return network(x)

    with torch.no_grad():
        wanted = list(features(target))

    def distance(img: Tensor) -> Tensor:
        total = img.new_zeros([])
        for ours, theirs in zip(features(img), wanted, strict=True):
            total = total + (ours - theirs).square().sum(dim=1).mean()
        return total + (img[:, 3:] - target[:, 3:]).abs().mean() if img.shape[1] == 4 else total

    return distance


class VGG16(nn.Module):
    """The convolutions of torchvision's VGG16: RGB [N, 3, R, R] in [0, 1] to five maps of features of length 1."""

    BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def __init__(self, weights: Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self._ends = 3, []
        with torch.device("meta"):  # the file brings all numbers
            for block in self.BLOCKS:
                for width in block:
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                    channels = width
                self._ends.append(len(layers) - 1)
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.load_state_dict(_read_vgg(weights, self.state_dict()), assign=True)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        x = (x - self.mean) / self.std
        for i, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d) and x.shape[-1] < 2:
                return  # small images end here
            x = layer(x)
            if i in self._ends:
                yield F.normalize(x, dim=1, eps=1e-8)


def _read_vgg(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    hint = "give torchvision's weights of VGG16, vgg16-397923af.pth"
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; {hint}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader of its old format raises anything for damaged files
        raise CheckpointError(f"{path}: cannot be read as weights ({type(error).__name__}); {hint}") from error
    tensors = found if isinstance(found, dict) else {}
    for name, ours in wanted.items():
        theirs = tensors.get(name)
        if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
            raise CheckpointError(f"{path}: are the weights of another network ({name} is missing or differs); {hint}")
    return {name: tensors[name].float() for name in wanted}
