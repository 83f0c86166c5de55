"""Standing statistics of batch norm."""

from __future__ import annotations

import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.generation import standing_statistics


@pytest.mark.parametrize("c_dim", [0, 3])
def test_they_are_plain_means_over_batches(make_generator, c_dim):
    generator = make_generator(c_dim=c_dim)
    inputs = []
    generator.G.norm.register_forward_hook(lambda module, args, out: inputs.append(args[0]))
    standing_statistics(generator, 5, trunc=0.7, batch_size=10)
    assert [len(x) for x in inputs] == [10] * 5
    norm = generator.G.norm
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in inputs]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in inputs]).mean(0))
    assert norm.momentum == 0.1 and not any(module.training for module in generator.G.modules())
    seen = torch.cat(inputs)
    assert len(seen.unique(dim=0)) == 50, "batches are alike"


def test_the_same_in_every_call_and_others_for_other_truncation(make_generator):
    means = []
    for batches, trunc in ((2, 0.5), (2, 0.5), (2, None), (3, 0.5)):
        generator = make_generator()
        standing_statistics(generator, batches, trunc=trunc)
        means.append(generator.G.norm.running_var.clone())
    assert torch.equal(means[0], means[1])
    assert means[2].sum() > 2 * means[0].sum()
    assert not torch.equal(means[0], means[3])
    standing_statistics(generator, 2, trunc=0.5)  # whatever was there before
    assert torch.equal(generator.G.norm.running_var, means[0])


def test_latents_are_truncated(make_generator):
    generator = make_generator()
    seen = []
    generator.G.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    standing_statistics(generator, 2, trunc=0.3)
    assert torch.cat(seen).abs().max() <= 0.3


def test_a_generator_without_batch_norm(make_generator):
    with pytest.raises(GanzooError, match="'small-style' has no batch norm"):
        standing_statistics(make_generator(generator="small-style"), 2)
