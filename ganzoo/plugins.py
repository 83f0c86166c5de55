"""Find, load, check and isolate plugins: a broken one is named and left out, and the others work.

pluggy's own loader is not used for entry points: it lets a plugin that fails to import take the program with it
without a name, and silently drops the second of two plugins that share a name.
"""

from __future__ import annotations

import inspect
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

import ganzoo
from ganzoo import hookspecs
from ganzoo.errors import GanzooError, PluginError
from ganzoo.registry import Entry, Owner, Registry, constructor_parameters, did_you_mean
from ganzoo.zoo import Model, PluginModel

if TYPE_CHECKING:
    import click

GROUP = "ganzoo"
ENVIRONMENT = "GANZOO_LOAD_PLUGINS"

# Hook -> (kind, contract class by name in ganzoo.interfaces, which would import torch).
REGISTRATION_HOOKS = {
    "ganzoo_register_generators": ("generator", "Generator"),
    "ganzoo_register_discriminators": ("discriminator", "Discriminator"),
    "ganzoo_register_losses": ("loss", "Loss"),
    "ganzoo_register_regularizers": ("regularizer", "Regularizer"),
    "ganzoo_register_augmentations": ("augmentation", "Augmentation"),
    "ganzoo_register_degradations": ("degradation", "Degradation"),
    "ganzoo_register_growth_schedules": ("growth", "GrowthSchedule"),
    "ganzoo_register_datasets": ("dataset", "Dataset"),
    "ganzoo_register_extractors": ("extractor", "Extractor"),
    "ganzoo_register_metrics": ("metric", "Metric"),
    "ganzoo_register_importers": ("importer", "Importer"),
}


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that works, and what it brought."""

    name: str
    owner: Owner
    hooks: list[str]
    components: list[Entry]


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that was left out."""

    name: str
    owner: Owner
    reason: str

    def __str__(self) -> str:
        return f"{self.owner} (entry point {self.name!r}): {self.reason}"


@dataclass
class LoadedPlugins:
    """What ``load_plugins`` found."""

    manager: pluggy.PluginManager
    registry: Registry = field(default_factory=Registry)
    plugins: list[PluginInfo] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)


@dataclass(frozen=True)
class PluginCommand:
    """A command of ``ganzoo`` that a plugin brings."""

    name: str
    command: click.Command
    owner: Owner


@dataclass
class LoadedCommands:
    """What ``load_commands`` found. refused: by name, why a command is left out that two want to own."""

    commands: dict[str, PluginCommand] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failures: list[PluginFailure] = field(default_factory=list)


@dataclass
class LoadedModels:
    """What ``load_models`` found. refused: by name, why a model is left out that two plugins declare."""

    models: dict[str, PluginModel] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failures: list[PluginFailure] = field(default_factory=list)


Named = TypeVar("Named", PluginCommand, PluginModel)


@dataclass(frozen=True)
class Candidate:
    """A plugin before it is loaded: ``load`` imports it."""

    name: str
    owner: Owner
    load: Any


def load_plugins() -> LoadedPlugins:
    """Core's own components and every installed plugin, or those that GANZOO_LOAD_PLUGINS lists (empty = none).

    Never raises for a plugin's mistake: it lands in ``failures``. Raises PluginError if the variable names a plugin
    that is not installed.
    """
    return _load(_wanted())


def load_commands(taken: Iterable[str]) -> LoadedCommands:
    """The commands of the plugins that ``load_plugins`` would load; their components are not asked for.

    taken: names of core's commands. A name has one owner: core keeps its own, and one that two plugins register is
    neither's. Never raises for a plugin's mistake; raises PluginError as ``load_plugins`` does.
    """
    loaded = LoadedCommands()
    owners = {name: [Owner("ganzoo", ganzoo.__version__)] for name in taken}
    found = _collect_apart(_collect_commands, loaded.failures)
    loaded.commands, loaded.refused = _one_owner_each("command", found, owners)
    return loaded


def load_models() -> LoadedModels:
    """The GANs that the plugins which ``load_plugins`` would load declare; their components are not asked for.

    A name that two plugins declare is neither's. Never raises for a plugin's mistake; raises PluginError as
    ``load_plugins`` does.
    """
    loaded = LoadedModels()
    found = _collect_apart(_collect_models, loaded.failures)
    loaded.models, loaded.refused = _one_owner_each("model", found, {})
    return loaded


def make_plugin_manager(plugins: Mapping[str, object]) -> LoadedPlugins:
    """Core's own components and these plugins (modules, classes or objects with hook methods), by name; for tests.

    Raises PluginError if one of them is wrong.
    """
    loaded = _load([Candidate(name, Owner(name, "0"), lambda p=plugin: p) for name, plugin in plugins.items()])
    if loaded.failures:
        raise PluginError("\n".join(map(str, loaded.failures)))
    return loaded


