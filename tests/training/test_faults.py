"""What befalls a run from outside, done to a real process: kill -9, signals, a full disk, several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ganzoo.weights import read_metadata

RUN_TINY = Path(__file__).parent / "run_tiny.py"
LONG = ["--set", "train.total_kimg=1.6", "--set", "train.keep_checkpoints=2"]


def start(*args, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(RUN_TINY), *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    return out, err


def wait_for(process, what, seconds=60.0):
    """Until ``what()`` is true, or the process has ended."""
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def hash_of_snapshot(outdir):
    path = max(outdir.glob("*/snapshots/snapshot-*.safetensors"))
    return read_metadata(path)["sha256"]


def test_killed_three_times_and_resumed_it_ends_with_the_same_hash(tmp_path):
    finish(start(tmp_path / "whole", *LONG))
    outdir, run_dir = tmp_path / "killed", tmp_path / "killed" / "00000-tiny-faces"
    rng = np.random.default_rng()  # moments that nobody chose
    for attempt in range(3):
        process = start(outdir, *LONG, *(["--resume", run_dir] if attempt else []))
        reached = len(_checkpoints_ever(run_dir))
        wait_for(process, lambda reached=reached: len(_checkpoints_ever(run_dir)) > reached)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    finish(start(outdir, *LONG, "--resume", run_dir))
    assert hash_of_snapshot(outdir) == hash_of_snapshot(tmp_path / "whole")
    assert not list(run_dir.rglob("*.tmp*"))


def _checkpoints_ever(run_dir):
    """Every checkpoint seen so far, pruned ones too: their names only grow."""
    newest = max((int(p.stem.split("-")[1]) for p in run_dir.glob("checkpoints/checkpoint-*")), default=0)
    return range(newest)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number, code):
    process = start(tmp_path, *LONG)
    run_dir = tmp_path / "00000-tiny-faces"
    wait_for(process, lambda: any(run_dir.glob("checkpoints/checkpoint-*")))
    process.send_signal(number)
    out, err = finish(process, code)
    assert f"stopped by {signal.Signals(number).name} at kimg" in out
    assert out.rstrip().endswith(f"Go on with: ganzoo run --resume {run_dir}")
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_disk_that_takes_no_more_ends_the_run_with_2_and_loses_nothing(tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    finish(start(tmp_path, "--set", "train.total_kimg=0.04", "--set", "train.grid=[1, 1]"))
    (run_dir,) = tmp_path.iterdir()
    before = {p.name: p.read_bytes() for p in (run_dir / "checkpoints").iterdir()}
    assert max(map(len, before.values())) > 60_000
    _, err = finish(start(tmp_path, "--resume", run_dir, preexec_fn=limit), code=2)
    assert "cannot be written" in err and "Free some space" in err and "Traceback" not in err
    assert {p.name: p.read_bytes() for p in (run_dir / "checkpoints").iterdir()} == before
    finish(start(tmp_path, "--resume", run_dir))


def test_an_outdir_that_cannot_be_made_ends_with_2(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    _, err = finish(start(tmp_path / "file"), code=2)
    assert "file: " in err and "Traceback" not in err


def test_two_processes_train_share_and_resume_exactly(tmp_path):
    """torchrun's way: each rank has its own share of images and latents; rank 0 alone writes."""

    def torchrun(*args):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        result = subprocess.run(
            [*command, str(RUN_TINY), *map(str, args)],
            capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    out = torchrun(tmp_path / "whole", "--set", "train.total_kimg=0.2")
    assert out.count("run folder:") == 1
    torchrun(tmp_path / "parts", "--set", "train.total_kimg=0.104")
    torchrun(tmp_path / "parts", "--set", "train.total_kimg=0.2", "--resume", tmp_path / "parts" / "00000-tiny-faces")
    (one,), (two,) = (
        list(tmp_path.glob(f"{name}/*/snapshots/snapshot-000000.safetensors")) for name in ("whole", "parts")
    )
    assert read_metadata(one)["sha256"] == read_metadata(two)["sha256"]
    told = [
        [{**json.loads(line), "timing": 0} for line in next((tmp_path / name).glob("*/stats.jsonl")).open()]
        for name in ("whole", "parts")
    ]
    # The tick in which the first part ended was told in two.
    later = [[tick for tick in ticks if tick["nimg"] > 128] for ticks in told]
    assert later[0] and later[0] == later[1]
