"""From what a user typed to a recipe and, perhaps, a run folder to go on in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.plugins import LoadedPlugins
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.training import LATEST, rundir


def resolve_run(
    recipe_path: Path | None,
    plugins: LoadedPlugins,
    *,
    flags: Mapping[str, Any],
    overrides: Sequence[str],
    outdir: Path,
    resume: str | None,
) -> tuple[Recipe, Path | None]:
    """(recipe, run folder to resume or None). flags: recipe key -> value, None = not given.

    With ``resume`` the run folder's own recipe is used if no other is given; one that is given must compute the same.
    """
    if recipe_path is None and resume is not None and resume.endswith((".yaml", ".yml")):
        recipe_path, resume = Path(resume), LATEST  # `--resume recipes/x.yaml`: the option took the argument's place
    overrides = [*overrides, *(_override(key, value) for key, value in flags.items() if value is not None)]

    if resume is None:
        if recipe_path is None:
            raise GanzooError("a recipe is needed: `ganzoo run recipes/quickstart.yaml`, or --resume RUN_DIR")
        return load_recipe(recipe_path, plugins.registry, overrides), None

    if recipe_path is None:
        if resume == LATEST:
            raise GanzooError("--resume needs a run folder, or a recipe whose newest run to go on with")
        run_dir = _existing_run_dir(Path(resume))
        return load_recipe(run_dir / rundir.RECIPE_FILE, plugins.registry, overrides), run_dir

    recipe = load_recipe(recipe_path, plugins.registry, overrides)
    found = rundir.find_run_dir(outdir, recipe.name) if resume == LATEST else _existing_run_dir(Path(resume))
    if found is not None and not any(re.match(r"\s*data(\.path)?\s*=", override) for override in overrides):
        recipe = _with_recorded_data_path(recipe, load_recipe(found / rundir.RECIPE_FILE, plugins.registry))
    return recipe, found  # nothing to resume yet is a fresh start: the same command works before and after a crash


def _override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"  # JSON is YAML, so a path with a colon or a blank stays one string


def _existing_run_dir(path: Path) -> Path:
    if not (path / rundir.RECIPE_FILE).is_file():
        raise CheckpointError(
            f"{path}: not a run folder: it has no {rundir.RECIPE_FILE}. One looks like runs/00000-quickstart-faces"
        )
    return path


def _with_recorded_data_path(recipe: Recipe, recorded: Recipe) -> Recipe:
    """What a recipe has for a path is often a placeholder; the run knows where its images were."""
    if recipe.data.path is None or recorded.data.path is None or not os.path.exists(recorded.data.path):
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": recorded.data.path})})
