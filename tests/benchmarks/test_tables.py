"""What progressive.py, cost.py and quality.py conclude from what they measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ganzoo.interfaces import Phase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import cost  # noqa: E402
import progressive  # noqa: E402
import quality  # noqa: E402

ONCE = ["--rounds", "1", "--seconds", "0"]
NETWORKS = ["data.img_resolution=8", "generator.args.fmap_max=8", "discriminator.args.fmap_max=8"]
SMALL = [part for one in NETWORKS for part in ("--set", one)]


def phase(resolution: int, start: int, end: int, fading: bool = False) -> Phase:
    return Phase(resolution=resolution, batch_size=4, start_nimg=start, end_nimg=end, fading=fading, g_lr=1.0, d_lr=1.0)


def test_growing_takes_the_time_of_its_phases_and_full_size_that_of_the_last():
    phases = [phase(4, 0, 2000), phase(8, 2000, 3000, fading=True), phase(8, 3000, 4000)]
    rows = progressive.table(phases, {(4, False, 4): 36.0, (8, True, 4): 144.0, (8, False, 4): 108.0})
    assert [row.grown_hours for row in rows] == pytest.approx([0.02, 0.06, 0.09])
    assert [row.full_hours for row in rows] == pytest.approx([0.06, 0.09, 0.12])
    assert [row.ratio for row in rows] == pytest.approx([3, 1.5, 4 / 3])


def test_growing_is_measured_on_the_steps_of_a_recipe(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ganzoo_progan")
    pytest.importorskip("matplotlib")
    out = tmp_path / "growing.json"
    files = ["--json", str(out), "--chart", str(tmp_path / "growing.png")]
    monkeypatch.setattr(sys, "argv", ["progressive.py", *ONCE, *SMALL, *files])
    progressive.main()
    rows = json.loads(out.read_text())["rows"]
    assert [(row["resolution"], row["fading"]) for row in rows] == [(4, False), (8, True), (8, False)]
    assert rows[-1]["end_kimg"] == 12_000
    assert "at full size take" in capsys.readouterr().out


def test_cost_is_measured_by_resolution_and_by_batch(tmp_path, monkeypatch):
    pytest.importorskip("ganzoo_progan")
    pytest.importorskip("matplotlib")
    out = tmp_path / "cost.json"
    files = ["--json", str(out), "--chart", str(tmp_path / "cost.png")]
    sizes = ["--batch", "4", "--by-batch", "8", "--batches", "4,8", "--precision", "fp32"]
    monkeypatch.setattr(sys, "argv", ["cost.py", *ONCE, *SMALL, *sizes, *files])
    cost.main()
    rows = json.loads(out.read_text())["rows"]
    assert [(row["resolution"], row["batch_size"]) for row in rows] == [(4, 4), (8, 4), (8, 8)]
    assert all(row["ms"] > row["floor_ms"] > 0 for row in rows)


def finished(folder: Path, fid: float, nimg: int = 9000) -> None:
    run = folder / "00000-some-run"
    run.mkdir(parents=True)
    records = [{"nimg": n, "results": [{"name": "fid", "value": v}]} for n, v in ((4000, 9.0), (nimg, fid))]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(("ways", "names"), [([], ("fp32", "bf16")), (["--ways", "a.b=false,true"], ("false", "true"))])
@pytest.mark.parametrize(("fast", "code"), [((2.5, 4.0), 0), ((3.5, 4.0), 1)])
def test_ways_differ_if_no_seed_of_one_is_within_the_range_of_the_other(
    tmp_path, monkeypatch, capsys, ways, names, fast, code
):
    for name, values in zip(names, ((2.0, 3.0), fast), strict=True):
        for seed, value in enumerate(values):
            finished(tmp_path / f"{name}-{seed}", value)
    monkeypatch.setattr(sys, "argv", ["quality.py", "--out", str(tmp_path), "--seeds", "2", "--kimg", "9", *ways])
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code == code
    assert ("DO NOT OVERLAP" in capsys.readouterr().out) == bool(code)


def test_a_run_that_has_not_come_to_its_end_is_not_compared(tmp_path, monkeypatch):
    for name in ("fp32-0", "bf16-0"):
        finished(tmp_path / name, 2.0, nimg=8000)
    monkeypatch.setattr(sys, "argv", ["quality.py", "--out", str(tmp_path), "--seeds", "1", "--kimg", "9"])
    with pytest.raises(SystemExit, match="not finished yet: fp32-0, bf16-0"):
        quality.main()
