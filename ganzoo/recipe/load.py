"""Recipe files to validated recipes: ``extends``, ``--set``, and every problem at once, each with its place."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ganzoo.errors import RecipeError
from ganzoo.recipe import strict_yaml
from ganzoo.recipe.models import Recipe
from ganzoo.recipe.problems import Problem, explain, render
from ganzoo.recipe.signature import INJECTED, args_model
from ganzoo.recipe.strict_yaml import Document, Path
from ganzoo.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from ganzoo.interfaces import Metric

COMPONENTS: dict[Path, str] = {
    ("data", "source"): "dataset",
    ("data", "inputs", "degrade"): "degradation",
    ("generator",): "generator",
    ("discriminator",): "discriminator",
    ("loss",): "loss",
    ("augmentation",): "augmentation",
    ("growth",): "growth",
}
LISTS: dict[Path, str] = {("regularizers",): "regularizer", ("eval", "metrics"): "metric"}  # of components, or of names
EXTRACTOR: Path = ("eval", "extractor")  # a name


def load_recipe(path: FilePath | str, registry: Registry, overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge and validate the recipe at ``path``. overrides: ``a.b=value`` each, read as YAML.

    Raises RecipeError with one line for each problem: ``file:line:column: key: what is wrong, what would work``.
    """
    path = FilePath(path)
    return _finish(_read_file(path, ()), registry, overrides, stem=path.stem)


def parse_recipe(text: str, registry: Registry, *, filename: str, overrides: Sequence[str] = ()) -> Recipe:
    """The same for a recipe that is no file, such as the one inside a snapshot; it cannot ``extend`` another."""
    document = strict_yaml.read(text, filename)
    if "extends" in document.data:
        raise RecipeError(f"{document.place(('extends',))}: extends: only a file can extend another")
    return _finish(document, registry, overrides, stem=None)


def dump_recipe(recipe: Recipe) -> str:
    """YAML that ``parse_recipe`` reads back to an equal recipe, defaults written out."""
    return strict_yaml.dump(recipe.model_dump())


