"""Pictures and walks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.generation import sample, seeds_to_latents, slerp, walk


def test_pictures_are_the_generators_images_as_bytes(make_generator):
    generator = make_generator()
    z = seeds_to_latents([0, 1], 8)
    wanted = (generator(z) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
    pictures = np.stack(list(sample(generator, z)))
    assert pictures.shape == (2, 3, 16, 16) and pictures.dtype == np.uint8
    assert np.abs(pictures.astype(int) - wanted).max() <= 1


def test_a_picture_is_the_same_whatever_else_is_drawn(make_generator):
    generator = make_generator(c_dim=3)
    z, c = seeds_to_latents(range(7), 8), torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    together = list(sample(generator, z, c))
    (alone,) = sample(generator, z[4:5], c[4:5])
    assert np.array_equal(together[4], alone)


@pytest.mark.parametrize("batch_size", [2, 7, 16])
def test_batch_size_changes_no_more_than_rounding(make_generator, batch_size):
    generator = make_generator()
    z = seeds_to_latents(range(7), 8)
    one, many = (np.stack(list(sample(generator, z, batch_size=n))).astype(int) for n in (1, batch_size))
    assert one.shape == many.shape and np.abs(one - many).max() <= 1


def test_slerp_turns_at_constant_speed_and_blends_lengths():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    t = torch.linspace(0, 1, 5)[:, None]
    path = slerp(a, b, t)
    assert torch.allclose(path[0], a) and torch.allclose(path[-1], b, atol=1e-6)
    assert torch.allclose(path.norm(dim=1), torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))
    angles = torch.atan2(path[:, 1], path[:, 0])
    assert torch.allclose(angles.diff(), torch.full((4,), math.pi / 8), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_slerp_between_parallel_latents_is_a_straight_line(factor):
    a = torch.tensor([1.0, 2.0, 2.0])
    path = slerp(a, factor * a, torch.tensor([[0.0], [0.5], [1.0]]))
    assert torch.allclose(path, torch.stack([a, a * (1 + factor) / 2, factor * a]), atol=1e-5)


def test_walk_stops_at_every_seed(make_generator):
    z, c = walk(make_generator(), [3, 1, 4], frames=10)
    assert c is None and z.shape == (21, 8)
    assert torch.allclose(z[[0, 10, 20]], seeds_to_latents([3, 1, 4], 8), atol=1e-5)


def test_loop_ends_one_frame_before_its_start(make_generator):
    z, _ = walk(make_generator(), [3, 1, 4], frames=10, loop=True)
    assert z.shape == (30, 8)
    assert torch.allclose(z[[0, 10, 20]], seeds_to_latents([3, 1, 4], 8), atol=1e-5)
    steps = torch.cat([z, z[:1]]).diff(dim=0).norm(dim=1)
    assert steps[-1] < 2 * steps[20:-1].max()  # no jump from the last frame to the first


def test_walk_blends_labels_or_keeps_the_chosen_one(make_generator):
    generator = make_generator(c_dim=4)
    z, c = walk(generator, range(6), frames=4)
    assert len(c) == len(z) and torch.allclose(c.sum(dim=1), torch.ones(len(c)))
    assert ((c > 0) & (c < 1)).any()
    _, c = walk(generator, range(6), frames=4, chosen=2)
    assert torch.equal(c, torch.eye(4)[[2] * len(z)])


def test_walk_has_an_end(make_generator):
    with pytest.raises(GanzooError, match="a walk of 3,000,000 frames is too long"):
        walk(make_generator(), [1, 2, 3], frames=1_000_000, loop=True)


def test_walk_needs_two_seeds(make_generator):
    with pytest.raises(GanzooError, match="at least two seeds"):
        walk(make_generator(), [5])
