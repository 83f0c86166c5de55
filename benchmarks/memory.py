"""Peak memory of a training step: by resolution and by batch, with and without recomputing and accumulating.

    python benchmarks/memory.py                                  # ProGAN at 1024 px: every resolution, batch 4
    python benchmarks/memory.py --recipe recipes/stylegan2_ffhq_256.yaml --json memory.json --chart memory.png
    python benchmarks/memory.py --real 128                       # beside it, what a process really takes at 128 px

Bytes are those of tensors, counted where PyTorch dispatches operations, of a step with everything due in it: weights,
Adam's states, gradients, G_ema, activations. They are exact and the same on every machine; nothing is computed, so that
1024 px need no large one. ``--real`` takes steps in a process of its own and reads the growth of its resident memory,
which also has the workspaces of libraries and what the allocator keeps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ganzoo import build
from ganzoo.plugins import load_plugins
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.training.choices import Choice
from ganzoo.training.memory import possible_splits
from ganzoo.training.probe import counted_peak
from ganzoo.training.system import System, format_called

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
VARIANTS = {
    "fp32": Choice(),
    "bf16": Choice(precision="bf16"),
    "fp32, recomputed": Choice(recompute=1),
    "bf16, recomputed": Choice(precision="bf16", recompute=1),
    "fp32, 4 parts": Choice(accumulate=4),
    "bf16, recomputed, 4 parts": Choice(precision="bf16", recompute=1, accumulate=4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(HERE.parent / "recipes" / "progan_1024.yaml"))
    parser.add_argument("--batch", type=int, default=4, help="images a step, for the table by resolution")
    parser.add_argument("--batches", default="1,2,4,8,16,32", help="comma-separated, for the table by batch")
    parser.add_argument("--resolution", type=int, default=128, help="of the table by batch")
    parser.add_argument("--variants", default=",".join(map(str, range(len(VARIANTS)))), help="numbers of columns")
    parser.add_argument("--real", type=int, help="also take steps at this resolution, and read the process's memory")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="as for ganzoo run")
    parser.add_argument("--json", type=Path, help="also write the tables here; read and completed, if it is there")
    parser.add_argument("--chart", type=Path, help="also draw them here")
    parser.add_argument("--take", help=argparse.SUPPRESS)
    args = parser.parse_args()
    registry = load_plugins().registry
    source = ["data.path=null", "data.source={name: faces}", "data.labels=false", "data.img_channels=3"]
    recipe = load_recipe(args.recipe, registry, [*source, *args.overrides])
    if args.take:
        take(recipe, registry, json.loads(args.take))
        return

    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    found |= {"recipe": recipe.name, "batch": args.batch, "resolution": args.resolution}
    variants = [list(VARIANTS)[int(i)] for i in args.variants.split(",")]
    schedule = build.build_growth(recipe, registry)
    phases = schedule.phases(round(recipe.train.total_kimg * 1000))
    resolutions = list(dict.fromkeys(phase.resolution for phase in phases))
    start = {phase.resolution: schedule.at(phase.start_nimg) for phase in phases}
    by_resolution = found.setdefault("by_resolution", {})
    by_batch = found.setdefault("by_batch", {})
    _, D = build.build_networks(recipe, registry, img_channels=3, c_dim=0, device="meta")

    def fill(table: dict, key: int, name: str, resolution: int, batch: int) -> None:
        choice = VARIANTS[name]
        if choice.accumulate > 1 and choice.accumulate not in possible_splits(recipe, D, batch, 1):
            return
        if name not in table.setdefault(str(key), {}):
            system = System(torch.device("cpu"), choice.precision, format_called(choice.memory_format), 1, "")
            growth = replace(start[resolution], alpha=1.0, batch_size=batch)
            peak, held = counted_peak(recipe, registry, growth, choice, system=system)
            table[str(key)] |= {name: peak, "between steps": held}

    for name in variants:
        for resolution in resolutions:
            fill(by_resolution, resolution, name, resolution, args.batch)
        for batch in map(int, args.batches.split(",")) if args.resolution in start else []:
            fill(by_batch, batch, name, args.resolution, batch)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
    print_table(f"{recipe.name}, batch {args.batch}: GB by resolution", by_resolution)
    if by_batch:
        print_table(f"{recipe.name}, {args.resolution} px: GB by batch", by_batch)
    if args.real:
        found["real"] = compare_real(args, recipe, registry, start)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.chart:
        draw(found, args.chart)


def print_table(title: str, table: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    print(f"{title}\n{'':>6s}  " + "  ".join(f"{name:>18s}" for name in columns))
    for key, row in table.items():
        cells = (f"{row[name] / 1e9:>18.3f}" if name in row else f"{'-':>18s}" for name in columns)
        print(f"{key:>6s}  " + "  ".join(cells))


def compare_real(args: argparse.Namespace, recipe: Recipe, registry, start) -> dict[str, dict[str, float]]:
    """Counted and resident bytes of every variant, and of pytorch_GAN_zoo's step for the same networks."""
    rows = {}
    peer = [{"peer": True}] if (HERE / "peers" / "pytorch_gan_zoo.py").exists() else []
    for one in [*({"variant": name} for name in VARIANTS), *peer]:
        command = [sys.executable, __file__, "--recipe", args.recipe, "--batch", str(args.batch)]
        command += [word for override in args.overrides for word in ("--set", override)]
        command += ["--take", json.dumps({**one, "resolution": args.real, "batch": args.batch})]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        name = one.get("variant", "pytorch_GAN_zoo")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:<28s} counted {rows[name]['counted'] / 1e9:.3f} GB, resident {rows[name]['resident'] / 1e9:.3f}")
    return rows


