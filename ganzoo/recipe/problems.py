"""Validation errors in words: where, which key, what is wrong, what would work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ganzoo.recipe.models import OptimizerConfig
from ganzoo.recipe.strict_yaml import UNREAD, Document, Path, dotted
from ganzoo.registry import did_you_mean

_MOST = 100  # problems to tell of


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. place: ``file:line:column``."""

    place: str
    key: str
    message: str


def explain(
    error: ValidationError, document: Document, at: Path, model: type[BaseModel], whose: str = ""
) -> list[Problem]:
    """pydantic's errors for the part of ``document`` at ``at``, one problem a key."""
    data = document.data
    for key in at:
        data = data[key] if isinstance(data, list) else data.get(key, {})
    found: dict[Path, list[str]] = {}
    unread: set[Path] = set()
    for detail in error.errors(include_url=False)[: 2 * _MOST]:  # looking for the nearest name takes its time
        path = _keys(detail["loc"], data)
        if detail["type"] == "missing":
            path = (*path, detail["loc"][-1])
        if detail["input"] is UNREAD and detail["type"] != "extra_forbidden":
            unread.add(path)
        message = _message(detail, data, path, model)
        messages = found.setdefault(path, [])
        if message not in messages:
            messages.append(message)
    # A value that fits none of several types gives an error a type; the one that got furthest into it is the one meant.
    deepest = [path for path in found if not any(other[: len(path)] == path and other != path for other in found)]
    return [
        Problem(document.place((*at, *path)), dotted((*at, *path)) or "recipe", _join(found[path]) + whose)
        for path in deepest
        if path not in unread
    ]


def render(problems: Sequence[Problem]) -> str:
    """One line a problem, in the order of the files; 100 at most."""
    lines = {f"{p.place}: {p.key}: {p.message}" if p.key else f"{p.place}: {p.message}" for p in problems}
    ordered = sorted(lines, key=lambda line: [_natural(part) for part in re.split(r"(\d+)", line)])
    more = [f"... and {len(ordered) - _MOST} more"] if len(ordered) > _MOST else []
    return "\n".join([*ordered[:_MOST], *more])


def _natural(part: str) -> tuple[int, int, str]:
    number = part.lstrip("0")  # by length first: text may hold more digits than Python makes a number of
    return (0, len(number), number) if part.isdecimal() else (1, 0, part)


def _keys(loc: Sequence[Any], data: Any) -> Path:
    """pydantic's location without the names of union branches, which are no keys of the data."""
    path: list[Any] = []
    for part in loc:
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            path.append(part)
            data = data[part]
    return tuple(path)


def _join(messages: list[str]) -> str:
    if len(messages) == 1:
        return messages[0]
    starts = [re.sub(r"^must be ", "", m.split(", not ")[0]) for m in messages]
    tail = messages[0].split(", not ", 1)
    return f"must be {' or '.join(starts)}" + (f", not {tail[1]}" if len(tail) == 2 else "")


_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid dictionary": "a mapping",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a finite number": "a finite number",
}


def _message(detail: Any, data: Any, path: Path, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        allowed = _allowed(model, path[:-1], data)
        return f"no such key{did_you_mean(str(path[-1]), allowed) or '; there are: ' + (', '.join(allowed) or 'none')}"
    text = str(detail["msg"])
    if kind == "value_error":
        return text.removeprefix("Value error, ")
    if kind in ("model_type", "dict_type"):
        text = "Input should be a mapping"
    if kind in ("too_short", "too_long"):
        lengths = detail["ctx"]
        low, high = lengths.get("min_length"), lengths.get("max_length")
        wanted = f"at least {low}" if low is not None else f"at most {high}"
        return f"must have {wanted} entries, not {lengths['actual_length']}"
    if kind == "string_pattern_mismatch":
        text = f"Input should match {detail['ctx']['pattern']}"
    text = re.sub(r"^Input should be |^Input should ", "must be " if "should be" in text else "must ", text)
    for old, new in _WORDS.items():
        text = text.replace(old, new)
    text = text.replace(", unable to parse string as an integer", "").replace("must be match", "must match")
    return f"{text}, not {_shown(detail['input'])}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"the list {value!r}" if len(repr(value)) < 40 else "a list"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _allowed(model: Any, path: Path, data: Any) -> list[str]:
    """The keys of the section that ``path`` leads to, in a recipe of ``data``."""
    for key in path:
        field = model.model_fields.get(key) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return []
        options = [field.annotation, *get_args(field.annotation)]
        if model is OptimizerConfig and key == "args":  # one section for each optimiser
            options = [model.args_of(data.get("name"))]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        data = data.get(key) if isinstance(data, dict) else None
    return list(model.model_fields) if model is not None else []
