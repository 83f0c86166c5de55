"""The check of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganzoo.interfaces import Dataset
from ganzoo.testing.contract import Contract, with_fixed_seed


@with_fixed_seed
def check_dataset(cls: type[Dataset], args: Mapping[str, Any] | None = None, *, img_resolution: int = 16) -> None:
    """Check a Dataset class, built twice from ``args`` (as a recipe would give them). Raises AssertionError.

    img_resolution: given to classes that draw their images in the size that is wanted.
    """
    contract = Contract(cls, Dataset)
    dataset, again = (contract.construct(args, img_resolution=img_resolution) for _ in range(2))
    n = len(dataset)
    contract.require(n >= 1, "has no images")
    contract.require(isinstance(dataset.name, str) and dataset.name != "", f"name is {dataset.name!r}")
    _check_fingerprint(contract, dataset, again)
    _check_labels(contract, dataset, n)
    for index in sorted({0, n // 2, n - 1}):
        _check_image(contract, dataset, again, index)


def _check_fingerprint(contract: Contract, dataset: Dataset, again: Dataset) -> None:
    fingerprint = dataset.fingerprint
    is_hex = isinstance(fingerprint, str) and fingerprint != "" and set(fingerprint.lower()) <= set("0123456789abcdef")
    contract.require(is_hex, f"fingerprint {fingerprint!r} is no hex string")
    contract.require(
        fingerprint == again.fingerprint,
        f"the fingerprint of the same data is {fingerprint} once and {again.fingerprint} the next time: "
        "runs could never be resumed",
    )


def _check_labels(contract: Contract, dataset: Dataset, n: int) -> None:
    labels, names = dataset.labels, dataset.class_names
    if labels is None:
        contract.require(names is None, "has class_names but no labels")
        return
    kind = (labels.dtype, labels.ndim) if isinstance(labels, np.ndarray) else None
    contract.require(
        kind in [(np.dtype(np.int64), 1), (np.dtype(np.float32), 2)],
        f"labels are {getattr(labels, 'dtype', type(labels).__name__)} {list(np.shape(labels))}; "
        "wanted are int64 [N] or float32 [N, c_dim]",
    )
    contract.require(len(labels) == n, f"has {n} images and {len(labels)} labels")
    if labels.ndim == 1:
        contract.require(int(labels.min()) >= 0, "has a negative class index")
        if names is not None:
            contract.require(int(labels.max()) < len(names), f"has class {labels.max()} but {len(names)} class_names")
    else:
        contract.require(bool(np.isfinite(labels).all()), "has labels that are not finite")


def _check_image(contract: Contract, dataset: Dataset, again: Dataset, index: int) -> None:
    filename = dataset.filename(index)
    contract.require(isinstance(filename, str) and filename != "", f"filename({index}) is {filename!r}")
    with contract.attempt(f"image({index})"):
        img = dataset.image(index)
    what = f"image({index}) is {img.dtype} {list(img.shape)}"
    contract.require(img.dtype in (np.uint8, np.uint16), f"{what}; wanted are uint8 or uint16")
    contract.require(
        img.ndim in (2, 3) and 0 not in img.shape and (img.ndim == 2 or img.shape[2] <= 4),
        f"{what}; wanted are [H, W] or [H, W, 1 to 4]",
    )
    same = all(np.array_equal(img, other.image(index)) for other in (dataset, again))
    contract.require(same, f"image({index}) is another picture every time")
