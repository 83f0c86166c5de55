"""benchmarks/classes.py: what is counted, on a generator that draws faces, and what it refuses."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ganzoo.errors import GanzooError

pytest.importorskip("ganzoo_stylegan")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("classes", "style_statistics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("classes")
    for name in ("classes", "style_statistics"):
        sys.modules.pop(name, None)


def test_table(benchmark):
    asked = torch.tensor([0, 0, 0, 0, 1, 1])
    counts = benchmark.confusion(asked, torch.tensor([0, 0, 0, 2, 1, 1]), 3)
    assert counts.tolist() == [[3, 0, 1], [0, 2, 0], [0, 0, 0]]
    lines = benchmark.table(benchmark.confusion(asked, torch.tensor([0, 0, 0, 1, 1, 1]), 2), ["bald", "bun"])
    assert lines.splitlines()[2:] == ["| bald | 4 | 75.0% | bun (25.0%) |", "| bun | 2 | 100.0% |  |"]


def test_each_face_is_compared_with_the_class_it_was_made_for(benchmark):
    """A generator whose images are of one grey a class, and a reader that reads the grey."""

    class Grey:
        z_dim, c_dim = 4, 7

        def __call__(self, z, c):
            assert z.shape == (len(c), 4) and not torch.equal(z[0], z[-1])
            return (c.argmax(1) / 4 - 1)[:, None, None, None].expand(-1, 3, 8, 8)

    def reader(images):
        level = ((images.mean(dim=(1, 2, 3)) + 1) * 4).round().long()
        return {"hair_style": torch.eye(8)[level]}

    asked = torch.arange(7).repeat_interleave(40)  # more than a batch
    assert torch.equal(benchmark.read_classes(Grey(), reader, asked, seed=0), asked)


def test_other_generators_are_refused(benchmark):
    def generator(source, c_dim):
        recipe = SimpleNamespace(data=SimpleNamespace(source=source))
        return SimpleNamespace(path="run", recipe=recipe, img_channels=3, c_dim=c_dim)

    faces = SimpleNamespace(name="faces")
    benchmark.check(generator(faces, 7))
    with pytest.raises(GanzooError, match="not trained on the built-in faces"):
        benchmark.check(generator(None, 7))
    with pytest.raises(GanzooError, match=r"set data\.labels to true"):
        benchmark.check(generator(faces, 0))
