"""The reference data of shared/golden, which lies beside the checkout: tests that need it skip where it is absent."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ganzoo import GrowthState

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One reference item. lod counts from the final resolution, and its fraction weighs the OLD branch."""

    meta: dict
    tensors: dict[str, Tensor]

    @property
    def resolution(self) -> int:
        return self.meta["resolution"]

    def growth(self, lod: float) -> GrowthState:
        size = self.resolution >> math.floor(lod)
        return GrowthState(resolution=size, alpha=1 - lod % 1, batch_size=len(self["in/z"]), g_lr=0.001, d_lr=0.001)

    def real(self, lod: float) -> Tensor:
        return F.avg_pool2d(self["in/real"], 2 ** math.floor(lod))

    def at_final_size(self, img: Tensor) -> Tensor:
        """The references show lower resolutions nearest-upsampled."""
        return F.interpolate(img, size=(self.resolution, self.resolution), mode="nearest")

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name[len(prefix) :]: x for name, x in self.tensors.items() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    path: Path = request.param
    return Golden(json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(pattern, having): run on every reference item that matches")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``@pytest.mark.golden(pattern, having=prefix)`` runs a test on every item that matches and has such tensors."""
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is None:
        return
    if not GOLDEN.is_dir():
        skip = pytest.mark.skip(reason="reference data (shared/golden) are not beside this checkout")
        metafunc.parametrize("golden", [pytest.param(None, marks=skip, id="absent")], indirect=True)
        return
    prefix = marker.kwargs.get("having", "")
    paths = [
        path
        for path in sorted(GOLDEN.glob(f"{marker.args[0]}.json"))
        if any(name.startswith(prefix) for name in json.loads(path.read_text())["tensors"])
    ]
    assert paths, f"no reference item matches {marker.args[0]}"
    metafunc.parametrize("golden", paths, indirect=True, ids=[p.stem for p in paths])


@pytest.fixture
def assert_near():
    """Largest difference, relative to the largest value of the reference."""

    def check(ours: Tensor, reference: Tensor, tolerance: float, what: str = "tensor") -> None:
        assert ours.shape == reference.shape, f"{what}: shape {tuple(ours.shape)}, reference {tuple(reference.shape)}"
        error = (ours.detach() - reference).abs().max() / reference.abs().max().clamp_min(1e-12)
        assert error <= tolerance, f"{what}: off by {error:.2e} of the reference's largest value"

    return check
