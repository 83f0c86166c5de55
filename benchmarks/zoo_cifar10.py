"""Every GAN of the zoo at 32 px on CIFAR-10, at one small budget: the same images shown, networks of the same size.

    python benchmarks/zoo_cifar10.py --list                                        # parameters of each
    python benchmarks/zoo_cifar10.py --data cifar10.zip --out zoo                  # all of them
    python benchmarks/zoo_cifar10.py --data cifar10.zip --out zoo --only dcgan --only biggan --kimg 0.5
    python benchmarks/zoo_cifar10.py --out zoo --speed                             # how fast each is, side by side
    python benchmarks/zoo_cifar10.py --data cifar10.zip --out zoo --docs           # and the table into docs/zoo.md

Each GAN has a folder in --out with its run and ``result.json``. One that has this file is not trained again; one whose
run was stopped goes on. ``zoo.json``, ``zoo.md`` and a grid of images for each GAN are written anew after every GAN.
``--speed`` takes steps of all of them in turn, round after round, so that what else the machine does strikes all alike.
See docs/zoo.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import ganzoo
from ganzoo.build import build_growth, build_networks
from ganzoo.errors import GanzooError
from ganzoo.files import atomic, write_text
from ganzoo.plugins import load_plugins
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import Recipe, parse_recipe, strict_yaml
from ganzoo.registry import Registry
from ganzoo.training.report import read_stats
from ganzoo.training.system import choose_device, choose_system, device_name

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "zoo.md"
PICTURES = ROOT / "docs" / "images" / "zoo"
BEGIN, END = "<!-- zoo_cifar10.py --docs -->\n", "<!-- end -->"
NUM_CLASSES = 10  # of CIFAR-10


@dataclass(frozen=True)
class Entry:
    """A GAN of the zoo, as its recipe has it, with narrower networks.

    g, d: (name, args) of the networks. lr: (of G, of D). betas: of Adam; None = RMSprop. fade: grows from this
    resolution; None = does not grow. labels: conditional.
    """

    name: str
    g: tuple[str, dict[str, Any]]
    d: tuple[str, dict[str, Any]]
    loss: tuple[str, dict[str, Any]]
    lr: tuple[float, float]
    betas: tuple[float, float] | None
    regularizers: list[dict[str, Any]] = field(default_factory=list)
    augmentation: dict[str, Any] | None = None
    fade: int | None = None
    labels: bool = False

    def recipe(self, *, data: str, kimg: float, seed: int = 0, device: str = "auto") -> dict[str, Any]:
        """The whole recipe."""
        lr = {"lr": self.lr[0], "d_lr": self.lr[1]}
        growth: dict[str, Any] = {"name": "fixed", "args": {"batch_size": 32, **lr}}
        if self.fade is not None:
            # A tenth of the training for each phase before the last, which is at 32 px without fading.
            phase = {"start_resolution": self.fade, "stable_kimg": kimg / 10, "fade_kimg": kimg / 10}
            growth = {"name": "fade", "args": {**phase, "batch_size": 32, **lr}}
        recipe = {
            "name": self.name,
            "seed": seed,
            "data": {"path": data, "img_resolution": 32, "img_channels": 3, "labels": self.labels},
            "generator": {"name": self.g[0], "args": self.g[1]},
            "discriminator": {"name": self.d[0], "args": self.d[1]},
            "loss": {"name": self.loss[0], "args": self.loss[1]},
            "regularizers": self.regularizers,
            "growth": growth,
            "optimizer": {"args": {"betas": list(self.betas)}} if self.betas else {"name": "rmsprop", "args": RMSPROP},
            "train": {
                "total_kimg": kimg,
                "ema_beta": None,
                "ema_kimg": 2,
                "ema_rampup": 0.05,
                "tick_kimg": max(kimg / 20, 0.1),
                "image_kimg": max(kimg / 4, 0.1),
                "snapshot_kimg": max(kimg / 4, 0.1),
                "keep_checkpoints": 1,
            },
            "eval": {
                "metrics": ["fid", "kid"],
                "every_kimg": kimg,
                "num": 2048,
                "num_real": 10000,
                "extractor": "small",
            },
            "system": {"device": device},
        }
        return {**recipe, "augmentation": self.augmentation} if self.augmentation else recipe


RMSPROP = {"alpha": 0.99, "eps": 1.0e-8}


def dcgan(ngf: int, ndf: int, *, z_dim: int = 100, **d_args: Any) -> dict[str, Any]:
    """DCGAN's networks, as many of the older GANs have them here."""
    return {"g": ("dcgan", {"z_dim": z_dim, "ngf": ngf}), "d": ("dcgan", {"ndf": ndf, **d_args})}


