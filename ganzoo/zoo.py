"""The GANs that are installed, as plugins declare them: whose each is, from which paper, and which recipes train it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ganzoo.errors import PluginError, printable
from ganzoo.registry import Owner


@dataclass(frozen=True)
class Model:
    """A GAN of the zoo: what ``ganzoo zoo`` shows of it, registered by ``ganzoo_register_models``.

    name: kebab-case, one owner a name. family: the group it is listed in. title: of the paper. authors: short, as
    'Karras et al.'. year: as the paper is cited. url: of the paper, arXiv's page if there is one. recipes: names of
    recipes that train it, without '.yaml'; empty if there is none. Raises PluginError, naming the field, for anything
    else.
    """

    name: str
    family: str
    title: str
    authors: str
    year: int
    url: str
    recipes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("name", "family", "title", "authors", "url"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip() or "|" in value or "\n" in value:
                raise self._wrong(field, "a line of text without '|'")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise self._wrong("name", "kebab-case, such as 'wgan-gp'")
        if not isinstance(self.year, int) or not 1900 <= self.year <= 2100:
            raise self._wrong("year", "a year, such as 2018")
        if not re.fullmatch(r"https?://[^\s()]+", self.url):
            raise self._wrong("url", "an address, such as 'https://arxiv.org/abs/1710.10196'")
        if not isinstance(self.recipes, tuple) or not all(
            isinstance(recipe, str) and re.fullmatch(r"[\w-]+", recipe) for recipe in self.recipes
        ):
            raise self._wrong("recipes", "a tuple of names of recipes without '.yaml', such as ('progan_cifar10',)")

    def _wrong(self, field: str, wanted: str) -> PluginError:
        return PluginError(f"model {self.name!r}: {field} must be {wanted}, not {getattr(self, field)!r}")


@dataclass(frozen=True)
class PluginModel:
    """A model and the distribution that declares it."""

    model: Model
    owner: Owner

    @property
    def name(self) -> str:
        return self.model.name

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self.model), "dist": self.owner.dist, "version": self.owner.version}


def by_family(models: Iterable[PluginModel]) -> dict[str, list[PluginModel]]:
    """Families by the year of their first paper, then by name; in each, models in that order."""
    ordered = sorted(models, key=lambda entry: (entry.model.year, entry.name))
    first: dict[str, int] = {}
    for entry in ordered:
        first.setdefault(entry.model.family, entry.model.year)
    return {
        family: [entry for entry in ordered if entry.model.family == family]
        for family in sorted(first, key=lambda family: (first[family], family))
    }


def markdown(models: Iterable[PluginModel]) -> str:
    """A table, one GAN a row."""
    rows = ["| GAN | family | paper | recipes |", "|---|---|---|---|"]
    for family, entries in by_family(models).items():
        for entry in entries:
            model = entry.model
            recipes = ", ".join(f"`{recipe}`" for recipe in model.recipes)
            paper = f"[{model.title}]({model.url}), {model.authors} {model.year}"
            rows.append(printable(f"| `{model.name}` | {family} | {paper} | {recipes} |"))
    return "\n".join(rows)
