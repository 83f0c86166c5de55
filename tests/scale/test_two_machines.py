"""Two "machines", network namespaces with a cable between them, train together; one is cut off and comes back."""

import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest
from families import recipe_of

from ganzoo.plugins import load_plugins
from ganzoo.weights import content_digest, load_weights

STEPS = 120
ADDRESSES = ["10.213.77.1", "10.213.77.2"]


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check, timeout=30)


@pytest.fixture
def machines():
    """The names of two namespaces; the interface in each is called as its namespace."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        pytest.skip("needs Linux and iproute2")
    names = [f"gz{uuid.uuid4().hex[:6]}{side}" for side in "ab"]
    try:
        for name in names:
            made = ip("netns", "add", name, check=False)
            if made.returncode:
                pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
        cable = ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1],
                   "netns", names[1], check=False)  # fmt: skip
        if cable.returncode:
            pytest.skip(f"virtual cables are not permitted here: {cable.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            for interface in ("lo", name):
                ip("-n", name, "link", "set", interface, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)


def start(machine, address, recipe, outdir, log):
    """torchrun on one machine, its output in ``log``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": machine}
    return subprocess.Popen(
        [
            "ip", "netns", "exec", machine, sys.executable, "-m", "torch.distributed.run", "--nnodes=2",
            "--nproc-per-node=1", "--max-restarts=5", "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29511",
            # It would find out by names of machines, and these two have the same one.
            f"--rdzv-conf=is_host={int(address == ADDRESSES[0])}", "--rdzv-id=cable", f"--local-addr={address}",
            "-m", "ganzoo", "run", str(recipe), "--outdir", str(outdir),
            "--device=cpu", "--set", "train.checkpoint_kimg=0.08", "--set", "system.timeout=0.5",
        ],
        stdout=log, stderr=subprocess.STDOUT, env=environment,
    )  # fmt: skip


def reached(outdir):
    return max((int(p.stem.split("-")[1]) for p in outdir.glob("*/checkpoints/checkpoint-*")), default=0)


def snapshot_digest(outdir):
    (run_dir,) = (p for p in outdir.iterdir() if p.is_dir())
    (path,) = run_dir.glob("snapshots/snapshot-*.safetensors")
    return content_digest(load_weights(path)[0], {})


@pytest.mark.slow
@pytest.mark.skipif("progan" not in load_plugins().registry.names("generator"), reason="needs ganzoo-progan")
def test_a_machine_that_is_cut_off_comes_back(tmp_path, machines):
    recipe, outdir = tmp_path / "progan.yaml", tmp_path / "runs"
    recipe.write_text(recipe_of("progan", steps=STEPS))
    whole = [sys.executable, "-m", "ganzoo", "run", recipe, "--outdir", tmp_path / "whole", "--gpus=2", "--device=cpu"]
    subprocess.run(whole, check=True, capture_output=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})

    logs = [tmp_path / f"{name}.txt" for name in "ab"]

    def said():
        return "\n".join(log.read_text() for log in logs)

    with logs[0].open("w") as a, logs[1].open("w") as b:
        group = [
            start(machine, address, recipe, outdir, log)
            for machine, address, log in zip(machines, ADDRESSES, (a, b), strict=True)
        ]
        try:
            end = time.monotonic() + 600
            while not reached(outdir):
                assert all(p.poll() is None for p in group) and time.monotonic() < end, said()
                time.sleep(0.1)
            ip("-n", machines[1], "link", "set", machines[1], "down")
            stood_at = reached(outdir)
            end = time.monotonic() + 120
            while "no step was finished" not in said() and time.monotonic() < end:
                time.sleep(0.5)
            assert "no step was finished for 0.5 minutes" in said(), said()
            assert reached(outdir) <= stood_at + 160, "it went on alone"
            ip("-n", machines[1], "link", "set", machines[1], "up")
            for process in group:
                process.wait(timeout=900)
        finally:
            for process in group:
                if process.poll() is None:
                    process.kill()
                process.wait()
    assert [p.returncode for p in group] == [0, 0], said()
    assert "resumed from" in said() and f"done: kimg {STEPS * 8 / 1000:g}" in said()
    assert snapshot_digest(outdir) == snapshot_digest(tmp_path / "whole")
