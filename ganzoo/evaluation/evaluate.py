"""From a snapshot, a run or a folder of images to results: what ``ganzoo eval`` does."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ganzoo
from ganzoo.build import build_extractor, build_metric
from ganzoo.data import TrainingData, open_all, open_data, open_dataset
from ganzoo.data.packing import Bar, no_bar
from ganzoo.data.subset import spread
from ganzoo.errors import DataError
from ganzoo.evaluation.features import Features, never
from ganzoo.evaluation.images import (
    Chosen,
    FileImages,
    GeneratedImages,
    Images,
    Source,
    TrainingImages,
    TranslatedImages,
    check_comparable,
    check_labels,
    label_vectors,
)
from ganzoo.evaluation.kept import KeptImages
from ganzoo.evaluation.metrics import errors_over_parts
from ganzoo.evaluation.results import Result
from ganzoo.generation import LoadedGenerator, load_generator
from ganzoo.interfaces import Extractor, Metric
from ganzoo.plugins import LoadedPlugins, load_plugins
from ganzoo.recipe import Component
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Entry, Registry
from ganzoo.training.system import choose_device
from ganzoo.weights import read_metadata

DEFAULT_EXTRACTOR = "inception-v3-compat"
FEW = 2048  # images: as many as Inception's features have dimensions; with fewer, FID says little

Log = Callable[[str], None]


def evaluate(
    subject: Path | str,
    data: Path | str | None,
    metrics: Sequence[str],
    *,
    num: int = 50_000,
    num_real: int | None = None,
    extractor: str = DEFAULT_EXTRACTOR,
    weights: Path | str | None = None,
    allow_download: bool = False,
    device: str = "auto",
    resolution: int | None = None,
    background: str = "white",
    seed: int = 0,
    plugins: LoadedPlugins | None = None,
    log: Log = print,
    bar: Bar = no_bar,
) -> list[Result]:
    """Measure ``subject`` (a snapshot, a run folder, or images) against ``data``.

        (fid,) = evaluate("runs/00000-quickstart-faces", None, ["fid"], num=10_000)

    data: real images, None = those that the snapshot was trained on. num: images to generate, or to take at most of a
    folder. num_real: real images to take at most, None = all. resolution, background: see ``ganzoo.evaluation.images``.
    seed: of the first generated image. Raises DataError, CheckpointError or RegistryError for what cannot be measured;
    features that were computed are kept, and the next call goes on from there.
    """
    plugins = plugins or load_plugins()
    wanted = [Component(name=name) for name in dict.fromkeys(metrics)]
    entries = [plugins.registry.get("metric", component.name) for component in wanted]
    target = choose_device(device)
    source, fake, real = open_sets(
        Path(subject),
        None if data is None else str(data),
        plugins,
        compares=any(getattr(entry.cls, "compares", True) for entry in entries),
        num=num,
        num_real=num_real,
        device=target,
        resolution=resolution,
        background=background,
        seed=seed,
        log=log,
    )
    evaluation = Evaluation(
        fake=fake,
        real=real,
        source=source,
        extractor=extractor,
        weights=None if weights is None else str(weights),
        allow_download=allow_download,
        device=str(target),
        background=background,
        seed=None if source is None else seed,
        registry=plugins.registry,
    )
    results = evaluation.run(wanted, log=log, bar=bar)
    evaluation.forget_fake()
    return results


@dataclass(frozen=True)
class Job:
    """A metric to compute. layer: of the extractor, empty if it needs no features. fake, real: what it looks at."""

    entry: Entry
    metric: Metric
    layer: str
    fake: Images
    real: Images | None
    settings: dict[str, Any]


@dataclass
class Evaluation:
    """Sets of images, and how to measure them. source: None if ``fake`` are not made of latents here.

    ``run`` does it all. Where several processes generate, each calls ``plan`` and ``compute`` with its rank; when all
    have, one calls ``measure``.
    """

    fake: Images
    real: Images | None
    source: Source | None
    registry: Registry
    extractor: str = DEFAULT_EXTRACTOR
    weights: str | None = None
    allow_download: bool = False
    device: str = "cpu"
    background: str = "white"
    seed: int | None = None
    built_extractor: Extractor | None = None  # made when it is first needed

    def __post_init__(self) -> None:
        self._features: dict[str, Features] = {}
        self._tables: dict[tuple[str, str], torch.Tensor] = {}  # ("fake" or "real", layer) -> float32 [N, D]
        self._kept: KeptImages | None = None

    def run(self, components: Sequence[Component], *, log: Log = print, bar: Bar = no_bar) -> list[Result]:
        """Results of every metric. Features of all layers that they need are extracted in one go."""
        jobs = [self.plan(component) for component in components]
        self.warn(jobs, log)
        self.compute(jobs, log=log, bar=bar)
        return [result for job in jobs for result in self.measure(job)]

    def plan(self, component: Component) -> Job:
        """Build a metric. Raises DataError if it cannot measure these images, before any of them is made."""
        entry = self.registry.get("metric", component.name)
        metric = build_metric(
            component, self.registry, num=len(self.fake), device=self.device, allow_download=self.allow_download
        )
        layer = self._extractor().layer_for(entry.name) if metric.needs == "features" else ""
        settings = args_model(entry).model_validate(component.args).model_dump()
        fake, real = self.fake, self.real if metric.compares else None
        if metric.max_samples is not None:  # a generator's first images are as good as any, and cheaper to come by
            fake = _thinned(fake, metric.max_samples, evenly=self.source is None)
            real = None if real is None else _thinned(real, metric.max_samples, evenly=True)
        job = Job(entry, metric, layer, fake, real, settings)
        self._check(job)
        return job

    def warn(self, jobs: Sequence[Job], log: Log) -> None:
        """Say so if there are few images."""
        for images in [self.fake, *([self.real] if any(job.metric.compares for job in jobs) else [])]:
            if images is not None and len(images) < FEW:
                log(
                    f"warning: {images.name}: {len(images):,} images. Below {FEW:,} a number depends more on how many "
                    "there are than on how good they are; compare only with the same number"
                )

    def compute(
        self,
        jobs: Sequence[Job],
        *,
        log: Log = print,
        bar: Bar = no_bar,
        rank: int = 0,
        world_size: int = 1,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Generate images and extract features, or this process's share of them.

        Everything is kept on disk as it comes. False: ``stop()`` put an end to it; the next call goes on from there.
        """
        with_features = [job for job in jobs if job.metric.needs == "features"]
        layers = {
            "real": [job.layer for job in with_features if job.metric.compares],
            "fake": [job.layer for job in with_features],
        }
        self._keep_images(jobs)
        fake = self._kept or self.fake
        for which, images in (("real", self.real), ("fake", fake)):
            if images is not None and layers[which]:
                log(f"{self.extractor}: {len(images):,} images of {images.name}")
                features = Features(images, self._extractor(), self.extractor, layers[which])
                self._features[which] = features
                if not features.compute(rank=rank, world_size=world_size, bar=bar, stop=stop):
                    return False
        if self._kept is not None:
            num = self._num_looked_at(jobs)
            return self._kept.compute(num, rank=rank, world_size=world_size, bar=bar, stop=stop)
        return True

    def measure(self, job: Job) -> list[Result]:
        """The numbers of one metric, from what ``compute`` left. What another process left out is made here."""
        metric = job.metric
        fake: Any = self.source if metric.needs == "generator" else self._looked_at(job)
        real: Any = job.real
        if metric.needs == "features":
            fake = self._table("fake", job.layer)
            real = self._table("real", job.layer) if metric.compares else None
        values = metric.compute(fake, real)
        errors = standard_errors(metric, fake, real)
        return [
            self._result(job, name, float(values[name]), errors.get(name)) for name in metric.results if name in values
        ]

    def forget_fake(self) -> None:
        """Delete what was made of the images under test, which is rarely wanted twice; real images' features stay."""
        kept = set(self._features["real"].folders.values()) if "real" in self._features else set()
        if "fake" in self._features and not kept & set(self._features["fake"].folders.values()):
            self._features["fake"].forget()
        if self._kept is not None:
            self._kept.forget()

    def _extractor(self) -> Extractor:
        if self.built_extractor is None:
            self.built_extractor = build_extractor(
                Component(name=self.extractor),
                self.registry,
                weights=self.weights,
                device=self.device,
                allow_download=self.allow_download,
            )
        return self.built_extractor

    def _check(self, job: Job) -> None:
        metric, name = job.metric, job.entry.name
        if metric.needs == "generator" and self.source is None:
            raise DataError(f"{self.fake.name}: {name} needs a generator, and these are images; give a snapshot")
        if metric.compares and self.real is None:
            raise DataError(f"{name} compares with real images; say which with --data PATH")
        if job.real is not None:
            check_comparable(self.fake, job.real)
        for images in (job.fake, job.real):
            if images is not None and len(images) < metric.min_samples:
                raise DataError(
                    f"{images.name}: {len(images):,} images are too few for {name}, which says nothing below "
                    f"{metric.min_samples:,}"
                )

    def _keep_images(self, jobs: Sequence[Job]) -> None:
        """Where a metric looks at generated images, which it does more than once, keep them on disk if they fit."""
        made_here = self.source is not None or isinstance(self.fake, TranslatedImages)
        if made_here and self._num_looked_at(jobs) and KeptImages.fits(self.fake):
            self._kept = KeptImages(self.fake)

    def _num_looked_at(self, jobs: Sequence[Job]) -> int:
        return max((len(job.fake) for job in jobs if job.metric.needs == "images"), default=0)

    def _looked_at(self, job: Job) -> Images:
        return job.fake if self._kept is None else _thinned(self._kept, len(job.fake), evenly=False)

    def _table(self, which: str, layer: str) -> torch.Tensor:
        if (which, layer) not in self._tables:
            self._tables |= {(which, name): table for name, table in self._features[which].load().items()}
        return self._tables[which, layer]

    def _result(self, job: Job, name: str, value: float, error: float | None) -> Result:
        if not np.isfinite(value):
            raise DataError(
                f"{self.fake.name}: {name} is {value}, so images or features are no honest numbers; are these the "
                "right weights?"
            )
        metric, real = job.metric, job.real
        num_fake, num_real = len(job.fake), 0 if real is None else len(real)
        extractor = self._extractor() if job.layer else None
        return Result(
            name=name,
            value=value,
            standard_error=error,
            lower_is_better=metric.results[name],
            metric=job.entry.name,
            settings=job.settings | metric.settings_for(num_fake, num_real),
            extractor=self.extractor if extractor else "",
            weights_hash=extractor.weights_hash if extractor else getattr(metric, "weights_hash", ""),
            layer=job.layer,
            extractor_resize=extractor.resize if extractor else "",
            num_fake=num_fake,
            num_real=num_real,
            resolution=self.fake.resolution,
            channels=self.fake.channels,
            resize=self.fake.resize if real is None else f"{self.fake.resize}; {real.resize}",
            background=self.background,
            data="" if real is None else real.name,
            data_fingerprint="" if real is None else real.fingerprint,
            subject=self.fake.name,
            subject_hash=self.fake.fingerprint if self.source is None else self.source.fingerprint,
            seed=self.seed,
            versions=self._versions(job.entry),
        )

    def _versions(self, entry: Entry) -> dict[str, str]:
        owners = {entry.owner.dist: entry.owner.version}
        if self.built_extractor is not None:
            owner = self.registry.get("extractor", self.extractor).owner
            owners[owner.dist] = owner.version
        for dist in ("torch", "torch-fidelity", "numpy"):
            try:
                owners[dist] = distributions.version(dist)
            except distributions.PackageNotFoundError:
                continue
        return {"ganzoo": ganzoo.__version__, **owners}


