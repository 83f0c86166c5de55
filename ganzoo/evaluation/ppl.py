"""Perceptual path length (Karras et al. 2019, arXiv:1812.04948), with the LPIPS of torch-fidelity.

torch-fidelity's own loop calls numpy by a name that numpy 2.4 no longer has, and measures images rounded to 8 bits,
whose steps are larger than what a latent step of 1e-4 changes. This one feeds LPIPS the images as they come, as the
paper's code does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganzoo.evaluation.fidelity import LPIPS_WEIGHTS, VGG16_WEIGHTS, read_tensors, sha256, torch_fidelity
from ganzoo.interfaces import Metric

Similarity = Callable[[Tensor, Tensor], Tensor]

_SEED = 2020  # torch-fidelity's
_RESIZE = 64
_BATCH = 16


class PerceptualPathLength(Metric):
    """How far images move, as seen by LPIPS, for a small step of the latent (Karras et al. 2019). No real images.

    Steps go along straight lines in z, images are brought to 64 px, the outermost hundredths are left out; labels are
    drawn from the data.
    """

    needs = "generator"
    compares = False
    results: ClassVar = {"ppl": True}
    min_samples = 100

    def __init__(
        self,
        *,
        num: int = 50_000,
        device: str = "cpu",
        allow_download: bool = False,
        epsilon: Annotated[float, Field(gt=0, description="length of the step, of the whole line")] = 1e-4,
    ) -> None:
        self.num, self.epsilon = num, epsilon
        self._device, self._allow_download = device, allow_download
        self._last: np.ndarray | None = None
        self.weights_hash = ""  # of both files of LPIPS, once they are read

    def compute(self, fake: Any, real: None) -> dict[str, float]:
        self._last = self.distances(fake, lpips(self._device, allow_download=self._allow_download))
        self.weights_hash = "+".join(sha256(file.path) for file in (VGG16_WEIGHTS, LPIPS_WEIGHTS))
        return {"ppl": float(self._last.mean())}

    def standard_errors(self, fake: Any, real: None) -> dict[str, float | None]:
        assert self._last is not None  # the value comes first, and took a generator's work
        return {"ppl": float(self._last.std(ddof=1) / len(self._last) ** 0.5)}

    @torch.no_grad()
    def distances(self, generator: Any, similarity: Similarity) -> np.ndarray:
        """LPIPS / epsilon^2 of ``num`` random steps, without the lowest and the highest hundredth."""
        random = np.random.RandomState(_SEED)
        z0, z1 = (torch.from_numpy(random.randn(self.num, generator.z_dim)).float() for _ in range(2))
        z1 = torch.lerp(z0, z1, self.epsilon)
        c = generator.draw_labels(random, self.num)
        found = []
        for start in range(0, self.num, _BATCH):
            part = slice(start, start + _BATCH)
            both = None if c is None else torch.cat([c[part], c[part]])
            images = generator(torch.cat([z0[part], z1[part]]), both).float()
            before, after = images.add(1).mul(127.5).expand(-1, 3, -1, -1).chunk(2)
            found.append(similarity(before, after).reshape(-1).double().cpu().numpy())
        all_of_them = np.concatenate(found) / self.epsilon**2
        low = np.percentile(all_of_them, 1, method="lower")
        high = np.percentile(all_of_them, 99, method="higher")
        return all_of_them[(low <= all_of_them) & (all_of_them <= high)]


def lpips(device: str, *, allow_download: bool) -> Similarity:
    """torch-fidelity's LPIPS of images [N, 3, R, R] in [0, 255]. Raises CheckpointError if its weights are missing."""
    torch_fidelity()
    from torch_fidelity.sample_similarity_lpips import SampleSimilarityLPIPS

    for file in (VGG16_WEIGHTS, LPIPS_WEIGHTS):
        read_tensors(file.find(allow_download=allow_download))
    network = SampleSimilarityLPIPS("lpips-vgg16", sample_similarity_resize=_RESIZE, sample_similarity_dtype="float32")
    return network.to(device).eval().requires_grad_(False)
