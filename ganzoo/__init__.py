"""ganzoo: a plugin-based GAN zoo.

A plugin needs this one import: the contracts, ``hookimpl`` and the errors hang off it. They are looked up on first
use, so that ``import ganzoo`` (and ``ganzoo --help``) does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ganzoo.errors import CheckpointError, DataError, GanzooError, PluginError, RecipeError, RegistryError
from ganzoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from ganzoo import whole_batch
    from ganzoo.api import load_generator, train
    from ganzoo.interfaces import (
        Augmentation,
        Batch,
        Dataset,
        Degradation,
        Discriminator,
        Extractor,
        ForeignNetwork,
        ForeignWeights,
        Generator,
        GrowthSchedule,
        GrowthState,
        ImageSet,
        ImportedModel,
        Importer,
        Loss,
        Metric,
        Phase,
        Regularizer,
        StyleGenerator,
        Translator,
    )
    from ganzoo.recomputation import recompute
    from ganzoo.zoo import Model

__version__ = "0.1.0"

_MODULES = ["whole_batch"]
_LAZY = {
    "Augmentation": "ganzoo.interfaces",
    "Batch": "ganzoo.interfaces",
    "Dataset": "ganzoo.interfaces",
    "Degradation": "ganzoo.interfaces",
    "Discriminator": "ganzoo.interfaces",
    "Extractor": "ganzoo.interfaces",
    "ForeignNetwork": "ganzoo.interfaces",
    "ForeignWeights": "ganzoo.interfaces",
    "Generator": "ganzoo.interfaces",
    "GrowthSchedule": "ganzoo.interfaces",
    "GrowthState": "ganzoo.interfaces",
    "ImageSet": "ganzoo.interfaces",
    "ImportedModel": "ganzoo.interfaces",
    "Importer": "ganzoo.interfaces",
    "Loss": "ganzoo.interfaces",
    "Metric": "ganzoo.interfaces",
    "Model": "ganzoo.zoo",
    "Phase": "ganzoo.interfaces",
    "Regularizer": "ganzoo.interfaces",
    "StyleGenerator": "ganzoo.interfaces",
    "Translator": "ganzoo.interfaces",
    "load_generator": "ganzoo.api",
    "recompute": "ganzoo.recomputation",
    "train": "ganzoo.api",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"ganzoo.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'ganzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Augmentation",
    "Batch",
    "CheckpointError",
    "DataError",
    "Dataset",
    "Degradation",
    "Discriminator",
    "Extractor",
    "ForeignNetwork",
    "ForeignWeights",
    "GanzooError",
    "Generator",
    "GrowthSchedule",
    "GrowthState",
    "ImageSet",
    "ImportedModel",
    "Importer",
    "Loss",
    "Metric",
    "Model",
    "Phase",
    "PluginError",
    "RecipeError",
    "RegistryError",
    "Regularizer",
    "StyleGenerator",
    "Translator",
    "hookimpl",
    "load_generator",
    "recompute",
    "train",
    "whole_batch",
]
