"""Values against closed forms, independent implementations, and torch-fidelity; the contract of each metric."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganzoo.evaluation import metrics
from ganzoo.evaluation.metrics import errors_over_parts, frechet_distance, standard_error
from ganzoo.evaluation.ppl import PerceptualPathLength
from ganzoo.evaluation.small import SmallExtractor
from ganzoo.testing import check_extractor, check_metric

pytestmark = pytest.mark.usefixtures("needs_torch_fidelity")


def gaussians(n, dims=6, *, mean=0.0, scale=1.0, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).randn(n, dims) * scale + mean).float()


@pytest.mark.parametrize(
    "cls",
    [
        metrics.FrechetInceptionDistance,
        metrics.KernelInceptionDistance,
        metrics.InceptionScore,
        metrics.PrecisionRecall,
    ],
)
def test_contract(cls):
    check_metric(cls)


def test_contract_of_the_small_extractor():
    check_extractor(SmallExtractor)


def test_fid_of_gaussians_is_the_closed_form():
    fake, real = gaussians(20_000, mean=0.5, scale=2.0), gaussians(20_000, seed=1)
    expected = 6 * 0.5**2 + 6 * (2.0 - 1.0) ** 2
    assert metrics.FrechetInceptionDistance().compute(fake, real)["fid"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("num", [4, 300])
def test_the_quick_frechet_distance_is_torch_fidelitys(num):
    fake, real = gaussians(num, mean=0.3), gaussians(250, scale=1.5, seed=1)
    expected = metrics.FrechetInceptionDistance().compute(fake, real)["fid"]
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-4)


def test_kid_takes_smaller_subsets_where_there_are_fewer_images():
    fake, real = gaussians(40, mean=1.0), gaussians(60, seed=1)
    metric = metrics.KernelInceptionDistance(subsets=3)
    assert metric.settings_for(40, 60) == {"subset_size": 40}
    # subsets of all 40 fakes, so only the choice of the 60 real ones varies: the plain estimator over all is near
    k = lambda a, b: (a @ b.T / 6 + 1) ** 3  # noqa: E731
    x, y = fake.double().numpy(), real.double().numpy()
    xx, yy, xy = k(x, x), k(y, y), k(x, y)
    plain = (xx.sum() - np.trace(xx)) / (40 * 39) + (yy.sum() - np.trace(yy)) / (60 * 59) - 2 * xy.mean()
    assert metric.compute(fake, real)["kid"] == pytest.approx(plain, rel=0.2)


def test_inception_score_of_sure_and_even_guesses_is_the_number_of_classes():
    logits = torch.eye(10).repeat(100, 1) * 100
    assert metrics.InceptionScore(splits=1).compute(logits, None)["isc"] == pytest.approx(10, rel=1e-6)
    assert metrics.InceptionScore(splits=1).compute(torch.zeros(50, 10), None)["isc"] == pytest.approx(1, rel=1e-6)


def test_precision_and_recall_are_not_swapped():
    """A collapsed generator is precise and recalls little; one that also makes nonsense the other way round."""
    real = gaussians(400)
    collapsed = gaussians(400, scale=0.2, seed=1)
    found = metrics.PrecisionRecall().compute(collapsed, real)
    assert found["precision"] > 0.95
    assert found["recall"] < 0.3
    spread = gaussians(400, scale=4.0, seed=1)
    found = metrics.PrecisionRecall().compute(spread, real)
    assert found["precision"] < 0.3
    assert found["recall"] > 0.9


def test_the_standard_error_is_the_spread_between_samples():
    """The mean of a set is a metric whose standard error is known: sigma / sqrt(n)."""
    values = []
    for seed in range(20):
        errors = errors_over_parts(
            gaussians(500, 1, scale=3.0, seed=seed), None, lambda f, r: {"mean": float(f.mean())}
        )
        values.append(errors["mean"])
    assert np.mean(values) == pytest.approx(3 / 500**0.5, rel=0.2)


def test_no_standard_error_without_enough_images_or_honest_numbers():
    assert errors_over_parts(gaussians(20), None, lambda f, r: {"x": 1.0}, minimum=10) == {}
    assert standard_error([1.0, float("nan"), 2.0]) is None


def test_ppl_of_a_linear_generator_is_the_closed_form(make_source):
    """Images move by epsilon times W (z1 - z0): with squared distance as similarity, its mean is known."""
    weights = torch.randn(4, 192, generator=torch.Generator().manual_seed(0)) / 10
    source = make_source(generate=lambda z, c: (z @ weights).reshape(-1, 3, 8, 8))

    def squared(a, b):
        assert a.shape[1:] == (3, 8, 8)
        return (a - b).div(127.5).square().sum((1, 2, 3))

    metric = PerceptualPathLength(num=4000, epsilon=0.01)
    distances = metric.distances(source, squared)
    assert len(distances) == pytest.approx(3920, abs=2)
    assert distances.mean() == pytest.approx(2 * float(weights.square().sum()), rel=0.05)


def test_ppl_draws_labels_from_the_data(make_source):
    seen = []

    def generate(z, c):
        seen.append(c)
        return torch.zeros(len(z), 1, 8, 8)

    source = make_source(generate=generate, channels=1, labels=torch.eye(3)[[1, 1, 1]])
    PerceptualPathLength(num=100).distances(source, lambda a, b: torch.ones(len(a)))
    assert torch.cat(seen).argmax(1).unique().tolist() == [1]
    first = seen[0]
    assert torch.equal(*first.chunk(2))


def test_ppl_without_its_weights_says_where_they_go(make_source, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    from ganzoo.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"vgg16-397923af\.pth: no such file.*--allow-download.*528 MiB"):
        PerceptualPathLength(num=100).compute(make_source(), None)
