"""From a recipe's ``data:`` to images ready for training."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from ganzoo.data.cache import cache_root, check_space, format_bytes
from ganzoo.data.domains import two_domains
from ganzoo.data.fit import Fit
from ganzoo.data.labels import label_size
from ganzoo.data.pack import Pack, is_pack, remove_leftovers, write_pack
from ganzoo.data.packing import fit_images
from ganzoo.data.sources import FolderDataset, PackedDataset, ZipDataset
from ganzoo.data.sources.files import ImageFiles
from ganzoo.data.sources.shards import shards_at
from ganzoo.data.subset import Selected, at_most, of_classes, spread
from ganzoo.data.training_data import DataInfo, ImageStore, LevelArrays, LiveImages, TrainingData
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset

if TYPE_CHECKING:
    from ganzoo.recipe import DataConfig
    from ganzoo.registry import Registry

Log = Callable[[str], None]

_SMALL = (1000, 2**26)  # images and bytes up to which fitting anew beats keeping a pack
_MEMORY_LIMIT = 2**28  # bytes of fitted images to hold in memory where packs are off
_LOOKED_AT = 64  # images that decide on img_channels
_OTHER_PLACE = (
    "Keep packs in another folder (--set data.cache=FOLDER, or the variable GANZOO_CACHE), or read the files as they "
    "are (--set data.cache=off)."
)


def open_data(
    config: DataConfig, registry: Registry, *, log: Log = print, progress: bool = False, prepare: bool = True
) -> TrainingData:
    """Open the data of a recipe; pack them first, if that pays, and say so through ``log``.

    prepare=False: neither packs nor computes fingerprints; images are then decoded one by one as they are read.
    Processes that need the same pack wait for the first to make it. Raises DataError for data that are missing,
    damaged, without the labels asked for, or too large for the disk.
    """
    dataset, inputs = _open_source(config, registry, log), config.inputs
    if inputs is None or inputs.kind == "degrade":
        data = _open_images(config, dataset, log, progress, prepare)
        data.paired = inputs is not None
        return data
    a, b = two_domains(dataset, inputs)
    of_a = config.model_copy(update={"labels": False, "img_channels": inputs.img_channels})
    opened = [_open_images(of, part, log, progress, prepare) for of, part in ((of_a, a), (config, b))]
    return opened[1].with_inputs(opened[0], paired=inputs.paired)


def open_all(config: DataConfig, data: TrainingData, registry: Registry, *, log: Log = print) -> TrainingData:
    """What ``data``, opened for the same recipe, are a part of if ``max_images`` leaves any out: without labels."""
    if config.max_images is None:
        return data
    whole = {"max_images": None, "labels": False, "img_channels": data.info.img_channels}
    return open_data(config.model_copy(update=whole), registry, log=log)


def _open_images(config: DataConfig, dataset: Dataset, log: Log, progress: bool, prepare: bool) -> TrainingData:
    if config.labels and dataset.labels is None:
        raise DataError(
            f"{config.path or dataset.name}: data.labels is true, but there are no labels. Put every image into a "
            "folder of its class or add a dataset.json, or set data.labels to false."
        )
    dataset = at_most(of_classes(dataset, config.classes), config.max_images)
    whole = dataset.whole if isinstance(dataset, Selected) else dataset
    if isinstance(whole, PackedDataset):
        return _open_pack(config, whole, dataset, log)
    channels = config.img_channels or channels_of(dataset, log)
    fit = Fit(config.img_resolution, channels, config.fit, config.filter, config.background)
    if not prepare:
        info = _info(config, dataset.name, len(dataset), fit, dataset, fingerprint="")
        return TrainingData(info, LiveImages(dataset, fit, log), dataset.labels)
    return _prepare(config, dataset, fit, log, progress)


def open_dataset(path: str, log: Log | None = None) -> Dataset:
    """The images at ``path``: a folder, a zip, a pack, or shards. Raises DataError if it is none of them.

    log: hears of pictures that are passed over, because nothing here can read their kind.
    """
    dataset = _open_place(path)
    note = dataset.passed_over_note() if isinstance(dataset, ImageFiles) else None
    if note and log is not None:
        log(f"warning: {dataset.name}: {note}")
    return dataset


def _open_place(path: str) -> Dataset:
    place = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, also for what no path can be
        raise DataError(f"{path}: no such file or folder (seen from {Path.cwd()})")
    if is_pack(place):
        return PackedDataset(path=path)
    shards = shards_at(place) if place.suffix.lower() != ".zip" else None
    if shards is not None:
        return shards
    if place.is_dir():
        return FolderDataset(path=path)
    if place.suffix.lower() == ".zip":
        return ZipDataset(path=path)
    raise DataError(f"{path}: not a folder of images, a .zip of images, a pack, or .tar or .parquet shards")


def channels_of(dataset: Dataset, log: Log) -> int:
    """1 if the images are grey, 4 if any is transparent, else 3, judging by 64 spread evenly over the set."""
    most = 1
    for index in spread(len(dataset), _LOOKED_AT).tolist():
        try:
            image = dataset.image(index)
        except DataError:  # packing reports it, with the file's name
            continue
        most = max(most, {1: 1, 2: 4, 3: 3}.get(image.shape[2] if image.ndim == 3 else 1, 4))
        if most == 4:
            log("data: some images are transparent, so all get 4 channels; ask for 3 to put them on a background")
            break
    return most


def _open_source(config: DataConfig, registry: Registry, log: Log) -> Dataset:
    if config.source is None:
        assert config.path is not None
        if not os.path.exists(config.path):
            raise DataError(
                f"data.path: {config.path}: no such file or folder (seen from {Path.cwd()}). Give your images with "
                "--data PATH: a folder, a zip or a pack."
            )
        return open_dataset(config.path, log)
    from ganzoo.build import build_dataset

    return build_dataset(
        config.source, registry, img_resolution=config.img_resolution, img_channels=config.img_channels
    )


def _info(config: DataConfig, name: str, num_images: int, fit: Fit, labelled: Dataset, fingerprint: str) -> DataInfo:
    c_dim, class_names = 0, None
    if config.labels:
        assert labelled.labels is not None
        c_dim = label_size(labelled.labels, labelled.class_names)
        class_names = None if labelled.class_names is None else list(labelled.class_names)
    return DataInfo(name, num_images, fit.resolution, fit.channels, c_dim, class_names, fingerprint)


def _open_pack(config: DataConfig, dataset: PackedDataset, part: Dataset, log: Log) -> TrainingData:
    """Read a pack that the user made, or a part of it. Its fitting stands; a lower resolution is there already."""
    made = dataset.pack.fit
    if config.img_resolution not in made.levels:
        raise DataError(
            f"{dataset.path}: packed at {made.resolution} x {made.resolution}, and the recipe wants "
            f"{config.img_resolution}. Pack the originals again with --resolution {config.img_resolution}."
        )
    if config.img_channels not in (None, made.channels):
        raise DataError(
            f"{dataset.path}: packed with {made.channels} channels, and the recipe wants {config.img_channels}. Pack "
            f"the originals again with --channels {config.img_channels}, or set data.img_channels to {made.channels}."
        )
    fit = Fit(config.img_resolution, made.channels, made.mode, made.filter, made.background)
    fingerprint = dataset.fingerprint if fit == made else fit.fingerprint(dataset.fingerprint)
    chosen = None
    if isinstance(part, Selected):
        fingerprint, chosen = fit.fingerprint(part.fingerprint), part.origins
    log(f"data: {dataset.path}, packed by {made.mode} and {made.filter}")
    labelled = dataset if config.classes is None else part
    info = _info(config, dataset.name, len(part), fit, labelled, fingerprint)
    return TrainingData(info, LevelArrays(dataset.pack.levels, chosen, dataset.pack.check), part.labels)


def _prepare(config: DataConfig, dataset: Dataset, fit: Fit, log: Log, progress: bool) -> TrainingData:
    if dataset.shards is not None and config.cache in ("auto", "off"):
        return _open_shards(config, dataset, fit, log)
    size = len(dataset) * fit.bytes_per_image
    if config.path is not None and Path(config.path).is_dir() and len(dataset) > _SMALL[0]:
        log(f"fingerprinting {len(dataset):,} files")
    fingerprint = fit.fingerprint(dataset.fingerprint)
    images: ImageStore
    labels, num_images = dataset.labels, len(dataset)
    small = len(dataset) <= _SMALL[0] and size <= _SMALL[1]
    if config.cache == "off" and size > _MEMORY_LIMIT:
        if config.skip_bad:
            raise DataError("data.skip_bad: finding bad files needs a pack; set data.cache to auto")
        log(f"reading the files as they are: {format_bytes(size)} once packed, and data.cache is off")
        images = LiveImages(dataset, fit, log)
    elif config.cache == "off" or (config.cache == "auto" and small):
        chunks = list(fit_images(dataset, fit, skip_bad=config.skip_bad, log=log, progress=progress))
        kept = [index for chunk in chunks for index in chunk.indices]
        num_images, labels = len(kept), None if labels is None else labels[kept]
        levels = [chunk.levels() for chunk in chunks]
        images = LevelArrays({r: np.concatenate([level[r] for level in levels]) for r in fit.levels})
    else:
        folder = cache_root() / "packs" if config.cache == "auto" else Path(config.cache)
        pack = _cached_pack(folder / fingerprint, dataset, fit, fingerprint, config.skip_bad, log, progress)
        images, labels, num_images = LevelArrays(pack.levels, check=pack.check), pack.labels, pack.num_images
    return TrainingData(_info(config, dataset.name, num_images, fit, dataset, fingerprint), images, labels)


def _open_shards(config: DataConfig, dataset: Dataset, fit: Fit, log: Log) -> TrainingData:
    """Neither copied nor packed, however small they are."""
    assert dataset.shards is not None
    if config.skip_bad:
        raise DataError("data.skip_bad: finding bad images needs a pack; give data.cache a folder to pack shards in")
    log(f"reading {len(dataset.shards):,} shard(s) as training goes; --set data.cache=FOLDER packs them instead")
    info = _info(config, dataset.name, len(dataset), fit, dataset, fit.fingerprint(dataset.fingerprint))
    return TrainingData(info, LiveImages(dataset, fit, log), dataset.labels, shards=dataset.shards)


def _cached_pack(
    path: Path, dataset: Dataset, fit: Fit, fingerprint: str, skip_bad: int, log: Log, progress: bool
) -> Pack:
    with _locked(path, log):
        pack = _whole_pack(path, log)
        if pack is None:
            _make_pack(path, dataset, fit, fingerprint, skip_bad, log, progress)
            pack = Pack(path)
    if len(pack.skipped) > skip_bad:
        raise DataError(
            f"{path}: was packed without {len(pack.skipped)} bad file{'s' * (len(pack.skipped) > 1)}; the first: "
            f"{pack.skipped[0]} Or allow as many with --set data.skip_bad={len(pack.skipped)}."
        )
    return pack


@contextmanager
def _locked(path: Path, log: Log) -> Iterator[None]:
    """Only one process at a time makes ``path``. Says so if that takes waiting."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log("another process is packing these images; waiting for it")
            lock.acquire()
    except OSError as problem:
        raise DataError(
            f"{path.parent}: packs cannot be kept here: {problem.strerror or problem}. {_OTHER_PLACE}"
        ) from problem
    try:
        yield
    finally:
        lock.release()


