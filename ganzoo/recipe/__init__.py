"""Recipes: one YAML file describes one training run, and is checked whole before anything is built."""

from ganzoo.recipe.load import dump_recipe, load_recipe, parse_recipe
from ganzoo.recipe.models import (
    Component,
    DataConfig,
    EvalConfig,
    InputsConfig,
    OptimizerConfig,
    Recipe,
    SystemConfig,
    TrainConfig,
)

__all__ = [
    "Component",
    "DataConfig",
    "EvalConfig",
    "InputsConfig",
    "OptimizerConfig",
    "Recipe",
    "SystemConfig",
    "TrainConfig",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
]
