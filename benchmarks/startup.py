"""How long it takes until something happens: imports, help, a dry run, the first step; beside `import torch` alone.

    python benchmarks/startup.py                      # 5 rounds
    python benchmarks/startup.py --rounds 9 --json startup.json

Every case is a process of its own; rounds are interleaved, and medians printed. Files are in the page cache after a
round that does not count. `first step` is a run of one step of recipes/quickstart.yaml, with its data
set packed before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; medians are printed")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        ganzoo, one_step = ["-m", "ganzoo"], ["--kimg", "0.001", "--outdir", folder, "--set", "train.grid=[1,1]"]
        cases = {
            "python alone": ["-c", "pass"],
            "import torch": ["-c", "import torch"],
            "import ganzoo": ["-c", "import ganzoo"],
            "ganzoo --help": [*ganzoo, "--help"],
            "ganzoo plugins": [*ganzoo, "plugins"],
            "ganzoo run --dry-run": [*ganzoo, "run", str(RECIPE), "--dry-run"],
            "first step": [*ganzoo, "run", str(RECIPE), "--device", "cpu", *one_step],
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(args.rounds + 1):
            for name, arguments in cases.items():
                taken = seconds([sys.executable, *arguments])
                if turn:
                    times[name].append(taken)
    table = {name: statistics.median(values) for name, values in times.items()}
    print(f"median of {args.rounds} interleaved rounds, {os.cpu_count()} CPUs\n")
    print(f"{'':<22s}{'seconds':>8s}{'import torch = 1':>18s}")
    for name, taken in table.items():
        print(f"{name:<22s}{taken:>8.2f}{taken / table['import torch']:>18.2f}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
