"""Contract checks for plugin authors: call them from pytest.

Each check builds the class as core would, tries what ``ganzoo.interfaces`` promises of it, and raises AssertionError
with what is wrong and where the rule is written. All run on the CPU, in a second or so for small networks, under a
fixed seed, and leave torch's random state as it was.

    import my_plugin
    import pytest
    from ganzoo.testing import check_component, registered

    OPTIONS = {("generator", "mine"): {"args": {"z_dim": 16}, "resolutions": [4, 8, 16]}}

    @pytest.mark.parametrize("entry", registered(my_plugin), ids=lambda entry: f"{entry.kind} {entry.name}")
    def test_contract(entry):
        check_component(entry, **OPTIONS.get((entry.kind, entry.name), {}))
"""

from __future__ import annotations

from ganzoo.testing.datasets import check_dataset
from ganzoo.testing.evaluation import check_extractor, check_metric
from ganzoo.testing.extras import check_augmentation, check_degradation, check_regularizer
from ganzoo.testing.importers import check_importer
from ganzoo.testing.losses import check_loss
from ganzoo.testing.networks import check_discriminator, check_generator, check_translator
from ganzoo.testing.plugins import check_component, declared, registered
from ganzoo.testing.schedules import check_growth_schedule

__all__ = [
    "check_augmentation",
    "check_component",
    "check_dataset",
    "check_degradation",
    "check_discriminator",
    "check_extractor",
    "check_generator",
    "check_growth_schedule",
    "check_importer",
    "check_loss",
    "check_metric",
    "check_regularizer",
    "check_translator",
    "declared",
    "registered",
]
