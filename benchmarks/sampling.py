"""Images per second of generation, beside a peer's.

    python benchmarks/sampling.py                                     # benchmarks/progan_64.yaml: 64 px, batch 32
    python benchmarks/sampling.py --resolution 16 --resolution 64 --peer --memory-format channels_last,contiguous
    python benchmarks/sampling.py --recipe recipes/stylegan_faces_cpu.yaml --resolution 32

Batches of float32 images in memory, from fresh latents, by the average of G in inference mode. ``--peer`` adds
pytorch_GAN_zoo's generator of the same widths in its own way of sampling (benchmarks/peers). Processes, turns and
medians are those of train_step.py.
"""

from __future__ import annotations

import argparse
from typing import Any

from cases import Case
from train_step import ROOT, add_options, compare, finish, list_cases, machine, resolutions_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(ROOT / "benchmarks" / "progan_64.yaml"))
    add_options(parser)
    parser.set_defaults(batch=32)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for resolution in args.resolution or resolutions_of(args.recipe, args.set)[-1:]:
        cases: list[Case] = list_cases(args, "sample", resolution)
        rows += compare(cases, rounds=args.rounds, seconds=args.seconds)
    print(f"\n{machine()}\n{args.recipe}, median of {args.rounds} interleaved rounds\n")
    print("  px  case                            batch    img/s   ratio  GFLOP/img  GFLOP/s     MB")
    for r in rows:
        ratio = f"{r['ratio']:.2f}" if "ratio" in r else "-"
        print(
            f"{r['resolution']:>4d}  {r['case']:<30s} {r['batch_size']:>6d} {r['img_per_sec']:>8.2f} {ratio:>7s} "
            f"{r['gflop_per_img']:>10.2f} {r['gflop_per_sec']:>8.0f} {r['peak_mb']:>6.0f}"
        )
    finish(rows, args, "images per second of generation")


if __name__ == "__main__":
    main()
