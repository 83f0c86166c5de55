"""FID, KID, Inception Score, precision and recall: torch-fidelity's own functions and defaults, behind the contract.

Each also knows the standard error of its value, from five disjoint fifths of the images: the value of a fifth varies
with five times the variance of the whole's. Where five more values would be slow, a quicker way to them is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganzoo.evaluation.fidelity import torch_fidelity
from ganzoo.interfaces import Metric

NUM_PARTS = 5
_MEMORY_LIMIT = 10_000  # images; above, torch-fidelity's distances between all pairs take gigabytes


class FrechetInceptionDistance(Metric):
    """Fréchet distance of Gaussians fitted to features (Heusel et al. 2017, arXiv:1706.08500). Biased by few images."""

    results: ClassVar = {"fid": True}
    min_samples = 100

    def compute(self, fake: Tensor, real: Any) -> dict[str, float]:
        torch_fidelity()
        from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

        statistics = fid_features_to_statistics(fake), fid_features_to_statistics(real)
        return {"fid": fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]}

    def standard_errors(self, fake: Tensor, real: Any) -> dict[str, float | None]:
        """By singular values: quicker than torch-fidelity's eigenvalues, and as exact as an error needs to be."""
        return errors_over_parts(fake, real, lambda f, r: {"fid": frechet_distance(f, r)})


class KernelInceptionDistance(Metric):
    """Squared maximum mean discrepancy of features, polynomial kernel (Binkowski et al. 2018, arXiv:1801.01401).

    Unbiased, so it may come out slightly negative.
    """

    results: ClassVar = {"kid": True}
    min_samples = 10

    def __init__(
        self,
        *,
        subsets: Annotated[int, Field(ge=1, description="how many random subsets are averaged over")] = 100,
        subset_size: Annotated[int, Field(ge=2, description="images in each; fewer where there are fewer")] = 1000,
    ) -> None:
        self.subsets, self.subset_size = subsets, subset_size

    def compute(self, fake: Tensor, real: Any) -> dict[str, float]:
        return self._compute(fake, real, self.subsets)

    def standard_errors(self, fake: Tensor, real: Any) -> dict[str, float | None]:
        subsets = -(-self.subsets // NUM_PARTS)
        return errors_over_parts(fake, real, lambda f, r: self._compute(f, r, subsets))

    def settings_for(self, num_fake: int, num_real: int) -> dict[str, Any]:
        return {"subset_size": min(self.subset_size, num_fake, num_real)}

    def _compute(self, fake: Tensor, real: Tensor, subsets: int) -> dict[str, float]:
        torch_fidelity()
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        size = self.settings_for(len(fake), len(real))["subset_size"]
        values = kid_features_to_metric(fake, real, kid_subsets=subsets, kid_subset_size=size, verbose=False)
        return {"kid": values[KEY_METRIC_KID_MEAN]}


class InceptionScore(Metric):
    """How sure and how varied a classifier's guesses are (Salimans et al. 2016, arXiv:1606.03498). No real images."""

    results: ClassVar = {"isc": False}
    compares = False
    min_samples = 10

    def __init__(self, *, splits: Annotated[int, Field(ge=1, description="the score is their mean")] = 10) -> None:
        self.splits = splits

    def compute(self, fake: Tensor, real: None) -> dict[str, float]:
        torch_fidelity()
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

        return {"isc": isc_features_to_metric(fake, splits=self.splits)[KEY_METRIC_ISC_MEAN]}


class PrecisionRecall(Metric):
    """Share of generated images near real ones, and of real ones near generated ones (Kynkäänniemi et al. 2019).

    arXiv:1904.06991. Near: within the distance of an image of the other set to its k-th neighbour there.
    """

    results: ClassVar = {"precision": False, "recall": False, "f_score": False}
    min_samples = 10

    def __init__(self, *, neighborhood: Annotated[int, Field(ge=1, description="k")] = 3) -> None:
        self.neighborhood = neighborhood

    def compute(self, fake: Tensor, real: Any) -> dict[str, float]:
        torch_fidelity()
        from torch_fidelity.metric_prc import prc_features_to_metric

        # The frugal variant computes the same distances in the same batches, without ever holding all of them.
        frugal = max(len(fake), len(real)) > _MEMORY_LIMIT
        values = prc_features_to_metric(
            fake, real, prc_neighborhood=self.neighborhood, save_cpu_ram=frugal, verbose=False
        )
        return {name: values[name] for name in self.results}


Values = Callable[[Any, Any], dict[str, float]]


def errors_over_parts(fake: Any, real: Any, compute: Values, minimum: int = 2) -> dict[str, float | None]:
    """Standard errors of what ``compute`` gives, from disjoint fifths of both sets; empty if those are too small.

    Sets are tensors [N, ...] or ImageSets; real may be None.
    """
    fakes, reals = _parts(fake), [None] * NUM_PARTS if real is None else _parts(real)
    if min(len(part) for part in [*fakes, *(r for r in reals if r is not None)]) < minimum:
        return {}
    values = [compute(f, r) for f, r in zip(fakes, reals, strict=True)]
    return {name: standard_error([value[name] for value in values]) for name in values[0]}


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean of ``values``; None if one of them is no number."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return error if np.isfinite(error) else None


def frechet_distance(fake: Tensor, real: Tensor) -> float:
    """Between Gaussians fitted to features [N, D].

    With covariances S = A^T A the trace of sqrt(S1 S2) is the sum of the singular values of A1 A2^T, which is small
    where there are few images, and needs no square root of a matrix.
    """
    f, r = _covariance_factor(fake.double()), _covariance_factor(real.double())
    mean = (fake.double().mean(0) - real.double().mean(0)).square().sum()
    return float(mean + f.square().sum() + r.square().sum() - 2 * torch.linalg.svdvals(f @ r.T).sum())


def _covariance_factor(features: Tensor) -> Tensor:
    """[N, D] -> A [min(N, D), D] with A^T A = the covariance matrix."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred


def _parts(images: Any) -> list[Any]:
    """Disjoint fifths, at random; of a generator in a row, because it works in blocks."""
    order = np.random.RandomState(0).permutation(len(images))
    if getattr(images, "shuffled", False):
        order = np.arange(len(images))
    if isinstance(images, Tensor):
        return [images[np.sort(part)] for part in np.array_split(order, NUM_PARTS)]
    from ganzoo.evaluation.images import Chosen

    return [Chosen(images, np.sort(part)) for part in np.array_split(order, NUM_PARTS)]
