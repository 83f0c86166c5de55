"""The Python interface: what ``ganzoo run`` and ``ganzoo sample`` do, as functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.generation.load import LoadedGenerator
from ganzoo.generation.load import load_generator as _load_generator
from ganzoo.plugins import load_plugins
from ganzoo.recipe import Recipe, dump_recipe, parse_recipe, strict_yaml
from ganzoo.training.launch import resolve_run
from ganzoo.training.loop import TrainingResult
from ganzoo.training.loop import train as _train

if TYPE_CHECKING:
    import torch


def load_generator(
    path: Path | str, *, device: str | torch.device = "cpu", precision: Literal["fp32", "bf16"] = "fp32"
) -> LoadedGenerator:
    """The generator of a snapshot file, or of the newest snapshot of a run folder.

        generator = ganzoo.load_generator("runs/00000-quickstart-faces", device="auto")
        img = generator(torch.randn(4, generator.z_dim))  # [4, C, R, R], nominally in [-1, 1]

    device: auto, cpu, cuda, cuda:1 or mps. precision: bf16 is up to twice as fast where the machine computes in it, and
    rounds differently. Raises CheckpointError if the file is missing, damaged, no snapshot, or needs a plugin that is
    not installed. ``ganzoo.generation`` has seeds, labels, pictures and walks.
    """
    return _load_generator(path, device=device, precision=precision)


def train(
    recipe: Path | str | Mapping[str, Any] | Recipe,
    *,
    data: Path | str | None = None,
    overrides: Sequence[str] = (),
    outdir: Path | str = "runs",
    resume: Path | str | None = None,
) -> TrainingResult:
    """Train a recipe: the path of a file, its contents as a dict, or a Recipe.

        result = ganzoo.train("recipes/quickstart.yaml", overrides=["train.total_kimg=10"])
        generator = ganzoo.load_generator(result.run_dir)

    data: a folder, zip or pack of images, in place of the recipe's. overrides: ``a.b=value``, as ``--set`` takes them.
    outdir: where the run's folder is made. resume: a run folder to go on in; its recipe must be the same.
    Raises RecipeError, DataError or CheckpointError, before the first step, for whatever is wrong with what was given.
    """
    plugins = load_plugins()
    outdir = Path(outdir)
    if isinstance(recipe, (str, Path)):
        if "\n" in str(recipe):
            raise RecipeError("recipe: text is taken for a path; give the path of a file, or yaml.safe_load(text)")
        resolved, resume_from = resolve_run(
            Path(recipe),
            plugins,
            flags={"data.path": None if data is None else str(data)},
            overrides=overrides,
            outdir=outdir,
            resume=None if resume is None else str(resume),
        )
        return _train(resolved, plugins=plugins, outdir=outdir, resume_from=resume_from)
    text, filename = (dump_recipe(recipe), "<recipe>") if isinstance(recipe, Recipe) else (_dump(recipe), "<dict>")
    if data is not None:
        overrides = [*overrides, f"data.path={json.dumps(str(data))}"]
    resolved = parse_recipe(text, plugins.registry, filename=filename, overrides=overrides)
    if resume is not None and not Path(resume).is_dir():
        raise CheckpointError(f"{resume}: not a run folder; one looks like runs/00000-quickstart-faces")
    return _train(resolved, plugins=plugins, outdir=outdir, resume_from=None if resume is None else Path(resume))


def _dump(recipe: Mapping[str, Any]) -> str:
    try:
        return strict_yaml.dump(dict(recipe))
    except (yaml.representer.RepresenterError, RecursionError) as error:
        raise RecipeError(f"<dict>: holds a value that no recipe can hold: {error}") from error
