"""Images per second of the training step, at every resolution of a recipe, beside a peer and what the machine could do.

    python benchmarks/train_step.py                                   # recipes/progan_cifar10_cpu.yaml
    python benchmarks/train_step.py --recipe benchmarks/progan_64.yaml --resolution 32 --resolution 64 --peer
    python benchmarks/train_step.py --recipe benchmarks/progan_128.yaml --resolution 128 --peer --chart step.png

A step is one of D and one of G with the moving average, on random images that are in memory. Its floor is the number of
its floating-point operations (counted by torch while it runs, second derivatives included) over the rate that this
machine reaches in one plain convolution of the precision; ``of floor`` is what the whole step gets of that rate.
``--peer`` adds pytorch_GAN_zoo's step with networks of the same widths and the same batch (benchmarks/peers), in fp32
and contiguous as it always is; ratios are to it. Every case has a process of its own, they take turns, round after
round, and medians are printed, because shared machines drift. Memory is the most that the process holds beyond what it
did before it made the networks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from cases import PEER, Case, Worker, open_recipe

from ganzoo.profiling.measuring import PlainConvolution

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(ROOT / "recipes" / "progan_cifar10_cpu.yaml"))
    parser.add_argument("--compiled", action="store_true", help="also with losses compiled (system.compile)")
    add_options(parser)
    args = parser.parse_args()
    rows = []
    for resolution in args.resolution or resolutions_of(args.recipe, args.set):
        cases = list_cases(args, "step", resolution)
        if args.compiled:
            cases += [Case(**{**vars(case), "compiled": True}) for case in cases if case.project == "ganzoo"]
        rows += compare(cases, rounds=args.rounds, seconds=args.seconds)
    print_table(rows, args)
    finish(rows, args, "images per second of training")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What train_step.py and sampling.py have in common."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--precision", default="fp32,bf16", help="comma-separated: fp32, bf16")
    parser.add_argument("--memory-format", default="channels_last", help="comma-separated: channels_last, contiguous")
    parser.add_argument("--resolution", type=int, action="append", help="only this resolution; may be repeated")
    parser.add_argument("--batch", type=int, help="images; as the recipe says if not given")
    parser.add_argument("--peer", action="store_true", help=f"also {PEER}, for ProGAN")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds a case; medians are printed")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one timed round, which has at least one step")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall",
        help="cpu: count the time that a process computes, for one thread on a machine that others use",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="also write the table here")
    parser.add_argument("--chart", type=Path, help="also draw it here, as PNG; needs matplotlib")


def resolutions_of(recipe: str, overrides: list[str]) -> list[int]:
    *_, phases = open_recipe(recipe, overrides)
    return sorted({phase.resolution for phase in phases})


def list_cases(args: argparse.Namespace, kind: str, resolution: int) -> list[Case]:
    common: dict[str, Any] = {"kind": kind, "recipe": args.recipe, "resolution": resolution}
    common |= {"batch": args.batch, "clock": args.clock, "overrides": tuple(args.set)}
    peer = [Case(**common, memory_format="contiguous", project=PEER)] if args.peer else []
    return peer + [
        Case(**common, precision=precision, memory_format=memory_format)
        for precision in args.precision.split(",")
        for memory_format in args.memory_format.split(",")
    ]


def compare(cases: list[Case], *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Cases of one resolution, interleaved; a row each. Ratios are those of rounds, and their median."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(case)) for case in cases]
        measured: list[list[dict[str, float]]] = [[] for _ in cases]
        for _ in range(rounds):
            for worker, results in zip(workers, measured, strict=True):
                results.append(worker.measure(seconds))
    rows = []
    for case, worker, results in zip(cases, workers, measured, strict=True):
        images, flops = worker.facts["images"], worker.facts["flops"]
        parts = {name: statistics.median(one[name] for one in results) for name in results[0]}
        peak, convolution = parts.pop("peak") / 2**20, parts.pop("convolution", None)
        whole = statistics.median(sum_of(one) for one in results)
        row: dict[str, Any] = {
            "resolution": case.resolution,
            "case": case.name,
            "batch_size": images,
            "img_per_sec": images / whole,
            "seconds": parts,
            "gflop_per_img": flops / images / 1e9,
            "gflop_per_sec": flops / whole / 1e9,
            "peak_mb": peak,
        }
        if convolution is not None:
            row["convolution_gflop_per_sec"] = PlainConvolution.flops / convolution / 1e9
            row["of_floor"] = row["gflop_per_sec"] / row["convolution_gflop_per_sec"]
        if cases[0].project == PEER:
            pairs = zip(measured[0], results, strict=True)
            row["ratio"] = statistics.median(sum_of(theirs) / sum_of(ours) for theirs, ours in pairs)
        rows.append(row)
        print(f"{case.resolution} px, {case.name}: {row['img_per_sec']:.2f} img/s", flush=True)
    return rows


def sum_of(parts: dict[str, float]) -> float:
    return sum(seconds for name, seconds in parts.items() if name not in ("peak", "convolution"))


def machine() -> str:
    """Kind of CPU or GPU, number of cores, version of torch."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    special = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if flag in flags]
    threads = os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()
    return ", ".join([model, *special, f"{threads} thread(s)", f"torch {torch.__version__}"])


