"""The checks of metrics and of feature extractors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.evaluation.images import Source
from ganzoo.interfaces import Extractor, Metric
from ganzoo.testing.contract import BATCH_SIZE, Contract, close, random_labels, with_fixed_seed

_NUM_FEATURES = 16


@with_fixed_seed
def check_extractor(
    cls: type[Extractor],
    args: Mapping[str, Any] | None = None,
    *,
    weights: str | None = None,
    resolutions: Sequence[int] = (32, 48),
) -> None:
    """Check an Extractor class on images of ``resolutions``. weights: a file, if any. Raises AssertionError."""
    contract = Contract(cls, Extractor)
    extractor = contract.construct(args, weights=weights, device="cpu", allow_download=False)
    layers = list(getattr(extractor, "layers", []))
    contract.require(bool(layers) and all(isinstance(layer, str) for layer in layers), f"layers are {layers!r}")
    digest = getattr(extractor, "weights_hash", None)
    is_hash = isinstance(digest, str) and (
        digest == "none" or (len(digest) == 64 and set(digest) <= set("0123456789abcdef"))
    )
    contract.require(is_hash, f"weights_hash is {digest!r}; wanted is a SHA-256 in hex, or 'none'")
    resize = getattr(extractor, "resize", "")
    contract.require(isinstance(resize, str) and resize != "", f"resize is {resize!r}; say in words what is done")
    for metric in ("fid", "isc", "a-metric-of-a-plugin"):
        with contract.attempt(f"layer_for({metric!r})"):
            layer = extractor.layer_for(metric)
        contract.require(layer in layers, f"layer_for({metric!r}) is {layer!r}, which is none of layers")
    for resolution in resolutions:
        _check_features(contract, extractor, layers, resolution)


def _check_features(contract: Contract, extractor: Extractor, layers: Sequence[str], resolution: int) -> None:
    images = torch.randint(0, 256, (BATCH_SIZE, 3, resolution, resolution), dtype=torch.uint8)
    given = images.clone()
    with contract.attempt(f"features of images of {resolution} px"):
        found = extractor.features(given, layers)
        alone = extractor.features(images[:1].clone(), layers[-1:])
        again = extractor.features(images.clone(), layers)
    contract.require(torch.equal(given, images), "features changes the images in place")
    contract.require(set(found) == set(layers), f"features gives {sorted(found)} when asked for {sorted(layers)}")
    contract.require(
        set(alone) == set(layers[-1:]), f"features gives {sorted(alone)} when asked for {layers[-1]!r} alone"
    )
    for layer, values in found.items():
        what = f"layer {layer!r} is {values.dtype} {list(values.shape)} on {values.device.type}"
        fits = values.dtype == torch.float32 and values.ndim == 2 and len(values) == BATCH_SIZE
        contract.require(
            fits and values.device.type == "cpu" and not values.requires_grad,
            f"{what}; wanted is float32 [{BATCH_SIZE}, D] on the CPU, without gradient",
        )
        contract.require(bool(values.isfinite().all()), f"layer {layer!r} has values that are not finite")
        contract.require(close(again[layer], values), f"layer {layer!r} is different the second time")
    contract.require(
        close(alone[layers[-1]], found[layers[-1]][:1]),
        "the features of an image depend on the other images or on the other layers that are asked for",
    )


@with_fixed_seed
def check_metric(
    cls: type[Metric], args: Mapping[str, Any] | None = None, *, num: int | None = None, img_resolution: int = 32
) -> None:
    """Check a Metric class on random features, images or a small generator, whichever it needs. Raises AssertionError.

    num: of images in each set, None = as few as it takes. img_resolution: for metrics that look at images.
    """
    contract = Contract(cls, Metric)
    results = getattr(cls, "results", None)
    named = isinstance(results, Mapping) and bool(results)
    contract.require(
        named and all(isinstance(k, str) and isinstance(v, bool) for k, v in results.items()),  # type: ignore[union-attr]
        f"results is {results!r}; wanted is a table: name of each number -> whether lower is better",
    )
    contract.require(cls.needs in ("features", "images", "generator"), f"needs is {cls.needs!r}")
    num = num or max(cls.min_samples, 32)
    metric = contract.construct(args, num=num, device="cpu", allow_download=False)
    sets = [_subject(cls.needs, num, img_resolution, seed) for seed in (1, 2)]
    fake, real = sets[0], sets[1] if cls.compares else None
    before = [s.clone() if isinstance(s, Tensor) else None for s in sets]
    with contract.attempt("compute"):
        values = metric.compute(fake, real)
        again = metric.compute(fake, real)
    contract.require(
        isinstance(values, Mapping) and bool(values) and set(values) <= set(cls.results),
        f"compute gives {values!r}, and results has {sorted(cls.results)}",
    )
    for name, value in values.items():
        contract.require(isinstance(value, float) and bool(np.isfinite(value)), f"{name} is {value!r}, no finite float")
        contract.require(again[name] == value, f"{name} is {value} once and {again[name]} the next time")
    with contract.attempt("standard_errors and settings_for"):
        errors, settings = metric.standard_errors(fake, real), metric.settings_for(num, num)
    for name, error in (errors or {}).items():
        contract.require(name in values, f"standard_errors has {name!r}, and compute gives {sorted(values)}")
        contract.require(error is None or error >= 0, f"the standard error of {name} is {error!r}")
    with contract.attempt("settings_for as JSON, for the record"):
        json.dumps(settings)
    for old, new in zip(before, sets, strict=True):
        contract.require(old is None or torch.equal(old, new), "compute changes its features in place")


class _RandomImages:
    """An ImageSet of noise."""

    def __init__(self, num: int, resolution: int, seed: int) -> None:
        shape = (num, 3, resolution, resolution)
        self._images = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self._images[np.asarray(indices, np.int64)]


def _subject(needs: str, num: int, resolution: int, seed: int) -> Any:
    if needs == "features":
        return torch.from_numpy(np.random.RandomState(seed).randn(num, _NUM_FEATURES)).float()
    if needs == "images":
        return _RandomImages(num, resolution, seed)
    weights = torch.from_numpy(np.random.RandomState(seed).randn(8, 3 * resolution**2)).float()
    return Source(
        name="checked",
        generate=lambda z, c: (z @ weights).tanh().reshape(-1, 3, resolution, resolution),
        z_dim=8,
        c_dim=2,
        resolution=resolution,
        channels=3,
        fingerprint="0",
        labels=random_labels(num, 2),
    )
