"""Core's own components, registered through the hooks that every plugin uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from ganzoo.hookspecs import Register


@hookimpl
def ganzoo_register_growth_schedules(register: Register) -> None:
    from ganzoo.growth import FixedSchedule

    register("fixed", FixedSchedule)


@hookimpl
def ganzoo_register_datasets(register: Register) -> None:
    from ganzoo.data.sources import CartoonFaces, FolderDataset, PackedDataset, ZipDataset

    register("faces", CartoonFaces)
    register("folder", FolderDataset)
    register("packed", PackedDataset)
    register("zip", ZipDataset)


@hookimpl
def ganzoo_register_extractors(register: Register) -> None:
    from ganzoo.evaluation.fidelity import extractor_classes
    from ganzoo.evaluation.small import SmallExtractor

    register("small", SmallExtractor)
    for name, cls in extractor_classes().items():
        register(name, cls)


@hookimpl
def ganzoo_register_metrics(register: Register) -> None:
    from ganzoo.evaluation import metrics
    from ganzoo.evaluation.ppl import PerceptualPathLength

    register("fid", metrics.FrechetInceptionDistance)
    register("kid", metrics.KernelInceptionDistance)
    register("isc", metrics.InceptionScore)
    register("prc", metrics.PrecisionRecall)
    register("ppl", PerceptualPathLength)
