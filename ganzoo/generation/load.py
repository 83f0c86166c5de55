"""From a snapshot file to a generator that can be called. One file is enough."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata as distributions
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor

from ganzoo.build import build_generator
from ganzoo.data.labels import MOST_CLASSES
from ganzoo.errors import CheckpointError, GanzooError, RecipeError, RegistryError
from ganzoo.interfaces import Generator, GrowthState, Noise, StyleGenerator, Translator
from ganzoo.plugins import LoadedPlugins, load_plugins
from ganzoo.recipe import Recipe, strict_yaml
from ganzoo.training.checkpoint import CHECKPOINT_FORMAT, SNAPSHOT_FORMAT
from ganzoo.training.system import choose_device
from ganzoo.weights import load_weights, read_metadata

Precision = Literal["fp32", "bf16"]

_GIVE = "give a snapshot file or a run folder such as runs/00000-quickstart-faces"


@dataclass(frozen=True)
class LoadedGenerator:
    """G_ema of a snapshot, in eval mode and without gradients for its parameters, and what is known about it.

    path: the snapshot file. nimg: real images it was trained on. growth: where training stood; images come out at
    ``growth.resolution``, which is less than ``img_resolution`` if the snapshot was taken before the end of growing.
    class_names: by class index, or None if the data had no labels or gave them no names. precision: fp32, or bf16 for
    convolutions and matrix products, which changes images by rounding; they are float32 either way.
    """

    G: Generator
    path: Path
    recipe: Recipe
    nimg: int
    growth: GrowthState
    class_names: list[str] | None
    device: torch.device
    precision: Precision = "fp32"

    def __call__(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, R, R], nominally in [-1, 1], on ``device``.

        R = growth.resolution. Differentiable with respect to z and c. A style generator uses its stored noise.
        """
        with self._autocast():
            img = self.G(z.to(self.device), None if c is None else c.to(self.device), growth=self.growth)
        return img.float().contiguous()

    def _autocast(self) -> AbstractContextManager[Any]:
        on = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if on else nullcontext()

    @property
    def is_translator(self) -> bool:
        """Whether it makes images of images: only then can ``translate`` be used."""
        return isinstance(self.G, Translator)

    def check_latents(self) -> None:
        """Raise GanzooError, saying what would work, if it makes images of images and not of latents."""
        if self.is_translator:
            raise GanzooError(
                f"{self.path}: {self.recipe.generator.name!r} makes images of images, and has no latents to choose. "
                f"Use `ganzoo translate {self.path} --input IMAGES --outdir DIR`; to measure, `ganzoo eval DIR`"
            )

    def translate(self, images: Tensor, direction: str = "a2b", c: Tensor | None = None) -> Tensor:
        """images [N, C, H, W] in [-1, 1] -> their translations, nominally in [-1, 1], on ``device``. Differentiable.

        direction: "a2b", or another that the network has. H, W: the size it was trained with (``growth.resolution``),
        or any other of which they are multiples of ``G.size_multiple``. c [N, c_dim]: labels, for one that takes them.
        Raises GanzooError for a generator that cannot translate, and for a direction, channels or a size it cannot do.
        """
        G = self.G
        if not isinstance(G, Translator):
            raise GanzooError(
                f"{self.path}: {self.recipe.generator.name!r} makes images of latents and cannot translate. Use "
                "`ganzoo sample`, or a snapshot of a translator such as CycleGAN or pix2pix"
            )
        if direction not in G.directions:
            raise GanzooError(
                f"direction {direction!r}: {self.path} translates {' and '.join(map(repr, G.directions))} only"
            )
        wanted = G.img_channels if direction == "b2a" else G.in_channels
        if images.ndim != 4 or images.shape[1] != wanted:
            raise GanzooError(
                f"images of shape {list(images.shape)}: {self.path} translates [N, {wanted}, height, width] in the "
                f"direction {direction!r}"
            )
        height, width = images.shape[2:]
        if height % G.size_multiple or width % G.size_multiple:
            raise GanzooError(
                f"images of {width} x {height} px: {self.path} translates sizes that are multiples of "
                f"{G.size_multiple} px; resize, or pad and crop again"
            )
        labels = None if c is None else c.to(self.device)
        with self._autocast():
            img = G.translate(images.to(self.device), labels, direction=direction, growth=self.growth)
        return img.float().contiguous()

    @property
    def is_style(self) -> bool:
        """Whether there is a w: only then can the methods below be used."""
        return isinstance(self.G, StyleGenerator)

    def style(self, missing: str = "no w") -> StyleGenerator:
        """G as a style generator. Raises GanzooError if it is none; missing: what it therefore has not."""
        if not isinstance(self.G, StyleGenerator):
            raise GanzooError(
                f"{self.path}: has {missing}: {self.recipe.generator.name!r} is no style generator, as StyleGAN is"
            )
        return self.G

    @property
    def num_ws(self) -> int:
        """How many layers take a w of their own, at the resolution of the images that come out."""
        return self.style().num_ws_at(self.growth.resolution)

    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> w [N, w_dim], on ``device``."""
        return self.style().mapping(z.to(self.device), None if c is None else c.to(self.device))

    def truncate(self, w: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """w [N, w_dim], or ws [N, all layers, w_dim] -> ws, the first ``cutoff`` layers (None = all) drawn to the mean.

        Raises GanzooError as ``check_truncation``.
        """
        self.check_truncation(psi, cutoff)
        G, w = self.style(), w.to(self.device)
        ws = G.broadcast(w) if w.ndim == 2 else w
        return ws if psi == 1 else G.truncate(ws, psi, cutoff)

    def check_truncation(self, psi: float, cutoff: int | None = None) -> None:
        """Raise GanzooError, saying what would work, if this network cannot be truncated so."""
        G = self.style("no w to truncate")
        if not abs(psi) <= 1000:  # nor if it is no number
            raise GanzooError(f"truncation {psi:g}: use a number such as 0.7; 1 changes nothing, 0 is the mean")
        if cutoff is not None and not 1 <= cutoff <= G.num_ws:
            raise GanzooError(f"truncation cutoff {cutoff}: {self.path} has {G.num_ws} layers, so use 1 to {G.num_ws}")
        if psi != 1 and not bool(G.w_avg.any()):
            raise GanzooError(
                f"{self.path}: has no mean of w to truncate towards: w_avg is zero, as if it had never been followed "
                "in training; leave the truncation out"
            )

    def synthesis(self, w: Tensor, *, noise: Noise = "const") -> Tensor:
        """w [N, w_dim], or ws [N, all layers, w_dim] -> images as a call gives them. Differentiable."""
        with self._autocast():
            img = self.style().synthesis(self.truncate(w), growth=self.growth, noise=noise)
        return img.float().contiguous()

    @property
    def z_dim(self) -> int:
        return self.G.z_dim

    @property
    def c_dim(self) -> int:
        return self.G.c_dim

    @property
    def img_resolution(self) -> int:
        return self.G.img_resolution

    @property
    def img_channels(self) -> int:
        return self.G.img_channels


def load_generator(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    plugins: LoadedPlugins | None = None,
) -> LoadedGenerator:
    """The generator of a snapshot file, or of the newest snapshot of a run folder, verified against its SHA-256.

    device: auto, cpu, cuda, cuda:1 or mps. precision: of a LoadedGenerator. plugins: None loads the installed ones.
    Raises CheckpointError if the file is missing, damaged, no snapshot, or needs a plugin that is not installed.
    """
    path = find_snapshot(Path(path))
    _check_format(path, read_metadata(path))
    tensors, metadata = load_weights(path)
    facts = _read_facts(path, metadata)
    recipe = _read_recipe(path, facts)
    registry = (plugins or load_plugins()).registry
    sizes: dict[str, Any] = {"img_channels": facts.img_channels, "c_dim": facts.c_dim, "in_channels": facts.in_channels}
    try:
        # First without memory: the recipe inside may ask for a network that has nothing to do with the file's size.
        shapes = build_generator(recipe, registry, **sizes, device="meta")
        shapes.load_state_dict(tensors, strict=True, assign=True)
        shapes.check_resolution(facts.growth.resolution)
        G = build_generator(recipe, registry, **sizes)
        G.load_state_dict(tensors, strict=True)
    except (RegistryError, RecipeError) as error:
        raise CheckpointError(f"{path}: {error}. {_made_with(facts.made_with)}") from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: does not fit the installed generator: {error}. {_made_with(facts.made_with)}"
        ) from error
    target = _choose_device(device)
    G = G.to(target).eval().requires_grad_(False)
    if precision == "bf16":  # not in fp32, whose images are those of training to the last bit
        G = G.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedGenerator(
        G=G,
        path=path,
        recipe=recipe,
        nimg=facts.nimg,
        growth=facts.growth,
        class_names=facts.class_names,
        device=target,
        precision=precision,
    )


def find_snapshot(path: Path) -> Path:
    """``path`` itself if it is a file; of a run folder, or its ``snapshots``, the snapshot with the highest number.

    Raises CheckpointError if there is nothing, or the folder has none.
    """
    if not os.path.exists(path):  # unlike Path.exists, also for what no path can be
        raise CheckpointError(f"{path}: no such file or folder; {_GIVE}")
    if not path.is_dir():
        return path
    folder = path / "snapshots" if (path / "snapshots").is_dir() else path
    named = [(re.fullmatch(r"snapshot-(\d+)\.safetensors", p.name), p) for p in folder.glob("snapshot-*")]
    numbered = [(int(match[1]), p) for match, p in named if match]
    if not numbered:
        raise CheckpointError(
            f"{path}: has no snapshots/snapshot-*.safetensors. A run writes its first one after train.snapshot_kimg; "
            f"{_GIVE}"
        )
    return max(numbered)[1]


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    found = metadata.get("format")
    if found == CHECKPOINT_FORMAT:
        snapshots = path.resolve().parent.parent / "snapshots"
        newest = find_snapshot(snapshots) if any(snapshots.glob("snapshot-*.safetensors")) else None
        use = f"use its run's newest snapshot: {newest}" if newest else "its run has no snapshot yet"
        raise CheckpointError(f"{path}: is a checkpoint, to go on training from, and not a snapshot; {use}")
    if found != SNAPSHOT_FORMAT:
        raise CheckpointError(
            f"{path}: is not a snapshot that this version of ganzoo can read: "
            f"its format is {found or 'not given'}, wanted is {SNAPSHOT_FORMAT}"
        )


class _Facts(BaseModel):
    """The metadata of a snapshot, checked: the file may come from anywhere. made_with: distributions and versions."""

    recipe: str
    made_with: dict[str, str]
    img_channels: int = Field(ge=1, le=4)
    c_dim: int = Field(ge=0, le=MOST_CLASSES)
    in_channels: int = Field(0, ge=0, le=4)  # snapshots before there were translators say nothing of it
    nimg: int = Field(ge=0, lt=2**63)
    growth: GrowthState
    class_names: list[str] | None

    @model_validator(mode="after")
    def _is_consistent(self) -> _Facts:
        resolution = self.growth.resolution
        if not 1 <= resolution <= 16384 or resolution & (resolution - 1):
            raise ValueError(f"a resolution of {resolution}")
        if not 0 <= self.growth.alpha <= 1:
            raise ValueError(f"an alpha of {self.growth.alpha}")
        if self.class_names is not None and len(self.class_names) > self.c_dim:
            raise ValueError(f"{len(self.class_names)} names of {self.c_dim} classes")
        return self


def _read_facts(path: Path, metadata: Mapping[str, str]) -> _Facts:
    try:
        return _Facts.model_validate(
            {
                **json.loads(metadata["model"]),
                "recipe": metadata["recipe"],
                "made_with": {"ganzoo": metadata.get("ganzoo", ""), **json.loads(metadata.get("plugins", "{}"))},
                "nimg": metadata["nimg"],
                "growth": json.loads(metadata["growth"]),
                "class_names": json.loads(metadata.get("class_names", "null")),
            }
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its metadata are not those of a snapshot ({type(error).__name__}: {error}); get the file again"
        ) from error


def _read_recipe(path: Path, facts: _Facts) -> Recipe:
    # The components are not checked against the registry here: only the generator's plugin is needed.
    try:
        return Recipe.model_validate(strict_yaml.read(facts.recipe, str(path)).data)
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: holds a recipe that this version of ganzoo cannot read ({error.error_count()} problems, the "
            f"first: {error.errors()[0]['msg']}). {_made_with(facts.made_with)}"
        ) from error


def _made_with(made_with: Mapping[str, str]) -> str:
    """What made the snapshot, and how to install what differs."""
    wanted = [f"{dist}=={version}" for dist, version in made_with.items() if _installed_version(dist) != version]
    names = ", ".join(f"{dist} {version}" for dist, version in made_with.items())
    return f"It was made with {names}" + (f"; try: pip install {' '.join(wanted)}" if wanted else "")


def _installed_version(dist: str) -> str | None:
    try:
        return distributions.version(dist)
    except distributions.PackageNotFoundError:
        return None


def _choose_device(device: str | torch.device) -> torch.device:
    try:
        return choose_device(str(device))
    except RecipeError as error:
        raise GanzooError(f"device {str(device)!r} cannot be used here; auto and cpu always can") from error
