"""A classifier small enough for a laptop, to follow training where Inception would take longer than training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.data.images import uint8_to_float
from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Extractor
from ganzoo.weights import load_weights

FORMAT = "ganzoo-small-extractor/1"
WEIGHTS = Path(__file__).with_name("small.safetensors")
IMG_RESOLUTION = 32


class SmallNetwork(nn.Module):
    """Three convolutions and a linear layer: 94 thousand parameters, about 10 million multiplications an image."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(c_in, c_out) for c_in, c_out in ((3, 32), (32, 64), (64, 128)))
        self.fc = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, 3, 32, 32] in [-1, 1] -> features [N, 128] and logits [N, num_classes]."""
        for block in self.blocks[:-1]:
            x = F.max_pool2d(block(x), 2)
        features = self.blocks[-1](x).mean((2, 3))
        return features, self.fc(features)


class SmallExtractor(Extractor):
    """A small network that ganzoo brings along, trained on CIFAR-10 in minutes (benchmarks/train_small_extractor.py).

    For tests and for watching training on a CPU. Its numbers compare with one another, never with Inception's.
    """

    layers = ("features", "logits")
    resize = f"bilinear with antialiasing to {IMG_RESOLUTION} x {IMG_RESOLUTION}"

    def __init__(self, *, weights: str | None = None, device: str = "cpu") -> None:
        """weights: a file of the training script, None = the one that is installed with ganzoo."""
        path = Path(weights) if weights else WEIGHTS
        tensors, metadata = load_weights(path)
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: holds no weights of the extractor 'small' but {metadata.get('format', 'something else')}; "
                "leave --weights out to use those that are installed with ganzoo"
            )
        self.network = SmallNetwork(num_classes=len(tensors["fc.bias"]))
        self.network.load_state_dict(tensors)
        self.network.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.weights_hash = hashlib.sha256(path.read_bytes()).hexdigest()

    def layer_for(self, metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @torch.no_grad()
    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        found = dict(zip(self.layers, self.network(to_network_input(images.to(self.device))), strict=True))
        return {layer: found[layer].float().cpu() for layer in layers}


def to_network_input(images: Tensor) -> Tensor:
    """uint8 [N, 3, R, R] -> float32 [N, 3, 32, 32] in [-1, 1]."""
    x = uint8_to_float(images)
    if x.shape[-2:] != (IMG_RESOLUTION, IMG_RESOLUTION):
        x = F.interpolate(x, (IMG_RESOLUTION, IMG_RESOLUTION), mode="bilinear", antialias=True)
    return x


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())
