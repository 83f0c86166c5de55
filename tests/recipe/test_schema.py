"""The JSON schema says what the validation says, as far as a schema can."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ganzoo.plugins import load_plugins
from ganzoo.recipe import strict_yaml
from ganzoo.recipe.schema import recipe_schema

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    registry = load_plugins().registry
    if "progan" not in registry.names("generator"):
        pytest.skip("ganzoo-progan is not installed")
    schema = json.loads(json.dumps(recipe_schema(registry)))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def as_json(text):
    return json.loads(json.dumps(strict_yaml.read(text, "a.yaml").data))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_conforms(validator, path):
    validator.validate(as_json(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "sed: 1",
        "seed: one",
        "train: {total_kimg: 0}",
        "train: {tick: 1}",
        "data: {fit: squeeze}",
        "data: {source: {name: cats}}",
        "generator: {name: progam}",
        "generator: {name: progan, args: {fmap_bse: 3}}",
        "loss: {args: {target: high}}",
        "growth: {name: fade, args: {batch_size: {4: 0}}}",
    ],
)
def test_a_mistake_does_not(validator, text):
    assert not validator.is_valid(as_json(text))


def test_references_are_valid_uris(validator):
    references = [node for node in json.dumps(validator.schema).split('"') if node.startswith("#/")]
    assert references and all(" " not in reference for reference in references)
