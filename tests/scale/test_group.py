"""``ganzoo run --gpus`` and torchrun: processes that train together, and what becomes of them when one is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from families import recipe_of

from ganzoo.plugins import load_plugins
from ganzoo.weights import content_digest, load_weights

pytestmark = [
    pytest.mark.skipif("progan" not in load_plugins().registry.names("generator"), reason="needs ganzoo-progan"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
ON_CPU = ["--set", "system.device=cpu"]
STEPS = 40


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "progan.yaml"
    path.write_text(recipe_of("progan", steps=STEPS))  # JSON is YAML
    return path


def start(*command):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process, code=0):
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    return out, err


def ganzoo(*arguments):
    return start("ganzoo", "run", *arguments, *ON_CPU, "--set", "train.checkpoint_kimg=0.08")


def torchrun(*arguments):
    return start("torch.distributed.run", *arguments, *ON_CPU, "--set", "train.checkpoint_kimg=0.08")


def rank(process, number):
    """The process id of a rank that ``process`` has started."""
    for _ in range(600):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={number}".encode() in environment:
                return int(child)
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"no rank {number}")


def wait_for_checkpoint(process, outdir):
    for _ in range(15_000):  # five minutes: on a busy machine it takes one to start
        if any(outdir.glob("*/checkpoints/checkpoint-*")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no checkpoint")


def snapshot_hash(outdir):
    (run_dir,) = (p for p in outdir.iterdir() if p.is_dir())  # one folder, however often it was started
    tensors, _ = load_weights(max(run_dir.glob("snapshots/snapshot-*.safetensors")))
    return content_digest(tensors, {})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The hash of what two processes make of the recipe, when nobody interferes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "progan.yaml"
    path.write_text(recipe_of("progan", steps=STEPS))
    out, err = finish(ganzoo(path, "--outdir", folder / "runs", "--gpus", 2))
    assert out.count("done: kimg 0.32") == 1 and err == ""
    return snapshot_hash(folder / "runs")


def test_more_than_there_are_is_refused(recipe):
    _, err = finish(start("ganzoo", "run", recipe, "--gpus", 4096, "--set", "system.device=auto"), 2)
    assert "--gpus 4096: torch sees" in err and "system.device=cpu" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_mistake_is_told_once(recipe, tmp_path):
    _, err = finish(ganzoo(recipe, "--outdir", tmp_path / "runs", "--gpus", 3), 2)
    assert err.count("error:") == 1 and "a batch of 6 images does not split" in err and "starting again" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_killed_rank_restarts_the_group(recipe, tmp_path, undisturbed):
    process = ganzoo(recipe, "--outdir", tmp_path / "runs", "--gpus", 2)
    wait_for_checkpoint(process, tmp_path / "runs")
    os.kill(rank(process, 1), signal.SIGKILL)
    out, err = finish(process)
    assert "process 1 of 2 was killed by SIGKILL; starting again from the last checkpoint (1 of 3)" in err
    assert "resumed from" in out
    assert snapshot_hash(tmp_path / "runs") == undisturbed


@pytest.mark.slow
def test_a_rank_that_hangs_is_found(recipe, tmp_path, undisturbed):
    options = ["--outdir", tmp_path / "runs", "--gpus", 2, "--set", "system.timeout=0.2"]
    process = ganzoo(recipe, *options)
    wait_for_checkpoint(process, tmp_path / "runs")
    os.kill(rank(process, 1), signal.SIGSTOP)
    out, err = finish(process)
    assert "process 0: no step was finished for 0.2 minutes (system.timeout); the last one ended at kimg 0." in err
    assert "process 1 was last heard of" in err and "(this one) waits for others in" in err
    assert "starting again" in err and "resumed from" in out
    assert snapshot_hash(tmp_path / "runs") == undisturbed


@pytest.mark.slow
def test_a_signal_stops_the_group_and_it_goes_on(recipe, tmp_path, undisturbed):
    process = ganzoo(recipe, "--outdir", tmp_path / "runs", "--gpus", 2)
    wait_for_checkpoint(process, tmp_path / "runs")
    process.send_signal(signal.SIGTERM)
    out, err = finish(process, 143)
    assert "stopped by SIGTERM" in out and "Traceback" not in err
    finish(ganzoo(recipe, "--outdir", tmp_path / "runs", "--gpus", 2, "--resume"))
    assert snapshot_hash(tmp_path / "runs") == undisturbed


@pytest.mark.slow
def test_torchrun_restarts_into_the_same_folder(recipe, tmp_path, undisturbed):
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "ganzoo", "run"]
    process = torchrun(*options, recipe, "--outdir", tmp_path / "runs")
    wait_for_checkpoint(process, tmp_path / "runs")
    os.kill(rank(process, 1), signal.SIGKILL)
    out, _ = finish(process)
    assert "resumed from" in out
    assert snapshot_hash(tmp_path / "runs") == undisturbed


def test_a_group_takes_the_rule_where_one_process_would_measure(tmp_path):
    """A measured step of one process would wait for the others, which wait for what it chooses."""
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"
    command = [sys.executable, "-m", "ganzoo", "run", str(recipe), "--gpus", "2", "--device", "cpu", "--kimg", "0.016"]
    growth = "growth={name: fixed, args: {batch_size: 16, lr: 0.002}}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GANZOO_CACHE": str(tmp_path / "cache")}
    sizes = ["--set", growth, "--set", "data.source={name: faces, args: {num_images: 64}}"]
    done = subprocess.run(
        [*command, *sizes, "--outdir", str(tmp_path / "runs")],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (choices,) = (tmp_path / "runs").glob("*/choices.json")
    assert json.loads(choices.read_text())["32 px, batch 16"]["memory_format"] == "channels_last"
