"""The contracts. A plugin implements these classes; the loop and the tools know nothing else.

Constructors are keyword-only, annotated, and take no ``**kwargs``: the signature is the recipe's schema. The names
``img_resolution``, ``img_channels``, ``c_dim`` and ``world_size`` are never written in a recipe's ``args``: core passes
them, taken from the data and the process group, to every constructor that declares them. So it does with
``in_channels`` (channels of the images to translate, 0 without) for players, and with ``paired`` (whether each of those
belongs to the real image beside it) for losses and regularizers. A constructor refuses a combination that the
annotations cannot express with a ``ValueError`` that says what would work.
"""

from __future__ import annotations

from ganzoo.interfaces.data import Dataset, Degradation
from ganzoo.interfaces.growth import GrowthSchedule, GrowthState, Phase
from ganzoo.interfaces.importing import ForeignNetwork, ForeignWeights, ImportedModel, Importer
from ganzoo.interfaces.metrics import Extractor, ImageSet, Metric
from ganzoo.interfaces.networks import Discriminator, Generator, Noise, StyleGenerator, Translator
from ganzoo.interfaces.objectives import Augmentation, Batch, Loss, Regularizer

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Degradation",
    "Discriminator",
    "Extractor",
    "ForeignNetwork",
    "ForeignWeights",
    "Generator",
    "GrowthSchedule",
    "GrowthState",
    "ImageSet",
    "ImportedModel",
    "Importer",
    "Loss",
    "Metric",
    "Noise",
    "Phase",
    "Regularizer",
    "StyleGenerator",
    "Translator",
]
