"""Speed and memory of `ganzoo eval` beside torch-fidelity's own command, as whole processes.

    python benchmarks/eval_speed.py --data ../shared/data/cifar10.zip --num 128 --rounds 3

Both compute FID and KID of the same two folders with the same Inception file, without anything cached, in turn; the
medians are printed. ganzoo also computes standard errors and keeps its features. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eval_equal import FIDELITY, write_folders
from random_inception import make_random_inception


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="any images of one size, at least twice --num")
    parser.add_argument("--num", type=int, default=128, help="images in each folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = make_random_inception(folder / "inception.pth")
        a, b = write_folders(args.data, args.num, folder)
        where = ["--gpu", "0"] if args.gpu else ["--cpu"]
        theirs = [sys.executable, "-c", FIDELITY, *where, "--silent", "--fid", "--kid", "--no-cache"]
        theirs += ["--feature-extractor", "inception-v3-compat", "--feature-extractor-weights-path", str(weights)]
        theirs += ["--kid-subset-size", str(min(1000, args.num)), "--input1", str(a), "--input2", str(b)]
        ours = [sys.executable, "-m", "ganzoo", "eval", str(a), "--data", str(b), "--fid", "--kid"]
        ours += ["--weights", str(weights), "--device", "cuda" if args.gpu else "cpu"]
        measured: dict[str, list[tuple[float, float]]] = {"torch-fidelity": [], "ganzoo": []}
        for i in range(args.rounds):
            measured["torch-fidelity"].append(run(theirs))
            measured["ganzoo"].append(run(ours, GANZOO_CACHE=str(folder / f"cache-{i}")))
    print(f"{'':<16}{'images/s':>10}{'peak memory':>14}   ({2 * args.num} images, {args.rounds} rounds, medians)")
    for name, runs in measured.items():
        seconds, peak = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:<16}{2 * args.num / seconds:>10.2f}{peak / 1e6:>11.0f} MB")


def run(command: list[str], **environment: str) -> tuple[float, float]:
    """(seconds, peak bytes of the process itself) of a command that must succeed."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.monotonic() - started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