def declared_models(plugin: object) -> list[Model]:
    """The GANs that one plugin declares; for tests. Raises PluginError if something is wrong with it."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return [
        entry.model for entry in _collect_models(manager, plugin, Candidate("checked", Owner("checked", "0"), None))
    ]


def installed() -> list[Candidate]:
    """Every entry point of the group ``ganzoo``, sorted by name; nothing is imported."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)
    unique = {(point.name, _owner(point)): point for point in points}  # a path listed twice shows everything twice
    return [Candidate(name, owner, point.load) for (name, owner), point in unique.items()]


def _wanted() -> list[Candidate]:
    """What is installed, or those that GANZOO_LOAD_PLUGINS lists."""
    found = installed()
    wanted = os.environ.get(ENVIRONMENT)
    if wanted is None:
        return found
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = [candidate.name for candidate in found]
    missing = [name for name in names if name not in known]
    if missing:
        raise PluginError(
            f"{ENVIRONMENT} names {', '.join(map(repr, missing))}, which is not installed; "
            f"installed: {', '.join(known) or 'none'}"
        )
    return [candidate for candidate in found if candidate.name in names]


def _load(candidates: Iterable[Candidate]) -> LoadedPlugins:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    loaded = LoadedPlugins(manager)

    from ganzoo import builtin

    _add(loaded, Candidate("core", Owner("ganzoo", ganzoo.__version__), None), builtin)
    if loaded.failures:
        raise PluginError(str(loaded.failures[0]))
    for candidate, plugin in _import_each(candidates, loaded.failures):
        _add(loaded, candidate, plugin)
    loaded.registry.unavailable = [str(failure) for failure in loaded.failures]
    return loaded


def _import_each(candidates: Iterable[Candidate], failures: list[PluginFailure]) -> Iterator[tuple[Candidate, object]]:
    """Each candidate with its module; one that cannot be imported, or shares its name, lands in ``failures``."""
    candidates = list(candidates)
    counts = Counter(candidate.name for candidate in candidates)
    for candidate in candidates:
        try:
            if counts[candidate.name] > 1:
                owners = " and ".join(str(c.owner) for c in candidates if c.name == candidate.name)
                raise PluginError(f"two owners of the entry point {candidate.name!r}: {owners}. Uninstall one of them")
            plugin = candidate.load()
        except (Exception, SystemExit) as error:
            failures.append(PluginFailure(candidate.name, candidate.owner, _reason(error)))
            continue
        yield candidate, plugin


def _collect_apart(
    collect: Callable[[pluggy.PluginManager, object, Candidate], list[Named]], failures: list[PluginFailure]
) -> Iterator[Named]:
    """What ``collect`` gets from each plugin by itself; one that fails lands in ``failures``."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for candidate, plugin in _import_each(_wanted(), failures):
        try:
            found = collect(manager, plugin, candidate)
        except (Exception, SystemExit) as error:
            failures.append(PluginFailure(candidate.name, candidate.owner, _reason(error)))
            continue
        yield from found


def _one_owner_each(
    kind: str, found: Iterable[Named], owners: dict[str, list[Owner]]
) -> tuple[dict[str, Named], dict[str, str]]:
    """By name, what has one owner, and why the others are refused. owners: of names that are taken already."""
    kept: dict[str, Named] = {}
    for entry in found:
        owners.setdefault(entry.name, []).append(entry.owner)
        kept[entry.name] = entry
    refused: dict[str, str] = {}
    for name in [name for name in kept if len(owners[name]) > 1]:
        first, *others = owners[name]
        del kept[name]
        refused[name] = (
            f"{kind} {name!r} of {' and '.join(map(str, others))} is also one of {first}: two owners of one name. "
            f"Uninstall one of them, or leave one out with {ENVIRONMENT}"
        )
    return kept, refused


def _add(loaded: LoadedPlugins, candidate: Candidate, plugin: object) -> None:
    """Register one plugin's components, all or none."""
    manager = loaded.manager
    try:
        if manager.register(plugin, candidate.name) is None:
            raise PluginError("blocked")
        hooks = [caller.name for caller in manager.get_hookcallers(plugin) or []]
        _refuse_misspelled_hooks(plugin, hooks)
        components = _collect(manager, plugin, candidate.owner)
        trial = Registry()  # a name taken twice inside the plugin itself
        for entry in components:
            trial.add(entry.kind, entry.name, entry.cls, entry.owner)
            if entry.name in loaded.registry.names(entry.kind):
                loaded.registry.add(entry.kind, entry.name, entry.cls, entry.owner)  # raises, naming both owners
    except (Exception, SystemExit) as error:
        if manager.has_plugin(candidate.name):
            manager.unregister(name=candidate.name)
        loaded.failures.append(PluginFailure(candidate.name, candidate.owner, _reason(error)))
        return
    for entry in components:
        loaded.registry.add(entry.kind, entry.name, entry.cls, entry.owner)
    loaded.plugins.append(PluginInfo(candidate.name, candidate.owner, sorted(hooks), components))


