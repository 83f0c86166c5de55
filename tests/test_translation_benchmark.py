"""benchmarks/translation.py: what is held out, its numbers, and when it fails; nothing is trained."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganzoo.errors import DataError, GanzooError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location("translation", ROOT / "benchmarks" / "translation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["translation"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["translation"]


def emoji_zip(path, names):
    with zipfile.ZipFile(path, "w") as written:
        for i, name in enumerate(names):
            picture = io.BytesIO()
            Image.new("RGB", (4, 4), (i, i, i)).save(picture, "png")
            written.writestr(name, picture.getvalue())


def contents(path):
    with zipfile.ZipFile(path) as images:
        return {name: images.read(name) for name in images.namelist()}


def test_twins_are_held_out_together(benchmark, tmp_path):
    names = [f"people/emoji_u{0x1F400 + i:x}{end}.png" for i in range(30) for end in ("", "_1f3fb", "_1f3ff_200d_2640")]
    emoji_zip(tmp_path / "all.zip", names)
    train, held = tmp_path / "train.zip", tmp_path / "held.zip"
    assert benchmark.hold_out(tmp_path / "all.zip", train, held) == (84, 6)
    assert {benchmark.first_code_point(name) for name in contents(held)} == {"1f40b", "1f417"}
    assert {**contents(train), **contents(held)} == contents(tmp_path / "all.zip")
    before = train.read_bytes()
    benchmark.hold_out(tmp_path / "all.zip", train, held)
    assert train.read_bytes() == before  # a run can go on


def test_data_that_cannot_be_divided(benchmark, tmp_path):
    emoji_zip(tmp_path / "few.zip", ["emoji_u1f600.png"])
    with pytest.raises(DataError, match="too few emoji"):
        benchmark.hold_out(tmp_path / "few.zip", tmp_path / "a.zip", tmp_path / "b.zip")
    emoji_zip(tmp_path / "named.zip", ["smile.png"])
    with pytest.raises(DataError, match=r"smile\.png: is not named after its code points"):
        benchmark.hold_out(tmp_path / "named.zip", tmp_path / "a.zip", tmp_path / "b.zip")
    with pytest.raises(DataError, match="no zip that can be read"):
        benchmark.hold_out(tmp_path / "nowhere.zip", tmp_path / "a.zip", tmp_path / "b.zip")


def test_errors(benchmark):
    truth = np.full((2, 3, 4, 4), 100, np.uint8)
    source, output, hole = truth.copy(), truth.copy(), np.zeros((2, 1, 4, 4), bool)
    hole[0, :, :1], hole[1, :, :2] = True, True  # 4 and 8 of 16 pixels
    source[hole.repeat(3, 1)] = 0
    output[0] += 8
    output[1, :, :2] = 120
    found = benchmark.errors(benchmark.Triples(source, output, truth, hole))
    assert found["image"] == {"output": (8 + 20 / 2) / 2, "source": (25 + 50) / 2, "nearer": 1.0}
    assert found["hole"] == {"output": (8 + 20) / 2, "source": 100.0, "nearer": 1.0}
    found = benchmark.errors(benchmark.Triples(output[:1], source[:1], truth[:1]))
    assert found == {"image": {"output": 25.0, "source": 8.0, "nearer": 0.0}}


def test_a_picture_holds_source_output_and_truth_in_turn(benchmark):
    images = [np.full((13, 1, 32, 32), value, np.uint8) + np.arange(13, dtype=np.uint8)[:, None, None, None]
              for value in (0, 100, 200)]  # fmt: skip
    shown = np.asarray(benchmark.picture(benchmark.Triples(*images)).convert("L"))
    assert shown.shape == (3 * 96 + 2 * 12, 4 * 288 + 3 * 12)
    assert [shown[0, x] for x in (0, 96, 192, 290, 300)] == [0, 100, 200, 255, 1]
    assert shown[-1, -1] == 212  # the last one is there


@pytest.mark.parametrize(("output", "code"), [(9.9, 0), (10.0, 1)])
def test_exit_code(benchmark, monkeypatch, tmp_path, output, code):
    errors = {"image": {"output": 1.0, "source": 10.0}, "hole": {"output": output, "source": 10.0}}
    monkeypatch.setattr(benchmark, "run_all", lambda *_: [{"recipe": "inpaint_emoji_cpu", "errors": errors}])
    monkeypatch.setattr(sys, "argv", ["translation.py", "--data", "x", "--emoji", "y", "--out", str(tmp_path)])
    if code:
        with pytest.raises(SystemExit, match="no nearer to the truth than the source: inpaint_emoji_cpu"):
            benchmark.main()
    else:
        benchmark.main()


def test_what_is_finished_is_not_trained_again(benchmark, monkeypatch, tmp_path):
    calls = []

    def train(recipe, *, data, outdir, resume, overrides):
        calls.append(resume)
        run = outdir / "00000-run"
        run.mkdir(parents=True, exist_ok=True)
        (run / "recipe.yaml").write_text("")
        return SimpleNamespace(run_dir=run, signal=15 if len(calls) == 1 else None)

    monkeypatch.setattr(benchmark.ganzoo, "train", train)
    arguments = ("pix2pix_emoji_cpu", "pairs.zip", tmp_path / "one", "cpu")
    with pytest.raises(KeyboardInterrupt):
        benchmark.train(*arguments)
    run = tmp_path / "one" / "00000-run"
    assert benchmark.train(*arguments) == run and benchmark.train(*arguments) == run
    assert calls == [None, run]
    with pytest.raises(GanzooError, match="another recipe or data"):
        benchmark.train("pix2pix_emoji_cpu", "others.zip", tmp_path / "one", "cpu")


def test_docs(benchmark, monkeypatch, tmp_path):
    docs = tmp_path / "translation.md"
    docs.write_text((ROOT / "docs" / "translation.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(benchmark, "DOCS", docs)
    monkeypatch.setattr(benchmark, "PICTURES", tmp_path / "pictures")
    Image.new("RGB", (8, 8)).save(tmp_path / "inpaint_emoji_cpu.png")
    measured = {"output": 1.24, "source": 10.0, "nearer": 0.956}
    found = {"recipe": "inpaint_emoji_cpu", "test_images": 9, "errors": {"image": measured, "hole": measured}}
    machine = {"nimg": 40000, "seconds": 90.0, "device": "cpu", "threads": 1, "torch": "2"}
    for _ in range(2):  # what was there is replaced
        benchmark.write_docs(tmp_path, json.loads(json.dumps([{**found, **machine}])))
    text = docs.read_text(encoding="utf-8")
    assert text.count("| inpaint_emoji_cpu | 9 | 1.2 | 10.0 | 96% | 40,000 | 1.5 min |") == 1
    assert text.count("| ... within the hole | | 1.2 | 10.0 | 96% | | |") == 1
    assert (tmp_path / "pictures" / "inpaint_emoji_cpu.png").is_file()
