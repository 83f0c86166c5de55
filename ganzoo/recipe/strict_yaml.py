"""YAML without its surprises, every value with the place it was written at.

Plain scalars are read as YAML 1.2's core schema says: ``1e-3`` is a number, ``no`` and ``on`` are text, ``1:30`` is not
90. Duplicate keys, anchors, merge keys and tags are refused: each hides what a recipe says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from ganzoo.errors import RecipeError

Path = tuple[Any, ...]

_MAX_CHARACTERS = 250_000
MAX_DEPTH = 50  # of mappings and lists in each other; recipes need seven
_TOO_LARGE = 2**63
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (PyYAML's own way)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


_TAGS = ("map", "seq", "str", *(tag for tag, _, _ in _SCALARS))

for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"^(?:{_pattern})$"), _first)


UNREAD: Any = object()  # stands for a value that is among the problems already: it needs no second one


@dataclass
class Document:
    """Plain data, and where each part of it was written: ``places[("train", "total_kimg")] == "a.yaml:9:10"``.

    ``problems`` are (place, dotted key, message), found while reading.
    """

    data: dict[Any, Any] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """Where ``path`` was written, or the nearest thing around it that was."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "recipe")


def read(text: str, filename: str) -> Document:
    """Parse a recipe. Raises RecipeError if it is no YAML, or not a mapping."""
    document = Document(places={(): f"{filename}:1:1"})
    root = _compose(text, filename)
    if root is None:
        raise RecipeError(f"{filename}:1:1: the recipe is empty")
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{_place(root, filename)}: a recipe is a mapping of keys to values, such as `seed: 1`")
    data = _Reader(document, filename).value(root, ())
    document.data = {} if data is UNREAD else data
    return document


def read_value(text: str, where: str) -> Document:
    """Parse one value, as given to ``--set key=value``; ``data[None]`` holds it."""
    document = Document(places={(): where})
    root = _compose(text, where)
    value = None if root is None else _Reader(document, where, fixed=True).value(root, ())
    document.data = {None: value}
    return document


def dump(data: dict[str, Any]) -> str:
    """YAML text that ``read`` turns into ``data`` again."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _compose(text: str, filename: str) -> yaml.Node | None:
    if len(text) > _MAX_CHARACTERS:
        raise RecipeError(f"{filename}: {len(text):,} characters are more than a recipe can need")
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{filename}:{mark.line + 1}:{mark.column + 1}" if mark else filename
        raise RecipeError(f"{place}: no valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{filename}: no valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise RecipeError(f"{filename}: nested too deeply to be a recipe") from None


class _Reader:
    """Nodes to plain data."""

    def __init__(self, document: Document, filename: str, *, fixed: bool = False) -> None:
        self._document, self._filename, self._fixed = document, filename, fixed
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._document.places.setdefault(path, self._place(node))
        if len(path) > MAX_DEPTH:
            self._problem(node, path[:2], f"nested more than {MAX_DEPTH} deep")
            return UNREAD
        if id(node) in self._seen:
            self._problem(node, path, "anchors and aliases (&, *) are not read; write it out, or use `extends`")
            return UNREAD
        self._seen.add(id(node))
        if node.tag.removeprefix(_PREFIX) not in _TAGS:
            self._problem(node, path, f"tags ({node.tag}) are not read; write plain text or a number")
            return UNREAD
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        data: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if key is UNREAD:
                continue
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                self._problem(key_node, path, f"{key_node.value!r} cannot be a key; keys are text or whole numbers")
                continue
            if key == "<<":
                self._problem(key_node, path, "merge keys (<<) are not read; use `extends`")
                continue
            if key in data:
                self._problem(key_node, (*path, key), "is given twice; keep one")
                continue
            below = (*path, key)
            self._document.places[below] = self._place(key_node)
            data[key] = self.value(value_node, below)
        return data

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        tag = node.tag.removeprefix(_PREFIX)
        text = node.value
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int":
            digits = text.lstrip("+-")
            base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
            number = int(text, base) if len(digits) <= 30 else _TOO_LARGE
            if abs(number) >= _TOO_LARGE:
                self._problem(node, path, "a number that does not fit into 64 bits")
                return UNREAD
            return number
        if tag == "float":
            return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        return text

    def _place(self, node: yaml.Node) -> str:
        return self._filename if self._fixed else _place(node, self._filename)

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        self._document.problems.append((self._place(node), dotted(path), message))


def dotted(path: Path) -> str:
    """('growth', 'args', 'lr', 4) -> 'growth.args.lr.4'"""
    return ".".join(map(str, path))


def _place(node: yaml.Node, filename: str) -> str:
    return f"{filename}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
