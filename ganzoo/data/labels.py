"""Labels of images: class folders, ``dataset.json``, and the vectors that networks take."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import DataError

_MOST_CLASSES = 100_000  # a one-hot vector has one number a class; ImageNet-21k has 21,841

Labels = tuple[np.ndarray | None, list[str] | None]  # (int64 [N] or float32 [N, c_dim], class names by index)


def from_class_folders(names: Sequence[str]) -> Labels:
    """Labels from paths such as ``cat/1.png``: the first folder below those that all share, classes in sorted order.

    (None, None) unless every image is in such a folder and there are two at least.
    """
    parts = [name.split("/") for name in names]
    folders = [p[:-1] for p in parts]
    first, last = min(folders), max(folders)  # what these two share, all share
    depth = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    if any(len(p) <= depth + 1 for p in parts):
        return None, None
    of_image = [p[depth] for p in parts]
    classes = sorted(set(of_image))
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in of_image], np.int64), classes


def from_dataset_json(data: bytes, names: Sequence[str], filename: str) -> Labels:
    """Labels from NVIDIA's ``{"labels": [["00000/img00000000.png", 3], ...]}``; ``"labels": null`` means none.

    Classes are named after the optional key ``class_names``, or after class folders that agree with the labels.
    Raises DataError if it is damaged or does not fit the images.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{filename}: is not JSON ({problem})") from problem
    if not isinstance(content, dict):
        raise DataError(f'{filename}: must hold {{"labels": [[file, label], ...]}}')
    entries = content.get("labels")
    if entries is None:
        return None, None
    try:
        by_name = {name.replace("\\", "/"): label for name, label in entries}
    except (TypeError, ValueError, AttributeError) as problem:
        raise DataError(f'{filename}: "labels" must be a list of [file, label] pairs, or null') from problem
    without = [name for name in names if name not in by_name]
    if without:
        raise DataError(
            f"{filename}: {len(without):,} of {len(names):,} images have no label, {without[0]} for one. Label them, "
            'or write "labels": null.'
        )
    if len(by_name) > len(names):
        absent = sorted(set(by_name) - set(names))
        raise DataError(f"{filename}: labels {len(absent):,} files that are not there, {absent[0]} for one")
    labels = _to_array([by_name[name] for name in names], filename)
    return labels, _class_names(content.get("class_names"), labels, names, filename)


def to_dataset_json(names: Sequence[str], labels: np.ndarray | None, class_names: Sequence[str] | None) -> str:
    """The text of a ``dataset.json``; NVIDIA's readers ignore ``class_names``."""
    pairs = None if labels is None else [[name, label] for name, label in zip(names, labels.tolist(), strict=True)]
    content: dict[str, object] = {"labels": pairs}
    if class_names is not None:
        content["class_names"] = list(class_names)
    return json.dumps(content)


def label_size(labels: np.ndarray, class_names: Sequence[str] | None) -> int:
    """c_dim: number of classes, or length of the vectors."""
    if labels.ndim == 2:
        return labels.shape[1]
    return max(int(labels.max()) + 1, len(class_names or ()))


def to_vectors(labels: np.ndarray, c_dim: int) -> Tensor:
    """Class indices [n] -> one-hot; vectors [n, c_dim] as they are. float32 [n, c_dim]."""
    if labels.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(labels, np.float32))
    vectors = np.zeros((len(labels), c_dim), np.float32)
    vectors[np.arange(len(labels)), labels] = 1
    return torch.from_numpy(vectors)


def _to_array(values: list[object], filename: str) -> np.ndarray:
    try:
        labels = np.array(values)
    except ValueError as problem:  # ragged
        raise DataError(f"{filename}: labels have different lengths") from problem
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        if labels.min() < 0:
            raise DataError(f"{filename}: label {labels.min()} is negative; classes are counted from 0")
        if labels.max() >= _MOST_CLASSES:
            raise DataError(
                f"{filename}: label {labels.max()} is too large; classes are counted from 0, {_MOST_CLASSES:,} at most"
            )
        return labels.astype(np.int64)
    if labels.dtype.kind in "iuf" and labels.ndim == 2:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
            vectors = labels.astype(np.float32)
        if np.isfinite(vectors).all():
            return vectors
    raise DataError(f"{filename}: labels must be class numbers 0, 1, ... or lists of finite numbers, all of one kind")


def _class_names(given: object, labels: np.ndarray, names: Sequence[str], filename: str) -> list[str] | None:
    if labels.ndim == 2:
        return None
    count = int(labels.max()) + 1
    if given is not None:
        if not isinstance(given, list) or len(given) < count:
            raise DataError(f'{filename}: "class_names" must be a list of {count} names, one a class')
        return [str(name) for name in given]
    folders, classes = from_class_folders(names)
    if folders is None or classes is None or len(classes) != count:
        return None
    pairs = set(zip(labels.tolist(), folders.tolist(), strict=True))
    return [classes[folder] for _, folder in sorted(pairs)] if len(pairs) == count else None
