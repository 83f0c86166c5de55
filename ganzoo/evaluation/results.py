"""What an evaluation found, with everything that it depends on, as files that can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ganzoo.errors import DataError
from ganzoo.files import write_text

FORMAT = "ganzoo-evaluation/1"
LARGE = 2.0  # standard errors beyond which a difference is called real

# What must be the same for two numbers to mean the same; with the words for it.
PROTOCOL = {
    "metric": "metric",
    "settings": "settings of the metric",
    "extractor": "extractor",
    "weights_hash": "weights of the extractor",
    "layer": "layer of the extractor",
    "extractor_resize": "resizing inside the extractor",
    "num_fake": "number of generated images",
    "num_real": "number of real images",
    "resolution": "resolution",
    "channels": "channels",
    "resize": "resizing of the images",
    "background": "background of transparent images",
    "data_fingerprint": "real images",
}


@dataclass(frozen=True)
class Result:
    """One number.

    name: of the number; metric: of the metric that gave it, which may give several. standard_error: None if there are
    too few images to tell. extractor, weights_hash, layer, extractor_resize: empty for metrics without one.
    data, data_fingerprint: of the real images as measured; empty for metrics without. subject_hash: of the snapshot, or
    of the images in its place. resize: what was done to (generated; real) images before measuring. seed: of the first
    generated image, None for images that are not generated here.
    """

    name: str
    value: float
    standard_error: float | None
    lower_is_better: bool
    metric: str
    settings: dict[str, Any]
    extractor: str
    weights_hash: str
    layer: str
    extractor_resize: str
    num_fake: int
    num_real: int
    resolution: int
    channels: int
    resize: str
    background: str
    data: str
    data_fingerprint: str
    subject: str
    subject_hash: str
    seed: int | None
    versions: dict[str, str] = field(default_factory=dict)


def to_json(results: Sequence[Result]) -> str:
    """All fields of every result."""
    return json.dumps({"format": FORMAT, "results": [asdict(result) for result in results]}, indent=1)


def save_results(path: Path, results: Sequence[Result]) -> None:
    """Write ``to_json``, whole or not at all."""
    write_text(path, to_json(results) + "\n")


def load_results(path: Path) -> list[Result]:
    """Raises DataError if ``path`` is no file of ``save_results``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(f"{path}: is of format {content['format']}; this ganzoo reads {FORMAT}")
        wanted = {f.name for f in fields(Result)}
        return [Result(**{key: value for key, value in entry.items() if key in wanted}) for entry in content["results"]]
    except FileNotFoundError as problem:
        raise DataError(f"{path}: no such file; `ganzoo eval ... --out {path.name}` writes one") from problem
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        if isinstance(problem, DataError):
            raise
        raise DataError(f"{path}: holds no results of `ganzoo eval` ({problem})") from problem


@dataclass(frozen=True)
class Comparison:
    """The second value against the first. error: of their difference; None if one has none."""

    a: Result
    b: Result
    difference: float
    error: float | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.error is None:
            return "no standard errors, so nobody can tell"
        if abs(self.difference) <= LARGE * self.error:
            return f"within {LARGE:g} standard errors: no difference to speak of"
        better = (self.difference < 0) == self.a.lower_is_better
        times = "" if self.error == 0 else f" by {abs(self.difference) / self.error:.1f} standard errors"
        return f"the second is {'better' if better else 'worse'}{times}"


def compare(a: Sequence[Result], b: Sequence[Result], names: tuple[str, str]) -> list[Comparison]:
    """Every number that both have, side by side.

    names: of the two, for messages. Raises DataError if they have none in common, or were measured in ways that differ:
    the message says in what.
    """
    pairs = [(x, y) for x in a for y in b if x.name == y.name]
    if not pairs:
        have = "; ".join(f"{name} has {', '.join(r.name for r in of)}" for name, of in zip(names, (a, b), strict=True))
        raise DataError(f"there is nothing to compare: {have}")
    unlike = [line for x, y in pairs for line in differences(x, y)]
    if unlike:
        raise DataError(
            f"{names[0]} and {names[1]} cannot be compared:\n"
            + "\n".join(f"  {line}" for line in unlike)
            + "\nMeasure both in the same way."
        )
    return [Comparison(x, y, y.value - x.value, _joint_error(x, y)) for x, y in pairs]


def differences(a: Result, b: Result) -> list[str]:
    """In what two measurements differ, so that their values cannot be compared."""
    return [
        f"{a.name}: {words}: {_short(getattr(a, key))} against {_short(getattr(b, key))}"
        for key, words in PROTOCOL.items()
        if getattr(a, key) != getattr(b, key)
    ]


def table(results: Sequence[Result]) -> str:
    """For people: a line a number."""
    width = max(len(result.name) for result in results)
    lines = []
    for r in results:
        error = "" if r.standard_error is None else f" ± {r.standard_error:.2g}"
        arrow = "lower is better" if r.lower_is_better else "higher is better"
        lines.append(f"{r.name:<{width}}  {r.value:.6g}{error}  ({arrow})")
    return "\n".join(lines)


def protocol(results: Sequence[Result]) -> str:
    """For people: how the numbers were measured, each way once."""
    return "\n".join(dict.fromkeys(_protocol_of(result) for result in results))


def _protocol_of(r: Result) -> str:
    against = f" against {r.num_real:,} of {r.data} ({r.data_fingerprint[:8]})" if r.num_real else ""
    network = f"; {r.extractor} ({r.weights_hash[:8]}), layer {r.layer}" if r.extractor else ""
    settings = "".join(f", {key} {value}" for key, value in r.settings.items())
    return (
        f"{r.metric}{settings}: {r.num_fake:,} of {r.subject}{against}, {r.resolution} px, "
        f"{'grey' if r.channels == 1 else 'RGB'}, resized: {r.resize}{network}"
    )


def _joint_error(a: Result, b: Result) -> float | None:
    if a.standard_error is None or b.standard_error is None:
        return None
    return (a.standard_error**2 + b.standard_error**2) ** 0.5


def _short(value: object) -> str:
    text = str(value) if value != "" else "none"
    return text if len(text) <= 40 or " " in text else text[:12] + "..."
