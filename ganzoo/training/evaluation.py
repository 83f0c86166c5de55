"""Metrics while training, as the recipe's ``eval`` section asks for them. Nothing that fails here ends a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from ganzoo.data import TrainingData, open_all
from ganzoo.data.packing import Bar
from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluate import Evaluation, source_labels
from ganzoo.evaluation.images import GeneratedImages, Images, Source, TrainingImages, TranslatedImages
from ganzoo.evaluation.results import Result
from ganzoo.interfaces import Degradation, Extractor, Generator, GrowthState, Metric, Translator
from ganzoo.recipe import EvalConfig, Recipe
from ganzoo.registry import Registry
from ganzoo.training import distributed, rng
from ganzoo.training.distributed import Processes
from ganzoo.training.reals import inputs_at
from ganzoo.training.system import System
from ganzoo.weights import content_digest

Log = Callable[[str], None]


class TrainingMetrics:
    """Measures G_ema as ``ganzoo eval`` would measure its snapshot: fp32, seeds from 0, all images at final size.

    Images of an earlier stage of growth are enlarged, so that one curve shows the whole of training. A translator,
    which ``ganzoo eval`` does not measure, is given images that are spread evenly over those of the run.
    """

    def __init__(
        self,
        config: EvalConfig,
        recipe: Recipe,
        data: TrainingData,
        registry: Registry,
        *,
        system: System,
        processes: Processes,
        log: Log,
        degradation: Degradation | None = None,
    ) -> None:
        """log: for what fails, which is said once, and for warnings. degradation: of ``RealImages``."""
        self._data, self._degradation = data, degradation
        self._config, self._registry, self._system, self._processes = config, registry, system, processes
        self._background = recipe.data.background
        self._log, self._said = log, set[str]()
        self._resolution = data.info.img_resolution
        real = open_all(recipe.data, data, registry, log=log) if config.all_images else data
        self._real = TrainingImages(real, self._resolution, background=self._background, num=config.num_real)
        self._labels = source_labels(data)
        self._extractor: Extractor | None = None
        first: type[Metric] = registry.get("metric", config.metrics[0].name).cls
        self.best = config.best or next(iter(first.results))  # the number by which the best snapshot is kept

    def rehearse(self, G_ema: Generator, growth: GrowthState) -> None:
        """Before training: report what cannot be measured, so that nobody hears of a missing file hours later."""
        with rng.preserved():
            self._plan(self._evaluation(G_ema, growth, "rehearsal", "none"))

    def measure(
        self, G_ema: Generator, growth: GrowthState, *, name: str, bar: Bar, stop: Callable[[], bool]
    ) -> list[Result] | None:
        """Results, on rank 0; every process must call it, and generates its share. None: a signal interrupted.

        What was computed until then is kept, and the same call goes on from there. Changes no random generator.
        """
        with rng.preserved(), _full_fp32():
            evaluation = self._evaluation(G_ema, growth, name, self._digest(G_ema))
            jobs = self._plan(evaluation)
            rank, world_size = self._processes.rank, self._processes.world_size
            with self._reported("the evaluation"):
                evaluation.compute(jobs, log=_silent, bar=bar, rank=rank, world_size=world_size, stop=stop)
            if distributed.any_process(stop(), self._system.device):  # every share is there, too
                return None
            results: list[Result] = []
            if self._processes.is_main:
                evaluation.warn(jobs, self._once)
                for job in jobs:
                    with self._reported(job.entry.name):
                        results += evaluation.measure(job)
                evaluation.forget_fake()
            return results

    def _evaluation(self, G_ema: Generator, growth: GrowthState, name: str, digest: str) -> Evaluation:
        device = self._system.device

        def generate(z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
            return G_ema(z.to(device), None if c is None else c.to(device), growth=growth)

        source = Source(
            name=name,
            generate=generate,
            z_dim=G_ema.z_dim,
            c_dim=G_ema.c_dim,
            resolution=growth.resolution,
            channels=G_ema.img_channels,
            fingerprint=f"{digest} {growth.resolution} {growth.alpha}",
            labels=self._labels,
        )
        translates = isinstance(G_ema, Translator)
        fake: Images
        if translates:
            fake = self._translated(source)
        else:
            fake = GeneratedImages(source, self._config.num, resolution=self._resolution, background=self._background)
        return Evaluation(
            fake=fake,
            real=self._real,
            source=None if translates else source,
            registry=self._registry,
            extractor=self._config.extractor,
            weights=self._config.weights,
            device=str(device),
            background=self._background,
            seed=None if translates else 0,
            built_extractor=self._extractor,
        )

    def _translated(self, source: Source) -> TranslatedImages:
        data = self._data
        total = (data.inputs or data).info.num_images
        if self._labels is not None and not data.paired:  # some label for each input, spread evenly like them
            source = replace(source, labels=self._labels[np.arange(total) * len(self._labels) // total])

        def inputs(indices: np.ndarray, seed: int) -> torch.Tensor:
            return inputs_at(data, self._degradation, indices, source.resolution, seed=seed, device=self._system.device)

        return TranslatedImages(
            source,
            self._config.num,
            inputs=inputs,
            total=total,
            data_fingerprint=data.info.fingerprint,
            resolution=self._resolution,
            background=self._background,
        )

    def _plan(self, evaluation: Evaluation) -> list[Any]:
        jobs = []
        for component in self._config.metrics:
            with self._reported(component.name):
                jobs.append(evaluation.plan(component))
        self._extractor = evaluation.built_extractor
        return jobs

    def _digest(self, G_ema: Generator) -> str:
        """Rank 0's, so that all processes find each other's work."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in G_ema.state_dict().items()}
        digest = torch.frombuffer(bytearray(content_digest(tensors, {}).encode()), dtype=torch.uint8)
        return distributed.gather_bytes(digest, self._system.device)[0].numpy().tobytes().decode()

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """Whatever goes wrong inside is said, once, and training goes on."""
        try:
            yield
        except Exception as error:  # of torch, torch-fidelity or a plugin: anything
            reason = str(error) if isinstance(error, GanzooError) else f"{type(error).__name__}: {error}"
            self._once(f"warning: {what} cannot be measured, and training goes on without: {reason}")

    def _once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._log(message)


def record_of(results: list[Result], *, nimg: int, growth: GrowthState, seconds: float) -> dict[str, Any]:
    """What goes into metrics.jsonl: the values by name, and all about each."""
    return {
        "nimg": nimg,
        "resolution": growth.resolution,
        "alpha": growth.alpha,
        "seconds": seconds,
        "values": {result.name: result.value for result in results},
        "results": [asdict(result) for result in results],
    }


def _silent(message: str) -> None:
    pass


@contextmanager
def _full_fp32() -> Iterator[None]:
    """Without TF32, as outside of training, so that numbers compare."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
