"""benchmarks/ada_emoji.py says of two runs what their curves say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "ada_emoji.py"


def run_of(folder: Path, values: list[float]) -> Path:
    """A run folder with these KIDs at 10, 20, ... kimg."""
    folder.mkdir()
    ticks, metrics = [], []
    for i, value in enumerate(values, start=1):
        ticks.append({"nimg": i * 10_000, "augmentation": {"p": i / 100}})
        metrics.append({"nimg": i * 10_000, "results": [{"name": "kid", "value": value, "standard_error": 0.1}]})
    for name, records in (("stats", ticks), ("metrics", metrics)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return folder


FALLS = [9.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.4, 4.3, 4.2, 4.1]
RISES = [8.0, 6.0, 5.0, 5.1, 5.0, 5.1, 5.0, 7.0, 7.1, 7.2, 7.1, 7.0]


@pytest.mark.parametrize(
    ("with_ada", "without", "code", "said"),
    [
        (FALLS, RISES, 0, "rises without ADA: True; falls with ADA, and further: True"),
        (FALLS, [*RISES[:7], 5.2, 5.1, 5.0], 1, "rises without ADA: False"),
        (RISES, RISES, 1, "falls with ADA, and further: False"),
        (FALLS, [value - 1 for value in RISES], 1, "falls with ADA, and further: False"),
    ],
)
def test_verdict(with_ada: list[float], without: list[float], code: int, said: str, tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "with", with_ada), run_of(tmp_path / "without", without)
    picture = tmp_path / "ada.png"
    command = [sys.executable, str(SCRIPT), "--with", str(a), "--without", str(b), "--picture", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_short_runs_are_not_compared(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "with", FALLS), run_of(tmp_path / "without", FALLS[:4])
    command = [sys.executable, str(SCRIPT), "--with", str(a), "--without", str(b)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "4 evaluations are too few" in done.stderr