def standard_errors(metric: Metric, fake: Any, real: Any) -> dict[str, float | None]:
    """Of each result: in the metric's own way, or from five disjoint fifths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a fifth may be degenerate where the whole is not
        own = metric.standard_errors(fake, real)
        return errors_over_parts(fake, real, metric.compute, metric.min_samples) if own is None else own


def _thinned(images: Images, num: int, *, evenly: bool) -> Images:
    """``num`` of the images at most: spread evenly, or the first."""
    if num >= len(images):
        return images
    return Chosen(images, spread(len(images), num) if evenly else np.arange(num))


def open_sets(
    subject: Path,
    data: str | None,
    plugins: LoadedPlugins,
    *,
    compares: bool,
    num: int,
    num_real: int | None,
    device: torch.device,
    resolution: int | None,
    background: str,
    seed: int,
    log: Log,
) -> tuple[Source | None, Images, Images | None]:
    """(generator or None, images under test, real images or None)."""
    if not is_generator(subject):
        fake = FileImages(open_dataset(str(subject), log), resolution=resolution, background=background, num=num)
        if not compares or data is None:
            return None, fake, None
        return (
            None,
            fake,
            FileImages(open_dataset(data, log), resolution=resolution, background=background, num=num_real),
        )
    generator = load_generator(subject, device=device, plugins=plugins)
    generator.check_latents()
    real: Images | None = None
    labels = None
    if compares or generator.c_dim:
        real, labels = _real_images(generator, data, plugins, num_real, resolution, background, log)
    source = source_of(generator, labels)
    generated = GeneratedImages(source, num, seed=seed, resolution=resolution, background=background)
    return source, generated, real if compares else None


def is_generator(subject: Path) -> bool:
    """Whether ``subject`` is a snapshot or a run folder, rather than images."""
    if subject.is_dir():
        return (
            (subject / "snapshots").is_dir()
            or (subject / "recipe.yaml").is_file()
            or any(subject.glob("snapshot-*.safetensors"))
        )
    return subject.suffix == ".safetensors"


def source_of(generator: LoadedGenerator, labels: torch.Tensor | None) -> Source:
    """A snapshot's generator, ready to be measured. labels: [M, c_dim] of the data, or None."""
    digest = read_metadata(generator.path)["sha256"]
    return Source(
        name=str(generator.path),
        generate=generator,
        z_dim=generator.z_dim,
        c_dim=generator.c_dim,
        resolution=generator.growth.resolution,
        channels=generator.img_channels,
        fingerprint=digest if labels is None else f"{digest} {_labels_digest(labels)}",
        labels=labels,
    )


