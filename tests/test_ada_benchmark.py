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


def scaled(values: list[float], *factors: float) -> list[list[float]]:
    return [[value * factor for value in values] for factor in factors]


@pytest.mark.parametrize(
    ("with_ada", "without", "code", "said"),
    [
        (scaled(FALLS, 1, 1.1), scaled(RISES, 1, 1.2), 0, "rises without ADA: True; falls with ADA, and further: True"),
        # one run comes back, of two: the mean rises by less than twice its standard error
        (scaled(FALLS, 1, 1.1), [RISES, [*RISES[:7], 5.2, 5.1, 5.0, 4.9, 4.9]], 1, "rises without ADA: False"),
        (scaled(RISES, 1, 1.1), scaled(RISES, 1, 1.2), 1, "falls with ADA, and further: False"),
        # falls, but no further than without
        (scaled(FALLS, 1, 2), scaled(RISES, 1, 1.2), 1, "rises without ADA: True; falls with ADA, and further: False"),
    ],
)
def test_verdict(with_ada: list[list[float]], without: list[list[float]], code: int, said: str, tmp_path: Path) -> None:
    a = [run_of(tmp_path / f"with{i}", values) for i, values in enumerate(with_ada)]
    b = [run_of(tmp_path / f"without{i}", values) for i, values in enumerate(without)]
    picture = tmp_path / "ada.png"
    done = judge("--with", *a, "--without", *b, "--picture", picture)
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_is_judged_where_the_others_are_best(tmp_path: Path) -> None:
    """Each is at its lowest by chance, at another moment: flat curves do not rise from their own minimum."""
    flat = [[5.0] * 20 for _ in range(3)]
    for i, values in enumerate(flat):
        values[5 * i : 5 * i + 5] = [3.0] * 5
    a = [run_of(tmp_path / f"with{i}", [*FALLS, *FALLS]) for i in range(2)]
    b = [run_of(tmp_path / f"without{i}", values) for i, values in enumerate(flat)]
    assert "rises without ADA: False" in judge("--with", *a, "--without", *b).stdout


def test_what_came_after_the_end_is_left_out(tmp_path: Path) -> None:
    back = [*RISES, 3.0, 2.0, 1.0, 1.0, 1.0]
    a = [run_of(tmp_path / f"with{i}", values) for i, values in enumerate(scaled(FALLS, 1, 1.1))]
    b = [run_of(tmp_path / f"without{i}", values) for i, values in enumerate(scaled(back, 1, 1.2))]
    runs = ("--with", *a, "--without", *b)
    assert judge(*runs).returncode == 1
    assert judge(*runs, "--end", 120).returncode == 0


def test_too_little_is_not_judged(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "with", FALLS), run_of(tmp_path / "without", FALLS[:4])
    done = judge("--with", a, a, "--without", b, b)
    assert done.returncode == 1 and "4 evaluations are too few" in done.stderr
    done = judge("--with", a, "--without", a, "--picture", tmp_path / "ada.png")
    assert done.returncode == 1 and "no verdict on one run" in done.stderr
    assert (tmp_path / "ada.png").exists()


def judge(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