def _refuse_misspelled_hooks(plugin: object, hooks: Sequence[str]) -> None:
    known = [name for name in dir(hookspecs) if name.startswith("ganzoo_")]
    for hook in hooks:
        if hook not in known:
            raise PluginError(f"there is no hook {hook!r}; there are: {', '.join(known)}{did_you_mean(hook, known)}")
    for name in known:
        if name not in hooks and callable(getattr(plugin, name, None)):
            raise PluginError(f"{name} is not marked with @ganzoo.hookimpl, so it would never be called")


def _collect(manager: pluggy.PluginManager, plugin: object, owner: Owner) -> list[Entry]:
    """Ask this one plugin for its components, and check each against its contract."""
    from ganzoo.recipe.signature import args_model

    entries: list[Entry] = []
    for hook, (kind, contract) in REGISTRATION_HOOKS.items():

        def register(name: str, cls: type, *, kind: str = kind, contract: str = contract) -> None:
            check_component(kind, name, cls, contract)
            entry = Entry(kind, name, cls, owner)
            args_model(entry)  # raises if the annotations cannot be a schema
            entries.append(entry)

        _call_one(manager, plugin, hook, register)
    return entries


def _collect_commands(manager: pluggy.PluginManager, plugin: object, candidate: Candidate) -> list[PluginCommand]:
    """Ask this one plugin for its commands, and check each."""
    import click

    commands: dict[str, PluginCommand] = {}

    def register(name: str, command: click.Command) -> None:
        _check_name("command", name, "mix")
        if not isinstance(command, click.Command):
            raise PluginError(f"registers {command!r} as command {name!r}, which is no click.Command")
        if name in commands:
            raise PluginError(f"registers two commands {name!r}")
        commands[name] = PluginCommand(name, command, candidate.owner)

    _ask_apart(manager, plugin, candidate, "ganzoo_register_commands", register)
    return list(commands.values())


def _collect_models(manager: pluggy.PluginManager, plugin: object, candidate: Candidate) -> list[PluginModel]:
    """Ask this one plugin for the GANs that it declares; each has checked itself."""
    models: dict[str, PluginModel] = {}

    def register(model: Model) -> None:
        if not isinstance(model, Model):
            raise PluginError(f"registers {model!r} as a model, which is no ganzoo.Model")
        if model.name in models:
            raise PluginError(f"registers two models {model.name!r}")
        models[model.name] = PluginModel(model, candidate.owner)

    _ask_apart(manager, plugin, candidate, "ganzoo_register_models", register)
    return list(models.values())


def _ask_apart(manager: pluggy.PluginManager, plugin: object, candidate: Candidate, hook: str, register: Any) -> None:
    """Call one hook of a plugin that is not otherwise loaded."""
    if manager.register(plugin, candidate.name) is None:
        raise PluginError("blocked")
    _refuse_misspelled_hooks(plugin, [caller.name for caller in manager.get_hookcallers(plugin) or []])
    _call_one(manager, plugin, hook, register)


def _call_one(manager: pluggy.PluginManager, plugin: object, hook: str, register: Any) -> None:
    """Call a hook of one plugin, if it has it."""
    if any(caller.name == hook for caller in manager.get_hookcallers(plugin) or []):
        others = [p for p in manager.get_plugins() if p is not plugin]
        manager.subset_hook_caller(hook, others)(register=register)


def _check_name(kind: str, name: str, example: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise PluginError(f"registers the {kind} {name!r}: names are kebab-case, such as {example!r}")


def check_component(kind: str, name: str, cls: type, contract: str) -> None:
    """Raise PluginError if ``cls`` cannot be a component: see ``ganzoo.interfaces`` for what the contracts want."""
    from ganzoo import interfaces

    _check_name(kind, name, "wgan-gp")
    base = getattr(interfaces, contract)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginError(f"registers {cls!r} as {kind} {name!r}, which is no subclass of ganzoo.{contract}")
    where = f"{kind} {name!r} ({cls.__module__}.{cls.__qualname__})"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"{where} misses {', '.join(missing)}: ganzoo.{contract} declares it abstract")
    for parameter in constructor_parameters(cls).values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise PluginError(
                f"{where}: constructor argument {str(parameter).partition(':')[0]} is not keyword-only. The signature "
                "is the recipe's schema: def __init__(self, *, name: type = default, ...), without *args or **kwargs"
            )
        if parameter.annotation is inspect.Parameter.empty:
            raise PluginError(f"{where}: constructor argument {parameter.name!r} has no type annotation")


def _owner(point: metadata.EntryPoint) -> Owner:
    return Owner(point.dist.name, point.dist.version) if point.dist else Owner("unknown distribution", "?")


def _reason(error: BaseException) -> str:
    if isinstance(error, GanzooError):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error}"
