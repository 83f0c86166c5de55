"""Seeds and classes to what a generator is fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.generation import labels_for_seeds, parse_seeds, seeds_to_latents


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("7", [7]),
        ("0-3", [0, 1, 2, 3]),
        ("0-2,40", [0, 1, 2, 40]),
        (" 5 , 3 - 4", [5, 3, 4]),
        ("4294967295", [2**32 - 1]),
    ],
)
def test_parse_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1,,2", "-1", "1.5", "0-3-5", "5-2", "4294967296", "0:3", "9" * 5000, "5-4294967295"]
)
def test_parse_seeds_refuses(text):
    with pytest.raises(GanzooError, match="seeds"):
        parse_seeds(text)


def test_latents_follow_the_convention_of_the_field():
    z = seeds_to_latents([3, 85], 16)
    assert z.dtype == torch.float32
    for row, seed in zip(z, [3, 85], strict=True):
        assert np.array_equal(row[None].numpy(), np.random.RandomState(seed).randn(1, 16).astype(np.float32))


def test_truncated_latents_are_drawn_again_until_they_fit():
    whole, some = seeds_to_latents([3, 85], 500), seeds_to_latents([3, 85], 500, 0.5)
    assert some.abs().max() <= 0.5 < whole.abs().max()
    kept = whole.abs() <= 0.5
    assert torch.equal(some[kept], whole[kept]) and 0.3 < kept.float().mean() < 0.5
    assert some.std() == pytest.approx(0.2841, rel=0.05)  # of a normal cut at 0.5, and not of one that is clipped

    assert torch.equal(some[1:], seeds_to_latents([85], 500, 0.5)), "a seed's latent depends on other seeds"
    assert torch.equal(seeds_to_latents([3, 85], 500, 100.0), whole)


@pytest.mark.parametrize("trunc", [0.0, -0.5, 0.001, float("nan"), float("inf")])
def test_truncation_that_no_latent_survives(trunc):
    with pytest.raises(GanzooError, match=r"drawn again until .* from 0\.01 on"):
        seeds_to_latents([0], 4, trunc)


def test_without_labels(make_generator):
    generator = make_generator()
    assert labels_for_seeds(generator, [0, 1]) is None
    with pytest.raises(GanzooError, match="trained without labels"):
        labels_for_seeds(generator, [0], "2")


def test_class_by_name_and_by_index(make_generator):
    generator = make_generator(c_dim=3, class_names=["cat", "dog", "1"])
    assert labels_for_seeds(generator, [0, 1], "dog").tolist() == [[0, 1, 0]] * 2
    assert labels_for_seeds(generator, [0], 0).tolist() == [[1, 0, 0]]
    assert labels_for_seeds(generator, [0], "1").tolist() == [[0, 0, 1]]  # a name comes before an index


@pytest.mark.parametrize("wrong", ["dgo", "3", "-1", "9" * 5000])
def test_unknown_class(make_generator, wrong):
    with pytest.raises(GanzooError, match="there are 0 to 2, or cat, dog, owl") as caught:
        labels_for_seeds(make_generator(c_dim=3, class_names=["cat", "dog", "owl"]), [0], wrong)
    assert ("did you mean 'dog'?" in str(caught.value)) == (wrong == "dgo")


def test_each_seed_draws_its_own_class_after_its_latent(make_generator):
    generator = make_generator(c_dim=5)
    c = labels_for_seeds(generator, range(20))
    assert len({row.argmax().item() for row in c}) > 1
    assert torch.equal(labels_for_seeds(generator, [7])[0], c[7])
    random = np.random.RandomState(7)
    random.randn(1, generator.z_dim)
    assert c[7].argmax() == random.randint(5)