def _real_images(
    generator: LoadedGenerator,
    data: str | None,
    plugins: LoadedPlugins,
    num: int | None,
    resolution: int | None,
    background: str,
    log: Log,
) -> tuple[Images, torch.Tensor | None]:
    """Real images for a generator, and the labels to feed it with."""
    if data is not None:
        files = FileImages(open_dataset(data, log), resolution=resolution, background=background, num=num)
        return files, label_vectors(files.labels, files.class_names, generator.c_dim, data)
    config = generator.recipe.data
    opened = open_data(config, plugins.registry, log=log)
    if generator.c_dim:
        check_labels(opened.info.c_dim, generator.c_dim, opened.info.name)
    size = resolution or generator.growth.resolution
    if size > config.img_resolution:
        raise DataError(
            f"--resolution {size}: the recipe's data have {config.img_resolution} px; give others with --data"
        )
    like_in_training = generator.recipe.eval is not None and generator.recipe.eval.all_images
    real = open_all(config, opened, plugins.registry, log=log) if like_in_training else opened
    return TrainingImages(real, size, background=background, num=num), source_labels(opened)


def source_labels(data: TrainingData) -> torch.Tensor | None:
    """All labels of ``data``, for a generator to be fed with; None if the run takes none."""
    return data.labels(np.arange(data.info.num_images))


def _labels_digest(labels: torch.Tensor) -> str:
    return hashlib.sha256(labels.contiguous().numpy().tobytes()).hexdigest()[:16]