def take(recipe: Recipe, registry, what: dict) -> None:
    """Two steps, in this process; prints what was counted of the second, and by how much resident memory grew."""
    from ganzoo.profiling.counting import CountSteps
    from ganzoo.profiling.step import StepCase
    from ganzoo.training.choosing import adopt

    before = _resident()
    if what.get("peer"):
        step, held = _peer(recipe, registry, what)
    else:
        choice = VARIANTS[what["variant"]]
        schedule = build.build_growth(recipe, registry)
        phases = schedule.phases(round(recipe.train.total_kimg * 1000))
        nimg = next(p.start_nimg for p in phases if p.resolution == what["resolution"])
        growth = replace(schedule.at(nimg), alpha=1.0, batch_size=what["batch"])
        system = System(torch.device("cpu"), choice.precision, format_called(choice.memory_format), 1, "")
        case = StepCase.build(recipe, registry, growth, system=system)
        adopt(case, choice)
        step, held = case.step, case.held
    step()
    step()
    resident = _resident() - before
    with CountSteps(held()) as counted:
        step()
    print(json.dumps({"counted": counted.peak_bytes, "resident": resident}))


def _peer(recipe: Recipe, registry, what: dict):
    from peers.pytorch_gan_zoo import Trainer

    G, _ = build.build_networks(recipe, registry, img_channels=3, c_dim=0, device="meta")
    depths = [G.to_rgb[str(r)].weight.shape[1] for r in G.resolutions if r <= what["resolution"]]  # type: ignore[index]
    trainer = Trainer(G.z_dim, depths)
    real = torch.rand(what["batch"], 3, what["resolution"], what["resolution"]) * 2 - 1

    def held():
        for network in (trainer.G, trainer.D, trainer.G_avg):
            for parameter in network.parameters():
                yield parameter
                if parameter.grad is not None:
                    yield parameter.grad
        for optimizer in (trainer.opt_G, trainer.opt_D):
            for slots in optimizer.state.values():
                yield from (slot for slot in slots.values() if isinstance(slot, torch.Tensor))
        yield real

    return lambda: trainer.step(real), held


def _resident() -> int:
    """The most that this process has had in memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def draw(found: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    titles = (f"batch {found['batch']}, by resolution", f"{found['resolution']} px, by batch")
    for axis, table, title in zip(axes, (found["by_resolution"], found["by_batch"]), titles, strict=True):
        keys = sorted(map(int, table))
        for name in [*VARIANTS, "between steps"]:
            points = [(key, table[str(key)][name] / 1e9) for key in keys if name in table[str(key)]]
            if points:
                style = {"color": "0.6", "linestyle": ":"} if name == "between steps" else {"marker": "o"}
                axis.plot(*zip(*points, strict=True), label=name, markersize=4, **style)
        if axis is axes[1]:
            for name, row in found.get("real", {}).items():
                if name == "pytorch_GAN_zoo":
                    axis.plot([found["batch"]], [row["counted"] / 1e9], "kx", label=name)
        axis.set(xscale="log", yscale="log", title=f"{found['recipe']}: {title}", xlabel=title.rsplit(" ", 1)[1])
        axis.set_xticks(keys, [str(key) for key in keys])
        low, high = axis.get_ylim()
        ticks = [2.0**i for i in range(-10, 12) if low <= 2.0**i <= high]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_ylabel("GB at the peak of a step")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