def print_table(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    print(f"\n{machine()}\n{args.recipe}, median of {args.rounds} interleaved rounds\n")
    print(
        "  px  case                            batch   img/s   ratio   D ms   G ms  GFLOP/img  GFLOP/s  of floor     MB"
    )
    for r in rows:
        ratio, floor = (
            format(r[key], spec) if key in r else "-" for key, spec in (("ratio", ".2f"), ("of_floor", ".0%"))
        )
        print(
            f"{r['resolution']:>4d}  {r['case']:<30s} {r['batch_size']:>6d} {r['img_per_sec']:>7.2f} {ratio:>7s} "
            f"{r['seconds']['D'] * 1e3:>6.0f} {r['seconds']['G'] * 1e3:>6.0f} {r['gflop_per_img']:>10.2f} "
            f"{r['gflop_per_sec']:>8.0f} {floor:>9s} {r['peak_mb']:>6.0f}"
        )


def finish(rows: list[dict[str, Any]], args: argparse.Namespace, title: str) -> None:
    """Write the files that were asked for."""
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "recipe": args.recipe, "rows": rows}, indent=2) + "\n")
    if args.chart:
        draw(rows, args.chart, title)


def draw(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Bars, a panel a resolution and a colour a case, with images per second and the ratio to the peer above them."""
    from matplotlib import pyplot as plt

    resolutions, cases = (list(dict.fromkeys(row[key] for row in rows)) for key in ("resolution", "case"))
    figure, panels = plt.subplots(
        1, len(resolutions), figsize=(2 + 2.6 * len(resolutions), 4.2), squeeze=False, layout="constrained"
    )
    for axes, resolution in zip(panels[0], resolutions, strict=True):
        shown = [row for row in rows if row["resolution"] == resolution]
        colours = [f"C{cases.index(row['case'])}" for row in shown]
        bars = axes.bar(range(len(shown)), [row["img_per_sec"] for row in shown], color=colours)
        texts = [f"{row['img_per_sec']:.1f}" + (f"\n({row['ratio']:.1f}x)" if "ratio" in row else "") for row in shown]
        axes.bar_label(bars, texts, padding=2, fontsize=8)
        axes.set_xticks([])
        axes.set_title(f"{resolution} px", fontsize=10)
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("images per second")
    handles = [plt.Rectangle((0, 0), 1, 1, color=f"C{i}") for i in range(len(cases))]
    figure.legend(handles, cases, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(f"{title}\n{machine()}", fontsize=9)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
