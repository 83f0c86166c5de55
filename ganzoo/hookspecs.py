"""Every hook that a ganzoo plugin may implement.

Adding an argument to a hook is compatible (an implementation may take fewer); removing or renaming one is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    import click

    from ganzoo.zoo import Model

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")


class Register(Protocol):
    """What a hook receives: call it once for every component, ``register("my-name", MyClass)``."""

    def __call__(self, name: str, cls: type) -> None: ...


class RegisterCommand(Protocol):
    """What the hook for commands receives: call it once for every command."""

    def __call__(self, name: str, command: click.Command) -> None: ...


class RegisterModel(Protocol):
    """What the hook for models receives: call it once for every GAN."""

    def __call__(self, model: Model) -> None: ...


@hookspec
def ganzoo_register_generators(register: Register) -> None:
    """Register Generator classes: ``register("progan", Generator)``. Called once, at start-up."""


@hookspec
def ganzoo_register_discriminators(register: Register) -> None:
    """Register Discriminator classes: ``register("progan", Discriminator)``."""


@hookspec
def ganzoo_register_losses(register: Register) -> None:
    """Register Loss classes: ``register("wgan-gp", WGANGPLoss)``."""


@hookspec
def ganzoo_register_regularizers(register: Register) -> None:
    """Register Regularizer classes: ``register("r1", R1)``."""


@hookspec
def ganzoo_register_augmentations(register: Register) -> None:
    """Register Augmentation classes: ``register("ada", AdaptiveAugmentation)``."""


@hookspec
def ganzoo_register_degradations(register: Register) -> None:
    """Register Degradation classes: ``register("grey", Grey)``."""


@hookspec
def ganzoo_register_growth_schedules(register: Register) -> None:
    """Register GrowthSchedule classes: ``register("fade", FadeSchedule)``."""


@hookspec
def ganzoo_register_extractors(register: Register) -> None:
    """Register Extractor classes: ``register("inception-v3-compat", InceptionV3)``."""


@hookspec
def ganzoo_register_metrics(register: Register) -> None:
    """Register Metric classes: ``register("fid", FrechetDistance)``."""


@hookspec
def ganzoo_register_datasets(register: Register) -> None:
    """Register Dataset classes: ``register("faces", CartoonFaces)``."""


@hookspec
def ganzoo_register_importers(register: Register) -> None:
    """Register Importer classes: ``register("progan-tf", TFImporter)``."""


@hookspec
def ganzoo_register_commands(register: RegisterCommand) -> None:
    """Register commands of ``ganzoo``: ``register("mix", command)`` with a click.Command.

    Called for ``ganzoo --help``, and for a command that core does not have. Import neither torch nor numpy before a
    command runs, or all of ``ganzoo --help`` becomes slow.
    """


@hookspec
def ganzoo_register_models(register: RegisterModel) -> None:
    """Declare the GANs that the plugin brings: ``register(ganzoo.Model(name="progan", ...))``.

    Called for ``ganzoo zoo`` alone. Import neither torch nor numpy here.
    """


@hookspec
def ganzoo_run_started(run_dir: Path, recipe: Mapping[str, Any], nimg: int) -> None:
    """Observe training: it begins in ``run_dir`` with ``recipe``, or goes on there from ``nimg`` images.

    Only the process of rank 0 calls this and the hooks below, never within a step. One that raises is reported, and its
    plugin not called again in this run.
    """


@hookspec
def ganzoo_tick(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Observe training once a tick. record: the line of stats.jsonl, see docs/architecture.md."""


@hookspec
def ganzoo_grid(run_dir: Path, nimg: int, path: Path) -> None:
    """A grid of samples was drawn after ``nimg`` images: the PNG ``path``."""


@hookspec
def ganzoo_evaluated(run_dir: Path, record: Mapping[str, Any]) -> None:
    """G_ema was measured. record: the line of metrics.jsonl, see docs/architecture.md."""


@hookspec
def ganzoo_run_ended(run_dir: Path) -> None:
    """Training is complete, or was stopped by a signal. Not called where an error ended it."""
