"""From files of others to a snapshot of ours: find the importer, build its recipe, fill the generator, write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

import ganzoo
from ganzoo.build import build_generator, build_growth
from ganzoo.errors import CheckpointError, GanzooError, RecipeError
from ganzoo.importing.reading import read_foreign
from ganzoo.interfaces import ForeignNetwork, ForeignWeights, GrowthState, ImportedModel, Importer
from ganzoo.plugins import LoadedPlugins, load_plugins
from ganzoo.recipe import Recipe, dump_recipe, parse_recipe, strict_yaml
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Entry, Registry
from ganzoo.training.checkpoint import TrainingState, save_snapshot
from ganzoo.training.plan import component_versions

DATA_PATH = "not-known"  # of the recipe: what the weights were trained on stays with those who did


@dataclass(frozen=True)
class Imported:
    """What was imported. left_out: parts of the files that no snapshot holds. notes: of the importer."""

    path: Path
    family: str
    title: str
    networks: Sequence[str]
    G: ganzoo.Generator
    growth: GrowthState
    left_out: Sequence[str]
    notes: Sequence[str]


def import_weights(
    files: Sequence[Path],
    out: Path,
    *,
    family: str = "auto",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
    plugins: LoadedPlugins | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Imported:
    """Convert the weights in ``files`` to the snapshot ``out``; nothing is written unless all is well.

    family: name of an importer, 'auto' asks each. name: of the snapshot's recipe; None = that of the file. options: the
    importer's arguments. Raises GanzooError if a file is refused or not recognised, or does not fit its network.
    """
    check_out(out, force=force)
    plugins = plugins or load_plugins()
    entry = None if family == "auto" else _importer(plugins.registry, family)
    for path in files:
        if path.suffix == ".safetensors":
            raise GanzooError(
                f"{path}: safetensors files need no import if they are snapshots of ganzoo: use them as they are. Of "
                "other projects, their own .pkl, .pt or .pth can be imported"
            )
    weights = _merge([read_foreign(path, log=log) for path in files])
    where = ", ".join(map(str, files))
    if entry is None:
        entry = _recognise(where, weights, plugins.registry, options or {})
    importer = _construct(entry, options or {})
    title, most = entry.cls.title, entry.cls.files  # type: ignore[attr-defined]
    if len(files) > most:
        raise GanzooError(f"{where}: {len(files)} files, and {title} has {most} at most; import each on its own")
    try:
        if not importer.recognises(weights):
            raise CheckpointError(f"{where}: is not of the family {entry.name} ({title}): {describe(weights)}")
        model = importer.model(weights)
        recipe = _recipe(model, name or _name_of(files[0]), plugins.registry)
        with torch.random.fork_rng(devices=[]):
            G = build_generator(
                recipe,
                plugins.registry,
                img_channels=model.img_channels,
                c_dim=model.c_dim,
                in_channels=model.in_channels,
            )
        state = importer.generator_state(weights)
    except GanzooError:
        raise
    except KeyError as error:
        raise CheckpointError(
            f"{where}: as {title}, it has no tensor {error.args[0]!r}: damaged, or a variant that cannot be imported"
        ) from error
    except (ValueError, IndexError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{where}: as {title}, it cannot be imported: {error}") from error
    _fill(G, state, where, title)
    start = build_growth(recipe, plugins.registry).at(0)
    resolution = model.resolution or model.img_resolution
    growth = GrowthState(resolution, model.alpha, start.batch_size, start.g_lr, start.d_lr)
    G.check_resolution(resolution)
    extra = {
        "class_names": "null",
        "plugins": json.dumps(component_versions(recipe, plugins)),
        "data_fingerprint": "imported",
        "ganzoo": ganzoo.__version__,
        "imported": json.dumps({"family": entry.name, "files": {p.name: file_digest(p) for p in files}}),
    }
    save_snapshot(out.parent, G, TrainingState(), growth, recipe=dump_recipe(recipe), extra=extra, name=out.name)
    others = [f"network {other!r}" for other in weights.networks if other not in model.networks]
    return Imported(
        path=out,
        family=entry.name,
        title=title,
        networks=model.networks,
        G=G,
        growth=growth,
        left_out=[*others, *weights.left_out],
        notes=model.notes,
    )


def check_out(out: Path, *, force: bool) -> None:
    """Raise GanzooError if ``out`` cannot become a snapshot."""
    if out.suffix != ".safetensors":
        raise GanzooError(f"{out}: a snapshot's name ends in .safetensors; give --out {out.stem or 'G'}.safetensors")
    if out.is_dir():
        raise GanzooError(f"{out}: is a folder; give the name of a file")
    if out.exists() and not force:
        raise GanzooError(f"{out}: exists; give another name, or --force to replace it")


def describe(weights: ForeignWeights) -> str:
    """A sentence on what files hold: networks and the first few names of each."""
    if not weights.networks:
        return "there are no tensors in it"
    parts = []
    for name, network in list(weights.networks.items())[:4]:
        keys = list(network.tensors)
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        kind = f" ({network.class_name})" if network.class_name else ""
        parts.append(f"{name or 'one network'}{kind} with {', '.join(keys[:3]) or 'no tensors'}{more}")
    return f"it holds {'; '.join(parts)}" + ("; and more" if len(weights.networks) > 4 else "")


def families(registry: Registry) -> dict[str, str]:
    """Name -> title of every importer that is installed."""
    return {e.name: e.cls.title for e in registry.entries() if e.kind == "importer"}  # type: ignore[attr-defined]


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with open(path, "rb") as file:
        sha = hashlib.sha256()
        while chunk := file.read(2**22):
            sha.update(chunk)
    return sha.hexdigest()


def _merge(found: Sequence[ForeignWeights]) -> ForeignWeights:
    if len(found) == 1:
        return found[0]
    networks: dict[str, ForeignNetwork] = {}
    values: dict[str, Any] = {}
    left_out: list[str] = []
    for i, weights in enumerate(found):
        networks |= {f"{i}/{name}" if name else str(i): network for name, network in weights.networks.items()}
        values |= {f"{i}/{name}": value for name, value in weights.values.items()}
        left_out += weights.left_out
    return ForeignWeights(networks=networks, values=values, left_out=left_out)


def _importer(registry: Registry, family: str) -> Entry:
    try:
        return registry.get("importer", family)
    except GanzooError as error:
        raise GanzooError(f"family {family!r}: {error}; or auto") from error


def _recognise(where: str, weights: ForeignWeights, registry: Registry, options: Mapping[str, Any]) -> Entry:
    entries = [entry for entry in registry.entries() if entry.kind == "importer"]
    found = []
    for entry in entries:
        try:
            importer = _construct(entry, {}) if not options else _construct_with_what_fits(entry, options)
            if importer.recognises(weights):
                found.append(entry)
        except (LookupError, ValueError, TypeError, RuntimeError):
            continue
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(entry.name for entry in found)
        raise CheckpointError(f"{where}: may be of several families; say which: --family {names}")
    known = "; ".join(f"{name}: {title}" for name, title in families(registry).items())
    raise CheckpointError(
        f"{where}: is of no family that is installed: {describe(weights)}. What can be imported: {known or 'nothing'}"
    )


def _construct(entry: Entry, options: Mapping[str, Any]) -> Importer:
    try:
        args = args_model(entry).model_validate(dict(options))
    except ValidationError as error:
        there = ", ".join(args_model(entry).model_fields) or "none"
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GanzooError(
            f"--set {where}: {first['msg']}; arguments of the importer {entry.name!r}: {there}"
        ) from error
    return entry.cls(**{name: getattr(args, name) for name in type(args).model_fields})


def _construct_with_what_fits(entry: Entry, options: Mapping[str, Any]) -> Importer:
    own = args_model(entry).model_fields
    return _construct(entry, {key: value for key, value in options.items() if key in own})


def _recipe(model: ImportedModel, name: str, registry: Registry) -> Recipe:
    sections = dict(model.recipe)
    inputs = sections.pop("inputs", None)
    data: dict[str, Any] = {"path": DATA_PATH, "img_resolution": model.img_resolution, "labels": model.c_dim > 0}
    if model.img_channels in (1, 3, 4):
        data["img_channels"] = model.img_channels
    if inputs is not None:
        data["inputs"] = inputs
    content = {"recipe_version": 1, "name": name, "data": data, **sections, "train": {"total_kimg": 1.0}}
    try:
        return parse_recipe(strict_yaml.dump(content), registry, filename="imported")
    except RecipeError as error:
        raise CheckpointError(f"its network has no recipe here: {error}") from error


def _name_of(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).strip("._-")[:100] or "imported"


def _fill(G: nn.Module, state: Mapping[str, Tensor], where: str, title: str) -> None:
    own = G.state_dict()
    missing = [key for key in own if key not in state]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {list(state[key].shape)} in place of {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{what}: {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        for what, keys in (("missing", missing), ("not known", unknown), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{where}: as {title}, it does not fit the network: {'; '.join(problems)}. It may be a variant that cannot "
            "be imported; another --family may fit"
        )
    bad = next((key for key, x in state.items() if x.is_floating_point() and not bool(x.isfinite().all())), None)
    if bad is not None:
        raise CheckpointError(f"{where}: {bad} has values that are not finite: training had failed; take another file")
    G.load_state_dict({key: x.contiguous() for key, x in state.items()}, strict=True)