def _whole_pack(path: Path, log: Log) -> Pack | None:
    """The pack at ``path``; None if there is none. A damaged one is removed."""
    if not path.exists():
        return None
    try:
        pack = Pack(path)
    except DataError as problem:
        log(f"warning: {problem} Making it anew.")
    else:
        log(f"using the pack {path}")
        return pack
    shutil.rmtree(path, ignore_errors=True)  # what is left, if anything, stops the new one from taking its place
    return None


def _make_pack(
    path: Path, dataset: Dataset, fit: Fit, fingerprint: str, skip_bad: int, log: Log, progress: bool
) -> None:
    size = len(dataset) * fit.bytes_per_image
    remove_leftovers(path)
    check_space(path.parent, size, way_out=f"{_OTHER_PLACE} Or choose a smaller img_resolution.")
    log(f"packing {len(dataset):,} images to {fit.resolution} x {fit.resolution} into {path}")
    started = time.monotonic()
    chunks = fit_images(dataset, fit, skip_bad=skip_bad, log=log, progress=progress)
    write_pack(path, chunks, fit=fit, labels=dataset.labels, class_names=dataset.class_names, fingerprint=fingerprint)
    seconds = time.monotonic() - started
    log(f"packed in {seconds:.{0 if seconds >= 10 else 1}f} s, {format_bytes(size)}; the next run starts at once")
