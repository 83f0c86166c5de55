from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ganzoo.data.labels import from_class_folders, from_dataset_json, label_size, to_dataset_json, to_vectors
from ganzoo.errors import DataError

NAMES = ["a/0.png", "a/1.png", "b/0.png"]


def parse(labels, names=NAMES, **more):
    return from_dataset_json(json.dumps({"labels": labels, **more}).encode(), names, "set/dataset.json")


def test_class_folders():
    labels, classes = from_class_folders(["dog/0.png", "cat/1.png", "cat/deeper/2.png"])
    assert labels.tolist() == [1, 0, 0] and classes == ["cat", "dog"]


def test_class_folders_below_a_common_folder():
    labels, classes = from_class_folders(["top/in/dog/0.png", "top/in/cat/1.png"])
    assert labels.tolist() == [1, 0] and classes == ["cat", "dog"]


@pytest.mark.parametrize("names", [["0.png", "cat/1.png"], ["cat/0.png", "cat/1.png"], ["0.png"]])
def test_no_classes_unless_every_image_is_in_one_of_two(names):
    assert from_class_folders(names) == (None, None)


def test_class_labels_take_the_names_of_agreeing_folders():
    labels, classes = parse([["b/0.png", 0], ["a/0.png", 1], ["a\\1.png", 1]])
    assert labels.tolist() == [1, 1, 0] and labels.dtype == np.int64
    assert classes == ["b", "a"]


def test_folders_that_do_not_agree_name_nothing():
    assert parse([["a/0.png", 0], ["a/1.png", 1], ["b/0.png", 0]])[1] is None


def test_given_class_names_win():
    assert parse([[n, 0] for n in NAMES], class_names=["one", "two"])[1] == ["one", "two"]


def test_vectors():
    labels, classes = parse([[n, [0.5, i]] for i, n in enumerate(NAMES)])
    assert labels.dtype == np.float32 and labels.tolist() == [[0.5, 0], [0.5, 1], [0.5, 2]] and classes is None


def test_null_means_none_even_with_class_folders():
    assert parse(None) == (None, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["a/0.png", 0], ["a/1.png", 0]], r"1 of 3 images have no label, b/0\.png"),
        ([[n, 0] for n in [*NAMES, "c/9.png"]], r"1 files that are not there, c/9\.png"),
        ([[n, i - 1] for i, n in enumerate(NAMES)], "label -1 is negative"),
        ([[n, 3_000_000_000] for n in NAMES], "label 3000000000 is too large"),
        ([[n, 2**63] for n in NAMES], "is too large"),
        ([[n, "cat"] for n in NAMES], "class numbers"),
        ([[n, 0.5] for n in NAMES], "class numbers"),
        ([[n, True] for n in NAMES], "class numbers"),
        ([[n, [1.0, float("nan")]] for n in NAMES], "finite"),
        ([[n, [1.0, 1e300]] for n in NAMES], "finite"),  # is infinite in float32
        ([[n, [1.0] * (i + 1)] for i, n in enumerate(NAMES)], "different lengths"),
        (["a/0.png"], r"\[file, label\] pairs"),
        (7, r"\[file, label\] pairs"),
        ([[7, 7]], r"\[file, label\] pairs"),
    ],
)
def test_inconsistent_dataset_json(labels, message):
    with pytest.raises(DataError, match=rf"^set/dataset\.json: .*{message}"):
        parse(labels)


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"[" * 200_000, b"\xff\xfe", b'{"labels": [["a/0.png", 0]], "class_names": 3}']
)
def test_damaged_dataset_json(text):
    with pytest.raises(DataError, match=r"^set/dataset\.json: "):
        from_dataset_json(text, ["a/0.png"], "set/dataset.json")


@pytest.mark.parametrize("labels", [np.array([1, 0, 1]), np.array([[0.25, 1], [2, 3], [4, 5]], np.float32), None])
def test_written_labels_are_read_again(labels):
    names = None if labels is None or labels.ndim == 2 else ["x", "y"]
    text = to_dataset_json(NAMES, labels, names)
    again, classes = from_dataset_json(text.encode(), NAMES, "dataset.json")
    assert (again is None) if labels is None else (again == labels).all()
    assert classes == names


def test_vectors_for_networks():
    assert label_size(np.array([0, 2]), None) == 3 and label_size(np.array([0, 2]), ["a", "b", "c", "d"]) == 4
    assert to_vectors(np.array([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    vectors = to_vectors(np.array([[0.5, 2]], np.float32), 2)
    assert vectors.dtype == torch.float32 and vectors.tolist() == [[0.5, 2]]
