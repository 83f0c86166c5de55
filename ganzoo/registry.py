"""(kind, name) -> class and owner. Recipes select by name; a name has one owner."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from ganzoo.errors import RegistryError

KINDS = (
    "generator",
    "discriminator",
    "loss",
    "regularizer",
    "augmentation",
    "degradation",
    "growth",
    "dataset",
    "extractor",
    "metric",
    "importer",
)


@dataclass(frozen=True)
class Owner:
    """The distribution that registered a component."""

    dist: str
    version: str

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


@dataclass(frozen=True)
class Entry:
    """One registered component."""

    kind: str
    name: str
    cls: type
    owner: Owner


class Registry:
    """All components that recipes can name.

    ``unavailable`` holds a sentence for every plugin that failed to load: whoever asks for a name that is not here is
    told that it may be theirs.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self.unavailable: list[str] = []

    def add(self, kind: str, name: str, cls: type, owner: Owner) -> None:
        """Register ``cls``. Raises RegistryError, naming both owners, if the name is taken."""
        taken = self._entries.get((kind, name))
        if taken is not None:
            raise RegistryError(
                f"{kind} {name!r} of {owner} is already registered by {taken.owner}: "
                "two owners of one name. Uninstall one of them, or leave one out with GANZOO_LOAD_PLUGINS"
            )
        self._entries[kind, name] = Entry(kind, name, cls, owner)

    def get(self, kind: str, name: str) -> Entry:
        """The component of that name. Raises RegistryError with what there is, and the nearest name."""
        try:
            return self._entries[kind, name]
        except KeyError:
            raise RegistryError(self.unknown(kind, name)) from None

    def unknown(self, kind: str, name: str) -> str:
        """What to tell somebody who asked for a name that is not here."""
        names = self.names(kind)
        near = did_you_mean(name, names)
        message = f"no {kind} is called {name!r}; installed: {', '.join(names) or 'none'}{near}"
        if self.unavailable:
            message += f"; or is it of a plugin that failed to load: {'; '.join(self.unavailable)}"
        elif not near:
            message += "; is the plugin that brings it installed? `ganzoo plugins` lists those that are"
        return message

    def names(self, kind: str) -> list[str]:
        """Names of one kind, sorted."""
        return sorted(name for k, name in self._entries if k == kind)

    def entries(self) -> list[Entry]:
        """Everything, by kind and name."""
        return sorted(self._entries.values(), key=lambda e: (KINDS.index(e.kind), e.name))


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The parameters of the class's constructor, without ``self``."""
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    return dict(list(inspect.signature(cls.__init__).parameters.items())[1:])  # type: ignore[misc]


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """'; did you mean ...?', or an empty string if nothing is near."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
