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
from ganzoo.data import open_data, open_dataset
from ganzoo.errors import DataError
from ganzoo.evaluation.features import Features
from ganzoo.evaluation.images import (
    Chosen,
    FileImages,
    GeneratedImages,
    Images,
    Source,
    TrainingImages,
    check_comparable,
    check_labels,
    label_vectors,
)
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
    progress: bool = False,
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
    results = evaluation.run(wanted, log=log, progress=progress)
    evaluation.forget_fake()
    return results


_FeatureTables = dict[tuple[str, str], torch.Tensor]  # ("fake" or "real", layer) -> float32 [N, D]


@dataclass(frozen=True)
class _Job:
    """A metric to compute. layer: of the extractor, empty if it needs no features. images: those under test."""

    entry: Entry
    metric: Metric
    layer: str
    images: Images
    settings: dict[str, Any]


@dataclass
class Evaluation:
    """Sets of images, and how to measure them. source: None if ``fake`` are not generated here."""

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

    def __post_init__(self) -> None:
        self._extractor: Extractor | None = None
        self._features: dict[str, list[Features]] = {}

    def run(self, components: Sequence[Component], *, log: Log = print, progress: bool = False) -> list[Result]:
        """Results of every metric. Features of all layers that they need are extracted in one go."""
        jobs = [self._job(component) for component in components]
        for job in jobs:
            self._check(job)
        self._warn(jobs, log)
        features = self._extract(jobs, log, progress)
        return [result for job in jobs for result in self._measure(job, features)]

    @property
    def built_extractor(self) -> Extractor:
        """The extractor, made when it is first needed."""
        if self._extractor is None:
            self._extractor = build_extractor(
                Component(name=self.extractor),
                self.registry,
                weights=self.weights,
                device=self.device,
                allow_download=self.allow_download,
            )
        return self._extractor

    def forget_fake(self) -> None:
        """Delete the features of the images under test, which are rarely wanted twice; those of real images stay."""
        kept = {folder for f in self._features.get("real", []) for folder in f.folders.values()}
        for features in self._features.get("fake", []):
            if not kept & set(features.folders.values()):
                features.forget()

    def _job(self, component: Component) -> _Job:
        entry = self.registry.get("metric", component.name)
        metric = build_metric(
            component, self.registry, num=len(self.fake), device=self.device, allow_download=self.allow_download
        )
        layer = self.built_extractor.layer_for(entry.name) if metric.needs == "features" else ""
        settings = args_model(entry).model_validate(component.args).model_dump()
        images = self.fake
        if self.source is not None and metric.max_samples is not None and metric.max_samples < len(images):
            images = Chosen(images, np.arange(metric.max_samples))
        return _Job(entry, metric, layer, images, settings)

    def _check(self, job: _Job) -> None:
        metric, name = job.metric, job.entry.name
        if metric.needs == "generator" and self.source is None:
            raise DataError(f"{self.fake.name}: {name} needs a generator, and these are images; give a snapshot")
        if metric.compares and self.real is None:
            raise DataError(f"{name} compares with real images; say which with --data PATH")
        sets = [self.fake, self.real] if metric.compares else [self.fake]
        if metric.compares and self.real is not None:
            check_comparable(self.fake, self.real)
        for images in sets:
            if images is not None and len(images) < metric.min_samples:
                raise DataError(
                    f"{images.name}: {len(images):,} images are too few for {name}, which says nothing below "
                    f"{metric.min_samples:,}"
                )

    def _warn(self, jobs: Sequence[_Job], log: Log) -> None:
        sets = [self.fake, self.real] if any(job.metric.compares for job in jobs) else [self.fake]
        for images in sets:
            if images is not None and len(images) < FEW:
                log(
                    f"warning: {images.name}: {len(images):,} images. Below {FEW:,} a number depends more on how many "
                    "there are than on how good they are; compare only with the same number"
                )

    def _extract(self, jobs: Sequence[_Job], log: Log, progress: bool) -> _FeatureTables:
        with_features = [job for job in jobs if job.metric.needs == "features"]
        wanted = {
            "real": (self.real, [job.layer for job in with_features if job.metric.compares]),
            "fake": (self.fake, [job.layer for job in with_features]),
        }
        tables: _FeatureTables = {}
        for which, (images, layers) in wanted.items():
            if images is not None and layers:
                log(f"{self.extractor}: {len(images):,} images of {images.name}")
                features = Features(images, self.built_extractor, self.extractor, layers)
                self._features.setdefault(which, []).append(features)
                features.compute(progress=progress)
                tables |= {(which, layer): table for layer, table in features.load().items()}
        return tables

    def _measure(self, job: _Job, features: _FeatureTables) -> list[Result]:
        metric = job.metric
        fake: Any = features.get(("fake", job.layer))
        if metric.needs != "features":
            fake = job.images if metric.needs == "images" else self.source
        real: Any = None
        if metric.compares:
            real = features[("real", job.layer)] if metric.needs == "features" else self.real
        values = metric.compute(fake, real)
        errors = standard_errors(metric, fake, real)
        return [
            self._result(job, name, float(values[name]), errors.get(name)) for name in metric.results if name in values
        ]

    def _result(self, job: _Job, name: str, value: float, error: float | None) -> Result:
        if not np.isfinite(value):
            raise DataError(
                f"{self.fake.name}: {name} is {value}, so images or features are no honest numbers; are these the "
                "right weights?"
            )
        metric = job.metric
        real = self.real if metric.compares else None
        num_fake, num_real = len(job.images), 0 if real is None else len(real)
        extractor = self.built_extractor if job.layer else None
        settings_for = getattr(metric, "settings_for", None)
        return Result(
            name=name,
            value=value,
            standard_error=error,
            lower_is_better=metric.results[name],
            metric=job.entry.name,
            settings=job.settings | (settings_for(num_fake, num_real) if settings_for else {}),
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
        if self._extractor is not None:
            owner = self.registry.get("extractor", self.extractor).owner
            owners[owner.dist] = owner.version
        for dist in ("torch", "torch-fidelity", "numpy"):
            try:
                owners[dist] = distributions.version(dist)
            except distributions.PackageNotFoundError:
                continue
        return {"ganzoo": ganzoo.__version__, **owners}


def standard_errors(metric: Metric, fake: Any, real: Any) -> dict[str, float | None]:
    """Of each result: in the metric's own way (a method ``standard_errors``) or from five disjoint fifths."""
    own = getattr(metric, "standard_errors", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a fifth may be degenerate where the whole is not
        if own is not None:
            return own(fake, real)
        return errors_over_parts(fake, real, metric.compute, metric.min_samples)


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
        fake = FileImages(open_dataset(str(subject)), resolution=resolution, background=background, num=num)
        if not compares or data is None:
            return None, fake, None
        return None, fake, FileImages(open_dataset(data), resolution=resolution, background=background, num=num_real)
    generator = load_generator(subject, device=device, plugins=plugins)
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
        files = FileImages(open_dataset(data), resolution=resolution, background=background, num=num)
        return files, label_vectors(files.labels, files.class_names, generator.c_dim, data)
    config = generator.recipe.data
    opened = open_data(config, plugins.registry, log=log)
    labels = None
    if generator.c_dim:
        check_labels(opened.info.c_dim, generator.c_dim, opened.info.name)
        labels = opened.labels(np.arange(opened.info.num_images))
    size = resolution or generator.growth.resolution
    if size > config.img_resolution:
        raise DataError(
            f"--resolution {size}: the recipe's data have {config.img_resolution} px; give others with --data"
        )
    return TrainingImages(opened, size, background=background, num=num), labels


def _labels_digest(labels: torch.Tensor) -> str:
    return hashlib.sha256(labels.contiguous().numpy().tobytes()).hexdigest()[:16]
