"""Signs of collapse, measured with every image grid: do the images grow alike, and can D tell them from real ones?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ganzoo.data import TrainingData
from ganzoo.data.fit import mip_levels
from ganzoo.data.images import uint8_to_float
from ganzoo.data.subset import spread
from ganzoo.interfaces import Discriminator, Generator, GrowthSchedule, GrowthState, Translator
from ganzoo.training.grids import GridMaker, generate
from ganzoo.training.system import System

SIGNS = ("diversity", "d_advantage")
_MOST = 64  # images of a group to compare
_LARGEST = 32  # pixels: what makes images differ is seen at this size
_SHOWN_TO_D = 32  # images of either kind, about
_ALIKE, _DIFFERENT, _HAS_BEEN = 0.15, 0.25, 0.3
_LEARNED_AFTER = 0.2  # share of the run after which images should no longer be alike, even if they always were


def mean_distance(images: np.ndarray) -> float:
    """Mean Euclidean distance of all pairs of images uint8 [n, C, R, R], n > 1, per value: 0 where all are the same."""
    flat = images[:_MOST].reshape(min(len(images), _MOST), -1).astype(np.float64)
    squares = (flat**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / flat.shape[1])
    return float(distances[np.triu_indices(len(flat), 1)].mean())


def diversity(fakes: np.ndarray, reals: np.ndarray, groups: list[list[int]]) -> float | None:
    """How different images uint8 [n, C, R, R] are from each other, as a multiple of how different real ones are.

    groups: which are to be compared, such as those of a class. None if no group has two images, or real ones are alike.
    """
    pairs = [(mean_distance(fakes[g]), mean_distance(reals[g])) for g in groups if len(g) > 1]
    of_reals = sum(real for _, real in pairs)
    return sum(fake for fake, _ in pairs) / of_reals if of_reals else None


def advantage(real_scores: Tensor, fake_scores: Tensor) -> float:
    """Of a random real and a random generated image: how much more often D scores the real one higher than lower.

    1: D can tell every time; 0: it guesses; negative: it takes generated images for real. Scores are [n] and [m].
    """
    return torch.sign(real_scores[:, None] - fake_scores).mean().item()


class CollapseWatch:
    """Measures both, on rank 0, without drawing random numbers or changing a network."""

    def __init__(
        self,
        data: TrainingData,
        G: Generator,
        D: Discriminator,
        schedule: GrowthSchedule,
        grids: GridMaker,
        *,
        seed: int,
        system: System,
        parts: Callable[[], int],
        log: Callable[[str], None],
    ) -> None:
        """parts: in how many a batch is cut at present (processes, micro-batches): D may need those batches."""
        self._data, self._G, self._D, self._schedule, self._grids = data, G, D, schedule, grids
        self._seed, self._system, self._parts, self._log = seed, system, parts, log
        self._asks_D = not isinstance(G, Translator)

    def measure(self, fakes: np.ndarray, growth: GrowthState) -> dict[str, float]:
        """fakes: of the grid, uint8 [cells, C, R, R]. No advantage for translators: their D may see more."""
        found: dict[str, float] = {}
        size = min(growth.resolution, _LARGEST)
        reals, groups = self._grids.reals_by_group(size)
        value = diversity(mip_levels(fakes)[size], reals, groups)
        if value is not None:
            found["diversity"] = value
        if self._asks_D:
            try:
                found["d_advantage"] = self._advantage(growth)
            except Exception as error:  # of a plugin's D that wants to be called otherwise: no reason to end a run
                self._asks_D = False
                self._log(f"warning: D's advantage is not watched: {type(error).__name__}: {error}")
        return found

    @torch.no_grad()
    def _advantage(self, growth: GrowthState) -> float:
        n = growth.batch_size // self._parts()
        total = n * max(1, _SHOWN_TO_D // n)
        indices = spread(self._data.info.num_images, total)
        indices = np.resize(indices, total)
        device, D = self._system.device, self._D
        c = self._data.labels(indices.tolist())
        c = None if c is None else c.to(device)
        z = torch.randn(total, self._G.z_dim, generator=torch.Generator().manual_seed(self._seed)).to(device)
        reals = torch.from_numpy(self._data.read(indices, growth.resolution))
        modes = self._G.training, D.training
        scores = []
        try:
            D.eval()
            with torch.random.fork_rng([device] if device.type == "cuda" else []), self._system.autocast():
                for images in (reals, generate(self._G, z, c, growth, batch_size=n)):
                    img = uint8_to_float(images.to(device))
                    if images is reals:
                        img = self._schedule.process_reals(img, growth)
                    labels = [None] * (total // n) if c is None else c.split(n)
                    logits = torch.cat([D(x, y, growth=growth) for x, y in zip(img.split(n), labels, strict=True)])
                    scores.append(logits.float()[:, 0].flatten(1).mean(1) if logits.ndim == 4 else logits.float()[:, 0])
        finally:
            self._G.train(modes[0])
            D.train(modes[1])
        return advantage(*scores)


def episode(found: dict[str, float], past: dict[str, float], *, share: float) -> str | None:
    """What to warn of, once an episode, or None. past: kept in the state of training, and updated here.

    share: of training done. Alike are images that differ a seventh as much as real ones, after they had differed a
    third as much, or late in training; the episode ends when they differ a quarter as much.
    """
    value = found.get("diversity")
    if value is None:
        return None
    past["best"] = max(past.get("best", 0.0), value)
    if value >= _DIFFERENT:
        past["alike"] = 0.0
    elif value < _ALIKE and not past.get("alike") and (past["best"] >= _HAS_BEEN or share > _LEARNED_AFTER):
        past["alike"] = 1.0
        return (
            f"warning: the generated images are much alike (diversity {value:.2f}, where real images have 1): "
            f"G may have collapsed. {_likely_cause(found.get('d_advantage'))}"
        )
    return None


def _likely_cause(d_advantage: float | None) -> str:
    if d_advantage is None:
        return "Likely causes: learning rates that are too high, or a loss term that outweighs D's opinion."
    if d_advantage > 0.9:
        return (
            f"D tells real images nearly every time (advantage {d_advantage:.2f}), so G learns little from it. Likely "
            "causes: too few images (try an augmentation such as ada), a D without a regularizer (try r1), or too high "
            "a learning rate of D."
        )
    if d_advantage < 0.1:
        return (
            f"D cannot tell (advantage {d_advantage:.2f}), so G gets away with it. Likely causes: a D that is too "
            "small or too strongly regularized, a D without minibatch statistics, or too high a learning rate of G."
        )
    return (
        f"D can still tell (advantage {d_advantage:.2f}). Likely causes: learning rates that are too high, batches "
        "that are too small, or a D without minibatch statistics."
    )
