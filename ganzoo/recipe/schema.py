"""A JSON schema of recipes, so that editors complete and check them while they are written."""

from __future__ import annotations

from typing import Any

from ganzoo.recipe.load import COMPONENTS, LISTS
from ganzoo.recipe.models import Recipe
from ganzoo.recipe.signature import args_model
from ganzoo.registry import Entry, Registry

_HOLDERS = {("data", "source"): "DataConfig", ("data", "inputs", "degrade"): "InputsConfig"}  # else the recipe itself


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of core's keys and of every component in ``registry``."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    for path, kind in COMPONENTS.items():
        choices = _choices(kind, registry, definitions)
        holder = definitions[_HOLDERS[path]] if path in _HOLDERS else schema
        optional = [{"type": "null"}] if path[-1] in ("source", "degrade", "augmentation") else []
        holder["properties"][path[-1]] = {"anyOf": [*choices, *optional]}
    for path, kind in LISTS.items():
        holder = definitions["EvalConfig"] if path[0] == "eval" else schema
        names = {"enum": registry.names(kind)}
        holder["properties"][path[-1]]["items"] = {"anyOf": [names, *_choices(kind, registry, definitions)]}
    definitions["EvalConfig"]["properties"]["extractor"] |= {"enum": registry.names("extractor")}
    schema["properties"] = {
        "extends": {"type": "string", "description": "another recipe, seen from this one, to start from"},
        **schema["properties"],
    }
    schema["required"] = []  # what a recipe leaves out, one that it extends may bring
    for section in definitions.values():
        if section.get("title") in ("DataConfig", "InputsConfig", "TrainConfig", "EvalConfig"):
            section.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ganzoo recipe", **_untitled(schema)}


def _choices(kind: str, registry: Registry, definitions: dict[str, Any]) -> list[dict[str, str]]:
    """References to every component of a kind, whose definitions are added."""
    for name in registry.names(kind):
        definitions[f"{kind}.{name}"] = _component(registry.get(kind, name), definitions)
    return [{"$ref": f"#/$defs/{kind}.{name}"} for name in registry.names(kind)]


def _component(entry: Entry, definitions: dict[str, Any]) -> dict[str, Any]:
    args = args_model(entry).model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(args.pop("$defs", {}))
    args.pop("required", None)
    return {
        "type": "object",
        "description": f"{entry.owner}: {(entry.cls.__doc__ or '').strip().partition(chr(10))[0]}",
        "properties": {"name": {"const": entry.name}, "args": args},
        "additionalProperties": False,
    }


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("title", None)
    return schema
