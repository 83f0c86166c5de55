from __future__ import annotations

import pytest
import torch
from PIL import Image

from ganzoo.data import open_dataset
from ganzoo.evaluation import features as module
from ganzoo.evaluation.features import Features
from ganzoo.evaluation.images import FileImages
from ganzoo.plugins import LoadedPlugins


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 40)


@pytest.fixture
def extractor(plugins: LoadedPlugins):
    return plugins.registry.get("extractor", "mean-colours").cls()


def features_of(root, extractor, layers=("cells",)):
    return Features(FileImages(open_dataset(str(root))), extractor, "mean-colours", layers)


def test_features_are_those_of_the_extractor_in_order(make_folder, extractor):
    root = make_folder("a", 100)
    found = features_of(root, extractor, ["cells", "whole"]).load()
    pixels = torch.from_numpy(FileImages(open_dataset(str(root))).read(range(100)))
    expected = extractor.features(pixels, ["cells", "whole"])
    assert found.keys() == expected.keys()
    for layer in expected:
        torch.testing.assert_close(found[layer], expected[layer])


def test_the_second_time_nothing_is_computed(make_folder, extractor):
    root = make_folder("a", 100)
    first = features_of(root, extractor).load()
    seen = type(extractor).seen
    assert torch.equal(features_of(root, extractor).load()["cells"], first["cells"])
    assert type(extractor).seen == seen == 100


def test_an_interrupted_extraction_goes_on_where_it_stopped(make_folder, extractor, monkeypatch):
    root = make_folder("a", 100)
    expected = extractor.features(torch.from_numpy(FileImages(open_dataset(str(root))).read(range(100))), ["cells"])
    type(extractor).seen = 0
    original = type(extractor).features

    def interrupted(self, images, layers):
        if type(self).seen >= 80:
            raise KeyboardInterrupt
        return original(self, images, layers)

    monkeypatch.setattr(type(extractor), "features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features_of(root, extractor).load()
    monkeypatch.setattr(type(extractor), "features", original)
    found = features_of(root, extractor).load()
    assert type(extractor).seen == 100
    torch.testing.assert_close(found["cells"], expected["cells"])


def test_a_damaged_chunk_is_made_anew(make_folder, extractor):
    features = features_of(make_folder("a", 100), extractor)
    first = features.load()["cells"]
    chunk = sorted(features.folders["cells"].iterdir())[1]
    data = bytearray(chunk.read_bytes())
    data[-5] ^= 1
    chunk.write_bytes(data)
    assert torch.equal(features.load()["cells"], first)
    assert type(extractor).seen == 140


def test_images_that_change_are_looked_at_again(make_folder, extractor):
    root = make_folder("a", 50)
    before = features_of(root, extractor).load()["cells"]
    Image.new("RGB", (16, 16)).save(root / "0007.png")
    after = features_of(root, extractor).load()["cells"]
    assert (before != after).any(1).nonzero().tolist() == [[7]]


def test_other_weights_have_other_features(make_folder, extractor, monkeypatch):
    root = make_folder("a", 10)
    features_of(root, extractor).load()
    monkeypatch.setattr(type(extractor), "weights_hash", "0" * 64)
    features_of(root, extractor).load()
    assert type(extractor).seen == 20


def test_a_layer_that_is_added_later_is_computed(make_folder, extractor):
    root = make_folder("a", 50)
    features_of(root, extractor, ["cells"]).load()
    found = features_of(root, extractor, ["cells", "whole"]).load()
    assert {layer: values.shape for layer, values in found.items()} == {"cells": (50, 12), "whole": (50, 3)}


def test_processes_share_the_chunks(make_folder, extractor):
    root = make_folder("a", 100)
    for rank in (0, 1):
        features_of(root, extractor).compute(rank=rank, world_size=2)
        assert type(extractor).seen == (60, 100)[rank]  # chunks of 40, 40 and 20: the first process has two
    features_of(root, extractor).load()
    assert type(extractor).seen == 100


def test_grey_images_are_repeated(make_folder, extractor):
    found = features_of(make_folder("a", 5, mode="L"), extractor, ["whole"]).load()["whole"]
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_too_little_memory_on_the_gpu_halves_the_batch(make_folder, extractor, monkeypatch):
    original, sizes = type(extractor).features, []

    def greedy(self, images, layers):
        sizes.append(len(images))
        if len(images) > 8:
            raise torch.OutOfMemoryError
        return original(self, images, layers)

    root = make_folder("a", 20)
    expected = features_of(root, extractor).load()["cells"]
    features_of(root, extractor).forget()
    monkeypatch.setattr(type(extractor), "features", greedy)
    torch.testing.assert_close(features_of(root, extractor).load()["cells"], expected)
    assert sizes == [16, 8, 8, 4]


def test_forgetting(make_folder, extractor):
    features = features_of(make_folder("a", 10), extractor)
    features.load()
    features.forget()
    assert not features.folders["cells"].exists()