LOGISTIC = ("minimax", {"saturating": False})
DCGAN_ADAM: dict[str, Any] = {"lr": (0.0002, 0.0002), "betas": (0.5, 0.999)}
STYLEGAN2: dict[str, Any] = {
    "g": (
        "stylegan2",
        {"z_dim": 128, "w_dim": 128, "mapping_layers": 2, "channel_base": 3584, "channel_max": 112, "mixing_prob": 0.0},
    ),
    "d": ("stylegan2", {"architecture": "orig", "channel_base": 3584, "channel_max": 112, "mapping_layers": 2}),
    "loss": ("non-saturating", {}),
    "lr": (0.0025, 0.0025),
    "betas": (0.0, 0.99),
    "regularizers": [{"name": "r1", "args": {"gamma": 0.01, "every": 16}}],
}
BIGGAN_ADAM: dict[str, Any] = {"lr": (0.0002, 0.0002), "betas": (0.0, 0.999)}

ENTRIES = (
    Entry(
        "gan",
        g=("mlp", {"z_dim": 100, "hidden_dim": 280, "hidden_layers": 2}),
        d=("mlp", {"hidden_dim": 60, "hidden_layers": 2, "pieces": 5, "input_dropout": 0.2, "dropout": 0.5}),
        loss=LOGISTIC,
        lr=(0.001, 0.001),
        betas=(0.5, 0.999),
    ),
    Entry("dcgan", **dcgan(60, 80), loss=LOGISTIC, **DCGAN_ADAM),
    Entry(
        "minibatch-discrimination",
        **dcgan(60, 56, mbdisc_kernels=16, mbdisc_dim=8),
        loss=LOGISTIC,
        **DCGAN_ADAM,
    ),
    Entry("lsgan", **dcgan(60, 80), loss=("lsgan", {"a": -1.0, "b": 1.0, "c": 0.0}), **DCGAN_ADAM),
    Entry(
        "wgan",
        **dcgan(60, 80),
        loss=("wgan", {}),
        regularizers=[{"name": "weight-clipping", "args": {"clip": 0.01}}],
        lr=(0.00005, 0.00005),
        betas=None,
    ),
    Entry(
        "wgan-gp",
        **dcgan(60, 80, z_dim=128, norm="layer"),
        loss=("wgan", {}),
        regularizers=[{"name": "gradient-penalty", "args": {"weight": 10.0, "target": 1.0}}],
        lr=(0.0001, 0.0001),
        betas=(0.0, 0.9),
    ),
    Entry(
        "r3gan",
        **dcgan(60, 80, norm="none"),
        loss=("relativistic", {}),
        regularizers=[{"name": "r1", "args": {"gamma": 0.5}}, {"name": "r2", "args": {"gamma": 0.5}}],
        lr=(0.0002, 0.0002),
        betas=(0.0, 0.99),
    ),
    Entry(
        "lapgan",
        g=("lapgan", {"base_resolution": 8, "base_z_dim": 100, "hidden_dim": 700, "ngf": 64}),
        d=("lapgan", {"base_resolution": 8, "hidden_dim": 700, "ndf": 88, "dropout": 0.5}),
        loss=("lapgan", {}),
        lr=(0.001, 0.001),
        betas=(0.5, 0.999),
    ),
    Entry(
        "sngan",
        g=("sngan", {"z_dim": 128, "ch": 28}),
        d=("sngan", {"ch": 32}),
        loss=("biggan-hinge", {}),
        lr=(0.0002, 0.0002),
        betas=(0.0, 0.9),
    ),
    Entry(
        "sagan",
        g=("sagan", {"z_dim": 128, "ch": 28, "attn_resolutions": [16]}),
        d=("sagan", {"ch": 30, "attn_resolutions": [16]}),
        loss=("biggan-hinge", {}),
        lr=(0.0001, 0.0004),
        betas=(0.0, 0.9),
    ),
    Entry(
        "progan",
        g=("progan", {"z_dim": 128, "fmap_base": 1792, "fmap_max": 112}),
        d=("progan", {"fmap_base": 1792, "fmap_max": 112}),
        loss=("wgan-gp", {"target": 1.0}),
        lr=(0.001, 0.001),
        betas=(0.0, 0.99),
        fade=4,
    ),
    Entry(
        "stylegan",
        g=("stylegan", {"z_dim": 128, "w_dim": 128, "mapping_layers": 4, "mapping_fmaps": 128, "fmap_max": 108}),
        d=("stylegan", {"fmap_max": 112}),
        loss=("non-saturating", {}),
        regularizers=[{"name": "r1", "args": {"gamma": 1.0, "every": 4}}],
        lr=(0.001, 0.001),
        betas=(0.0, 0.99),
        fade=8,
    ),
    Entry("stylegan2", **STYLEGAN2),
    Entry("stylegan2-ada", **STYLEGAN2, augmentation={"name": "ada", "args": {"target": 0.6, "ada_kimg": 500}}),
    Entry("cgan", **dcgan(60, 80), loss=LOGISTIC, **DCGAN_ADAM, labels=True),
    Entry(
        "acgan",
        **dcgan(60, 80, aux=True),
        loss=("minimax", {"saturating": False, "ac_weight": 1.0}),
        **DCGAN_ADAM,
        labels=True,
    ),
    Entry(
        "biggan",
        g=("biggan", {"z_dim": 128, "ch": 28, "shared_dim": None, "hierarchical": False, "init": "N02"}),
        d=("biggan", {"ch": 32, "init": "N02"}),
        loss=("biggan-hinge", {}),
        **BIGGAN_ADAM,
        labels=True,
    ),
    Entry("stylegan2-cond", **STYLEGAN2, labels=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="CIFAR-10 with labels, as a folder, zip or pack")
    parser.add_argument("--out", type=Path, default=Path("zoo_cifar10"), help="where everything goes")
    parser.add_argument("--kimg", type=float, default=20.0, help="thousands of images shown to each GAN")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this GAN; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--list", action="store_true", help="print the GANs with their parameters, and train nothing")
    parser.add_argument("--speed", action="store_true", help="train nothing: time steps of all GANs in turn")
    parser.add_argument("--docs", action="store_true", help="also write table and pictures into docs/zoo.md")
    args = parser.parse_args()
    try:
        entries = chosen(args.only)
        if args.list:
            print(listing(entries))
            return
        if args.speed:
            write_text(args.out / "speed.json", json.dumps(speeds(entries, args.kimg, args.device), indent=1) + "\n")
            write_results(args.out)
            return
        if args.data is None:
            raise GanzooError("--data: say where CIFAR-10 is: a folder, zip or pack of its images with labels")
        failed = train_all(entries, args.out, data=args.data, kimg=args.kimg, seed=args.seed, device=args.device)
        if args.docs:
            write_docs(args.out)
    except GanzooError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def chosen(names: list[str] | None) -> list[Entry]:
    """The entries of these names, in the order of the zoo; all for None."""
    known = [entry.name for entry in ENTRIES]
    if unknown := [name for name in names or [] if name not in known]:
        raise GanzooError(f"--only {unknown[0]}: there is no such GAN; there are {', '.join(known)}")
    return [entry for entry in ENTRIES if names is None or entry.name in names]


def listing(entries: list[Entry]) -> str:
    """Names with the parameters of G and D."""
    registry = load_plugins().registry
    lines = [f"{'GAN':<26}{'labels':<8}{'G':>10}{'D':>10}"]
    for entry in entries:
        G, D = parameters(entry, registry)
        lines.append(f"{entry.name:<26}{'yes' if entry.labels else '':<8}{G:>10,}{D:>10,}")
    return "\n".join(lines)


def parse(entry: Entry, registry: Registry, **settings: Any) -> Recipe:
    """The checked recipe."""
    return parse_recipe(strict_yaml.dump(entry.recipe(**settings)), registry, filename=entry.name)


def parameters(entry: Entry, registry: Registry) -> tuple[int, int]:
    """Trained numbers of G and of D."""
    recipe = parse(entry, registry, data="cifar10.zip", kimg=20)
    networks = build_networks(recipe, registry, img_channels=3, c_dim=NUM_CLASSES if entry.labels else 0, device="meta")
    G, D = (sum(p.numel() for p in network.parameters()) for network in networks)
    return G, D


def train_all(entries: list[Entry], out: Path, *, data: str, kimg: float, seed: int, device: str) -> list[str]:
    """Train what is not finished, and write the results; names of those that failed."""
    # kimg, seed and data make numbers comparable; a folder holds one kind.
    same = {"kimg": kimg, "seed": seed, "data": Path(data).name}
    settings = out / "settings.json"
    if settings.is_file() and (before := json.loads(settings.read_text(encoding="utf-8"))) != same:
        raise GanzooError(f"{out}: has results of {before}, which do not compare with {same}; choose another --out")
    write_text(settings, json.dumps(same) + "\n")
    registry, failed = load_plugins().registry, []
    for i, entry in enumerate(entries, start=1):
        print(f"\n[{i}/{len(entries)}] {entry.name}", flush=True)
        folder = out / entry.name
        if (folder / "result.json").is_file():
            print("finished before")
            continue
        try:
            train_one(entry, folder, registry, data=data, kimg=kimg, seed=seed, device=device)
        except GanzooError as error:
            print(f"error: {entry.name}: {error}", file=sys.stderr)
            failed.append(entry.name)
        write_results(out)
    write_results(out)
    return failed


def train_one(
    entry: Entry, folder: Path, registry: Registry, *, data: str, kimg: float, seed: int, device: str
) -> None:
    """Train one GAN in ``folder``, or go on there; then write result.json and grid.png."""
    runs = sorted(path.parent for path in folder.glob("*/recipe.yaml"))
    result = ganzoo.train(
        parse(entry, registry, data=data, kimg=kimg, seed=seed, device=device),
        outdir=folder,
        resume=runs[-1] if runs else None,
    )
    if result.signal is not None:
        raise KeyboardInterrupt
    run = result.run_dir
    measured = read_stats(run / "metrics.jsonl")[-1]["results"]
    G, D = parameters(entry, registry)
    grid = run / f"fakes_{result.nimg // 1000:06d}.png"
    with Image.open(grid) as picture, atomic(folder / "grid.png") as temporary:
        picture.save(temporary)
    found = {
        "name": entry.name,
        "labels": entry.labels,
        "nimg": result.nimg,
        "metrics": {r["name"]: {"value": r["value"], "standard_error": r["standard_error"]} for r in measured},
        "diversity": mean_distance(grid) / mean_distance(run / "reals.png"),
        "parameters": {"G": G, "D": D},
        "device": device_name(choose_device(device)),
        "threads": torch.get_num_threads(),
        "versions": {"ganzoo": ganzoo.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_text(folder / "result.json", json.dumps(found, indent=1) + "\n")


def speeds(entries: list[Entry], kimg: float, device: str, *, rounds: int = 3, steps: int = 2) -> dict[str, Any]:
    """Real images a second of each GAN over its whole training: medians of ``rounds`` rounds, in turn, of ``steps``."""
    registry, cases = load_plugins().registry, {}
    for entry in entries:
        recipe = parse(entry, registry, data="cifar10.zip", kimg=kimg, device=device)
        system = choose_system(recipe.system)
        schedule = build_growth(recipe, registry)
        for i, phase in enumerate(schedule.phases(round(kimg * 1000))):
            growth = schedule.at((phase.start_nimg + phase.end_nimg) // 2)
            c_dim = NUM_CLASSES if entry.labels else 0
            case = StepCase.build(recipe, registry, growth, system=system, c_dim=c_dim)
            case.step()
            cases[entry.name, i] = (case, phase.end_nimg - phase.start_nimg)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in cases}
    for _ in range(rounds):
        for key, (case, _) in cases.items():
            case.synchronize()
            start = time.perf_counter()
            for _ in range(steps):
                case.step()
            case.synchronize()
            seconds[key].append((time.perf_counter() - start) / steps / case.growth.batch_size)
    found = {}
    for entry in entries:
        phases = [(key, shown) for key, (_, shown) in cases.items() if key[0] == entry.name]
        total = sum(statistics.median(seconds[key]) * shown for key, shown in phases)
        found[entry.name] = sum(shown for _, shown in phases) / total
        print(f"{entry.name:<26}{found[entry.name]:>8.0f} img/s", flush=True)
    return {"images_per_second": found, "system": system.describe(), "torch": torch.__version__}


def mean_distance(grid: Path, size: int = 32) -> float:
    """Of any two images of a grid, size x size each: the root of their mean squared difference."""
    with Image.open(grid) as picture:
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32))
    images = pixels.unfold(0, size, size).unfold(1, size, size).flatten(0, 1).flatten(1)
    return float(torch.pdist(images).mean()) / math.sqrt(images.shape[1])


def finished(out: Path) -> list[dict[str, Any]]:
    """Results there are, in the order of the zoo."""
    speed = out / "speed.json"
    measured = json.loads(speed.read_text(encoding="utf-8"))["images_per_second"] if speed.is_file() else {}
    paths = [out / entry.name / "result.json" for entry in ENTRIES]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return [{**result, "images_per_second": measured.get(result["name"])} for result in results]


def write_results(out: Path) -> None:
    """zoo.json and zoo.md."""
    found = finished(out)
    if not found:
        return
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    write_text(out / "zoo.json", json.dumps({"settings": settings, "gans": found}, indent=1) + "\n")
    write_text(out / "zoo.md", table(found, {r["name"]: f"{r['name']}/grid.png" for r in found}))


def table(found: list[dict[str, Any]], pictures: dict[str, str]) -> str:
    """Markdown, a GAN a row. pictures: path of the grid, by name."""
    machines = sorted({f"{r['device']}, torch {r['versions']['torch']}" for r in found})
    rows = [
        "| GAN | labels | FID (small) | KID (small) | diversity | images/s | parameters of G | of D | images |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found:
        fid, kid = (r["metrics"][name] for name in ("fid", "kid"))
        rows.append(
            f"| {r['name']} | {'yes' if r['labels'] else 'no'} | {number(fid)} | {number(kid)} | "
            f"{r['diversity']:.2f} | {'' if r['images_per_second'] is None else round(r['images_per_second'])} | "
            f"{r['parameters']['G']:,} | {r['parameters']['D']:,} | [grid]({pictures[r['name']]}) |"
        )
    shown = ", ".join(f"{n:,}" for n in sorted({r["nimg"] for r in found}))
    return "\n".join([*rows, "", f"*{shown} images shown to each, on {'; '.join(machines)}.*", ""])


def number(measured: dict[str, Any]) -> str:
    """Three digits, with the standard error to as many places."""
    value, error = measured["value"], measured["standard_error"]
    if not math.isfinite(value):
        return str(value)
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
    return f"{value:.{places}f}" + ("" if error is None else f" ± {error:.{places}f}")


def write_docs(out: Path) -> None:
    """The table into docs/zoo.md, between its marks, and the grids beside it at their own size."""
    found = finished(out)
    text = DOCS.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or END not in text.split(BEGIN)[1]:
        raise GanzooError(f"{DOCS}: must have one line {BEGIN.strip()!r}, and {END!r} below it")
    for r in found:
        with Image.open(out / r["name"] / "grid.png") as picture:
            small = picture.resize((picture.width // 3, picture.height // 3), Image.Resampling.NEAREST)
            with atomic(PICTURES / f"{r['name']}.png") as temporary:
                small.save(temporary, optimize=True)
    written = "\n" + table(found, {r["name"]: f"images/zoo/{r['name']}.png" for r in found}) + "\n" if found else ""
    write_text(
        DOCS, re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + written + END, text, flags=re.S)
    )


if __name__ == "__main__":
    main()