def _read_file(path: FilePath, extended_by: tuple[FilePath, ...]) -> Document:
    """A recipe file, merged over those that it extends."""
    try:
        document = strict_yaml.read(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        others = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; there are: {', '.join(others[:20])}" if others else ""
        raise RecipeError(f"{path}: no such recipe{hint}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file in UTF-8, so not a recipe") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    if "extends" not in document.data:
        return document

    base_name = document.data.pop("extends")
    place = document.place(("extends",))
    if not isinstance(base_name, str):
        raise RecipeError(f"{place}: extends: must be the path of another recipe, seen from this one")
    base_path = path.parent / base_name
    if not os.path.isfile(base_path):  # unlike Path.is_file, also for what no path can be
        raise RecipeError(f"{place}: extends: {base_path}: no such recipe")
    chain = (*extended_by, path.resolve())
    if base_path.resolve() in chain:
        names = " -> ".join(p.name for p in (*chain, base_path.resolve()))
        raise RecipeError(f"{place}: extends: recipes extend each other in a circle: {names}")
    base = _read_file(base_path, chain)
    base.data.pop("name", None)  # a recipe is named after its own file, not after the one that it extends
    _merge(base, document)
    return base


def _merge(base: Document, document: Document) -> None:
    base.problems += document.problems
    base.data = _merged(base.data, document.data, (), base.places)
    base.places.update(document.places)


def _merged(old: Any, new: Any, path: Path, places: dict[Path, str]) -> Any:
    """``new`` over ``old``: mappings merge, also one of positions over a list; everything else replaces."""
    if isinstance(old, list) and isinstance(new, dict) and new and all(part in range(len(old)) for part in new):
        merged = _merged(dict(enumerate(old)), new, path, places)
        return [merged[i] for i in range(len(old))]
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if "name" in new and "name" in old and new["name"] != old["name"] and path:
        return new  # another component: the arguments of the old one mean nothing to it
    if path == ("data", "inputs") and "kind" in new and new["kind"] != old.get("kind"):
        return new  # and so it is with another kind
    result = dict(old)
    if path == ("data",):  # one origin replaces the other
        for one, other in (("path", "source"), ("source", "path")):
            if new.get(one) is not None and new.get(other) is None:
                result.pop(other, None)
    for key, value in new.items():
        below = (*path, key)
        for place in [p for p in places if p[: len(below)] == below and not isinstance(value, dict)]:
            del places[place]
        result[key] = _merged(old.get(key), value, below, places)
    return result


def _override(document: Document, override: str) -> None:
    """Merge one ``a.b=value`` of the command line."""
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not key.strip():
        raise RecipeError(f"{where}: must be key=value, such as train.total_kimg=100")
    path = tuple(int(part) if re.fullmatch(r"-?[0-9]{1,18}", part) else part for part in key.strip().split("."))
    if len(path) > strict_yaml.MAX_DEPTH:
        raise RecipeError(f"--set {key[:40]}...: more than {strict_yaml.MAX_DEPTH} keys in each other")
    _check_positions(document.data, path, where)
    _write_out_names(document, path)
    parsed = strict_yaml.read_value(text, where)
    value = parsed.data[None]
    places = {(*path, *below): place for below, place in parsed.places.items()}
    for part in reversed(path):
        value = {part: value}
    problems = [(where, strict_yaml.dotted(path), message) for _, _, message in parsed.problems]
    _merge(document, Document(value, places, problems))


def _check_positions(data: Any, path: Path, where: str) -> None:
    """Raise RecipeError if ``path`` goes through a list, and not by the position of something in it."""
    for depth, part in enumerate(path):
        if isinstance(data, list):
            if part not in range(len(data)):
                name = strict_yaml.dotted(path[:depth])
                have = f"is a list with the positions 0 to {len(data) - 1}" if data else "is an empty list"
                raise RecipeError(f"{where}: {name} {have}, and has no {part}; to replace it, give {name}=[...]")
            data = data[part]
        elif isinstance(data, dict):
            data = data.get(part)
        else:
            return


def _write_out_names(document: Document, path: Path) -> None:
    """Make ``{name: r1}`` of an ``r1`` in a list that ``path`` goes into."""
    data: Any = document.data
    for depth, part in enumerate(path[:-1]):
        within = isinstance(data, list) and isinstance(part, int)
        if within and isinstance(data[part], str):
            here = path[: depth + 1]
            data[part] = {"name": data[part]}
            below = (*here, "name")
            document.places[below] = document.place(here)
        data = data[part] if within else data.get(part) if isinstance(data, dict) else None


def _finish(document: Document, registry: Registry, overrides: Sequence[str], *, stem: str | None) -> Recipe:
    for override in overrides:
        _override(document, override)
    if stem is not None:
        document.data.setdefault("name", stem)
    problems = [Problem(place, key, message) for place, key, message in document.problems]
    recipe = None
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        problems += explain(error, document, (), Recipe)
    checked, more = _check_components(document, registry)
    problems += more
    if problems:
        raise RecipeError(render(problems))
    assert recipe is not None
    return _with_defaults(recipe, checked)


def _check_components(document: Document, registry: Registry) -> tuple[dict[Path, dict[str, Any]], list[Problem]]:
    """Every component's name against the registry, and its args against the constructor's signature."""
    problems: list[Problem] = []
    checked: dict[Path, dict[str, Any]] = {}
    for path, kind, component in _components(document.data):
        at: Path = path if isinstance(component, str) else (*path, "name")
        if isinstance(component, str):  # a name alone
            component = {"name": component}
        if not isinstance(component, dict) or not isinstance(component.get("name"), str):
            continue  # missing or malformed: the recipe's own schema has said so
        name, args = component["name"], component.get("args", {})
        if name not in registry.names(kind):
            problems.append(Problem(document.place(at), strict_yaml.dotted(at), registry.unknown(kind, name)))
            continue
        if not isinstance(args, dict):
            continue
        entry = registry.get(kind, name)
        at = (*path, "args")
        for injected in sorted(INJECTED.keys() & args.keys()):
            given = (*at, injected)
            message = f"cannot be set here: {INJECTED[injected]}; remove it"
            problems.append(Problem(document.place(given), strict_yaml.dotted(given), message))
        model = args_model(entry)
        own = {key: value for key, value in args.items() if key not in INJECTED}
        try:
            model.model_validate(own)
            checked[path] = _fill_defaults(own, model)
        except ValidationError as error:
            whose = f" ({kind} {name!r} of {entry.owner})"
            problems += explain(error, document, at, model, whose=whose)
    return checked, problems + _check_repeated(document, checked) + _check_numbers(document, registry)


def _components(data: Any) -> Iterator[tuple[Path, str, Any]]:
    """(path, kind, what is written there) of every component of a recipe; None where nothing is."""

    def at(path: Path) -> Any:
        value = data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    for path, kind in COMPONENTS.items():
        component = at(path)
        yield path, kind, component if isinstance(component, dict) else None
    for path, kind in LISTS.items():
        components = at(path)
        for index, component in enumerate(components if isinstance(components, list) else []):
            yield (*path, index), kind, component
    extractor = at(EXTRACTOR)
    yield EXTRACTOR, "extractor", extractor if isinstance(extractor, str) else None


def _check_repeated(document: Document, checked: Mapping[Path, dict[str, Any]]) -> list[Problem]:
    """No regularizer is there twice, alike: the second is a slip, or shall double the first, which its weight does."""
    problems: list[Problem] = []
    seen: list[tuple[str, dict[str, Any]]] = []
    for at, kind, component in _components(document.data):
        if kind == "regularizer" and at in checked:
            name = component if isinstance(component, str) else str(component["name"])
            if (name, checked[at]) in seen:
                message = f"{name!r} is there twice; keep one, with a larger weight if it shall be stronger"
                problems.append(Problem(document.place(at), strict_yaml.dotted(at), message))
            seen.append((name, checked[at]))
    return problems


def _check_numbers(document: Document, registry: Registry) -> list[Problem]:
    """The numbers that the metrics give: each by one of them, and ``eval.best`` among them."""
    metrics = [(path, component) for path, kind, component in _components(document.data) if kind == "metric"]
    names = [str(one.get("name") if isinstance(one, dict) else one) for _, one in metrics]
    if not set(names) <= set(registry.names("metric")):
        return []  # whatever is wrong was said elsewhere
    problems: list[Problem] = []
    giver: dict[str, str] = {}  # of each number
    for (at, _), name in zip(metrics, names, strict=True):
        cls: type[Metric] = registry.get("metric", name).cls
        both = [number for number in cls.results if number in giver]
        if both:
            message = f"{name!r} gives {both[0]!r}, as {giver[both[0]]!r} before it does; keep one of them"
            problems.append(Problem(document.place(at), strict_yaml.dotted(at), message))
        giver |= dict.fromkeys(cls.results, name)
    section = document.data.get("eval")
    best = section.get("best") if isinstance(section, dict) else None
    if isinstance(best, str) and best not in giver:
        at = ("eval", "best")
        message = f"{best!r} is none of the numbers that these metrics give: {', '.join(giver)}"
        problems.append(Problem(document.place(at), strict_yaml.dotted(at), message + did_you_mean(best, list(giver))))
    return problems


def _fill_defaults(args: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """``args`` as written, then the constructor's defaults for the rest: what the run really used, for the record."""
    defaults = {
        key: copy.deepcopy(field.default) for key, field in model.model_fields.items() if not field.is_required()
    }
    return {**args, **{key: _plain(value) for key, value in defaults.items() if key not in args}}


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _with_defaults(recipe: Recipe, checked: dict[Path, dict[str, Any]]) -> Recipe:
    """The recipe with ``checked`` arguments in place of those that were written."""
    data = recipe.model_dump()
    for path, args in checked.items():
        component: Any = data
        for key in path:
            component = component[key]
        if isinstance(component, dict):  # the extractor is a name alone
            component["args"] = args
    return Recipe.model_validate(data)
