from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from ganzoo.data import DataInfo, TrainingData, batches
from ganzoo.data.ahead import map_ahead
from ganzoo.data.batches import ImageOrder, mirrored
from ganzoo.data.fit import mip_levels
from ganzoo.data.training_data import LevelArrays
from ganzoo.errors import DataError

N = 23
ORDER = [2, 5, 3, 4, 1, 9, 8, 7, 0, 6, 8, 1, 3, 5, 6, 2, 0, 9, 7, 4]
MIRRORED = [0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0]


@pytest.fixture
def data(pixels):
    images = np.stack([pixels(i).transpose(2, 0, 1) for i in range(N)])
    info = DataInfo("tiny", N, 8, 3, 5, None, "abc")
    return TrainingData(info, LevelArrays(mip_levels(images)), np.arange(N) % 5)


def take(data, n, **options):
    reader = batches(
        data, **{"resolution": 8, "batch_size": 4, "start": 0, "seed": 7, "mirror": True, "workers": 0, **options}
    )
    pairs = [next(reader) for _ in range(n)]
    reader.close()
    return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.parametrize("workers", [1, 4, "auto"])
def test_workers_change_nothing(data, workers):
    assert same(take(data, 20, workers=workers), take(data, 20))


def test_starting_in_the_middle_is_a_slice(data):
    images, labels = take(data, 20)
    assert same(take(data, 6, start=39, workers=1), (images[39:63], labels[39:63]))


def test_batch_size_only_cuts_the_same_sequence(data):
    assert same(take(data, 20), take(data, 8, batch_size=10))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_partition_every_batch(data, world_size):
    whole = take(data, 6, batch_size=8, start=3)
    parts = [take(data, 6, batch_size=8, start=3, rank=r, world_size=world_size) for r in range(world_size)]
    shares = [torch.stack([p[i].unflatten(0, (6, -1)) for p in parts], 1).flatten(0, 2) for i in (0, 1)]
    assert same(shares, whole)


def test_every_epoch_shows_every_image_once_in_another_order():
    order = ImageOrder(N, seed=1)
    epochs = [order.at(np.arange(e * N, (e + 1) * N)).tolist() for e in (0, 1, 2, 9)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert order.at(np.array([2 * N])) == epochs[2][0]  # after later epochs were asked for
    assert ImageOrder(N, seed=2).at(np.arange(N)).tolist() != epochs[0]


def test_the_order_is_the_same_for_ever():
    # Recorded: a run must resume in the order it began with, whatever versions are installed by then.
    assert ImageOrder(10, seed=3).at(np.arange(20)).tolist() == ORDER
    assert mirrored(np.arange(16), 3).astype(int).tolist() == MIRRORED


def test_large_seeds_are_fine():
    assert sorted(ImageOrder(N, seed=2**63 - 1).at(np.arange(N)).tolist()) == list(range(N))
    assert mirrored(np.arange(4), 2**63 - 1).dtype == bool


def test_mirroring_is_a_fair_coin_and_flips_left_to_right(data):
    flips = mirrored(np.arange(100_000), seed=5)
    assert abs(flips.mean() - 0.5) < 0.01 and abs((flips[1:] == flips[:-1]).mean() - 0.5) < 0.01
    plain, turned = take(data, 10, mirror=False)[0], take(data, 10)[0]
    expected = torch.from_numpy(mirrored(np.arange(40), 7))
    assert torch.equal(turned[expected], plain[expected].flip(3)) and torch.equal(turned[~expected], plain[~expected])


def test_levels_and_labels_belong_together(data):
    images, labels = take(data, 5, resolution=2, mirror=False)
    indices = ImageOrder(N, 7).at(np.arange(20))
    assert images.shape == (20, 3, 2, 2) and images.dtype == torch.uint8
    assert (images.numpy() == data.read(indices, 2)).all()
    assert labels.argmax(1).tolist() == (indices % 5).tolist() and labels.dtype == torch.float32


def test_no_global_generator_is_touched(data):
    torch.manual_seed(0), np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    take(data, 10, workers=2)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


def test_without_labels(data):
    plain = TrainingData(DataInfo("tiny", N, 8, 3, 0, None, ""), data.images, None)
    assert next(batches(plain, resolution=8, batch_size=4, start=0, seed=0, mirror=False, workers=0))[1] is None


class Failing:
    decodes = True

    def read(self, indices, resolution):
        raise DataError("cats/7.png: broken")


@pytest.mark.parametrize("workers", [0, 1, 3, "auto"])
def test_a_failing_worker_raises_where_its_batch_would_have_come(data, workers):
    reader = batches(
        TrainingData(data.info, Failing(), None),
        resolution=8,
        batch_size=4,
        start=0,
        seed=0,
        mirror=False,
        workers=workers,
    )
    with pytest.raises(DataError, match=r"cats/7\.png: broken"):
        next(reader)
    reader.close()


def test_close_waits_for_nobody():
    release = threading.Event()
    reader = map_ahead(lambda i: i if i == 0 else release.wait(30), range(10), workers=1)
    assert next(reader) == 0
    reader.close()  # while the thread is stuck
    assert not release.is_set()
    release.set()


def test_threads_work_ahead_but_not_without_end():
    started = []
    reader = map_ahead(started.append, iter(range(100)), workers=2)
    next(reader)
    next(reader)
    assert len(started) <= 2 + 4
    reader.close()


def test_reading_before_the_first_image_and_closing_twice(data):
    reader = batches(data, resolution=8, batch_size=4, start=0, seed=0, mirror=False, workers=1)
    reader.close()
    reader.close()
    with pytest.raises(StopIteration):
        next(reader)
