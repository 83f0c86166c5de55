"""The promise of exact resume, on the real command and a real recipe."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganzoo.plugins import load_plugins
from ganzoo.weights import read_metadata

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.yaml"
# Into the fade from 8 to 16 px, with mirroring and a reader that works ahead.
OPTIONS = ["--kimg", "6.5", "--set", "growth.args.stable_kimg=1", "--set", "growth.args.fade_kimg=2"]
OPTIONS += ["--set", "train.checkpoint_kimg=0.3", "--set", "data.source.args.num_images=500"]


def start(*args):
    command = [sys.executable, "-m", "ganzoo", "run", *map(str, args), *OPTIONS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out


def snapshot_hash(outdir):
    (path,) = outdir.glob("*/snapshots/*.safetensors")
    return read_metadata(path)["sha256"]


@pytest.mark.slow
@pytest.mark.skipif("progan" not in load_plugins().registry.names("generator"), reason="needs ganzoo-progan")
def test_killed_three_times_quickstart_ends_with_the_same_snapshot(tmp_path):
    finish(start(RECIPE, "--outdir", tmp_path / "whole"))
    run_dir = tmp_path / "killed" / "00000-quickstart-faces"
    checkpoints = run_dir / "checkpoints"
    for attempt in range(3):
        seen = {p.name for p in checkpoints.glob("checkpoint-*")}
        process = start(*(["--resume", run_dir] if attempt else [RECIPE, "--outdir", tmp_path / "killed"]))
        while not {p.name for p in checkpoints.glob("checkpoint-*")} - seen:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1))
        process.kill()
        process.communicate()
    out = finish(start("--resume", run_dir))
    assert "resumed from" in out
    assert snapshot_hash(tmp_path / "killed") == snapshot_hash(tmp_path / "whole")
