"""From a plugin to the check of each component that it registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganzoo.interfaces import Translator
from ganzoo.plugins import declared_models, make_plugin_manager
from ganzoo.registry import Entry
from ganzoo.testing.datasets import check_dataset
from ganzoo.testing.evaluation import check_extractor, check_metric
from ganzoo.testing.extras import check_augmentation, check_degradation, check_regularizer
from ganzoo.testing.importers import check_importer
from ganzoo.testing.losses import check_loss
from ganzoo.testing.networks import check_discriminator, check_generator, check_translator
from ganzoo.testing.schedules import check_growth_schedule
from ganzoo.zoo import Model

_CHECKS: dict[str, Callable[..., None]] = {
    "generator": check_generator,
    "discriminator": check_discriminator,
    "loss": check_loss,
    "regularizer": check_regularizer,
    "augmentation": check_augmentation,
    "degradation": check_degradation,
    "growth": check_growth_schedule,
    "dataset": check_dataset,
    "extractor": check_extractor,
    "metric": check_metric,
    "importer": check_importer,
}


def registered(plugin: object) -> list[Entry]:
    """Every component that ``plugin`` (a module, or an object with hook methods) registers, by kind and name.

    Raises PluginError for what would make core leave the plugin out: unknown hooks, bad names, bad constructors.
    """
    loaded = make_plugin_manager({"checked": plugin})
    return next(info.components for info in loaded.plugins if info.name == "checked")


def declared(plugin: object) -> list[Model]:
    """Every GAN that ``plugin`` declares for ``ganzoo zoo``, in order.

    Raises PluginError for what would leave them out of the list, as wrong fields or a name given twice.
    """
    return declared_models(plugin)


def check_component(entry: Entry, **options: Any) -> None:
    """Run the check of the entry's kind; options are that check's keyword arguments. Raises AssertionError.

    A generator that is a Translator gets ``check_translator``.
    """
    check = check_translator if issubclass(entry.cls, Translator) else _CHECKS[entry.kind]
    check(entry.cls, **options)
