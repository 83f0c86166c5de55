"""Images per second of the loader, at every resolution, beside decoding the same images with Pillow.

    python benchmarks/data.py                               # the built-in faces at 128 px
    python benchmarks/data.py --data photos.zip --resolution 256 --json data.json

``pack`` reads batches of a pack (shuffled, mirrored) when asked; ``pack, ahead`` does so in a thread that works ahead,
as training does; ``PNG`` decodes PNG files of the full resolution with Pillow, one after the other, and takes 2x2 means
down to the resolution wanted. ``wait`` is how long a step that computes for --step-ms stands still for its next batch,
without and with reading ahead. Cases take turns, round after round, and medians are printed, because shared machines
drift. Files are in the page cache.

    python benchmarks/data.py --against recipes/progan_1024.yaml --resolution 1024 --max-images 64

prints, for every resolution from 4 px, how many times as long as the reading of an image its share of the training step
takes. Steps are measured where they are short; where they are not, they are estimated from their counted operations, at
the rate of the last measured one.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from ganzoo.data import Batches, TrainingData, batches, open_data
from ganzoo.data.fit import mip_levels
from ganzoo.data.images import to_pillow
from ganzoo.plugins import load_plugins
from ganzoo.profiling.bench import chosen_stretches
from ganzoo.profiling.measuring import PlainConvolution, measure_parts, step_seconds
from ganzoo.profiling.phases import count_step, growth_of
from ganzoo.profiling.step import StepCase
from ganzoo.recipe import DataConfig, load_recipe
from ganzoo.training.system import choose_system

BATCH_SIZE = 64
PNG_IMAGES = 256
LONGEST_STEP = 4.0  # seconds; longer ones are estimated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="images to read; the built-in faces if not given")
    parser.add_argument("--resolution", type=int, default=128, help="img_resolution of the pack")
    parser.add_argument("--max-images", type=int, default=2000, help="images in the pack")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds a case; medians are printed")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of one timed round")
    parser.add_argument(
        "--step-ms", type=float, default=20.0, help="length of the step that reading has to keep ahead of"
    )
    parser.add_argument("--against", help="a recipe: compare reading with its training step at every resolution")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="of that recipe, as KEY=VALUE")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()

    origin = {"path": args.data} if args.data else {"source": {"name": "faces"}}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        config = DataConfig(
            **origin, img_resolution=args.resolution, max_images=args.max_images, cache=cache, skip_bad=10**9
        )
        data = open_data(config, load_plugins().registry)
        if args.against:
            table = compare(data, args.against, args.changes, args.rounds, args.seconds)
        else:
            table = measure(data, args.rounds, args.seconds, args.step_ms / 1000)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


def measure(data: TrainingData, rounds: int, seconds: float, step: float) -> list[dict[str, float]]:
    """Print the table, one row a resolution; returns it."""
    pngs = encode_pngs(data)
    info = data.info
    print(f"{info.name}: {info.num_images:,} images, {info.img_channels} channels; images/s in batches of {BATCH_SIZE}")
    columns = ("pack", "pack, ahead", "PNG", "pack / PNG", "wait, ms", "wait ahead, ms")
    print(f"{'resolution':>10} " + " ".join(f"{column:>14}" for column in columns))
    table = []
    resolution = 4
    while resolution <= data.info.img_resolution:
        now, ahead = reader(data, resolution, 0), reader(data, resolution, "auto")
        cases: dict[str, Callable[[], float]] = {
            "pack": partial(rate, now, seconds),
            "pack_ahead": partial(rate, ahead, seconds),
            "png": partial(rate, decode_pngs(pngs, resolution), seconds),
            "wait_ms": partial(waiting, now, step, seconds),
            "wait_ahead_ms": partial(waiting, ahead, step, seconds),
        }
        found: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, case in cases.items():
                found[name].append(case())
        ahead.close()
        row = {"resolution": resolution} | {name: statistics.median(values) for name, values in found.items()}
        print(
            f"{resolution:>10} {row['pack']:>14,.0f} {row['pack_ahead']:>14,.0f} {row['png']:>14,.0f} "
            f"{row['pack'] / row['png']:>13,.0f}x {row['wait_ms']:>14.2f} {row['wait_ahead_ms']:>14.2f}"
        )
        table.append(row)
        resolution *= 2
    return table


def compare(data: TrainingData, path: str, changes: list[str], rounds: int, seconds: float) -> list[dict[str, float]]:
    """Print the ratio of step to reading, one row a resolution; returns the rows."""
    registry = load_plugins().registry
    recipe = load_recipe(path, registry, [f"data.img_resolution={data.info.img_resolution}", *changes])
    system = choose_system(recipe.system)
    print(f"{data.info.name}, {recipe.name} in {system.precision}, {system.threads} thread(s)")
    print("resolution  batch  step img/s   source      reading img/s  step / reading")
    attainable = PlainConvolution(system.device, system.precision).rate(seconds) / 4
    table, rate_of_flops = [], 0.0
    for stretch in chosen_stretches(recipe, registry, []):
        cost = count_step(recipe, registry, stretch, precision=system.precision)
        per_image, source = cost.flops / cost.images, "estimated"
        if rate_of_flops == 0 or cost.flops / attainable < LONGEST_STEP:
            case = StepCase.build(recipe, registry, growth_of(recipe, registry, stretch), system=system)
            step = step_seconds(case, measure_parts(case, seconds=seconds * rounds, rounds=rounds)) / cost.images
            rate_of_flops, source = per_image / step, "measured"
        step = per_image / rate_of_flops
        ahead = reader(data, stretch.resolution, "auto")
        reading = statistics.median(rate(ahead, seconds) for _ in range(rounds))
        ahead.close()
        print(
            f"{stretch.resolution:>10d} {stretch.batch_size:>6d} {1 / step:>11,.4g}   {source:<9s} {reading:>15,.0f} "
            f"{step * reading:>15,.0f}"
        )
        row = {"resolution": stretch.resolution, "step": 1 / step, "reading": reading, "measured": source == "measured"}
        table.append(row)
    return table


def reader(data: TrainingData, resolution: int, workers: int | Literal["auto"]) -> Batches:
    """Batches as training reads them."""
    return batches(data, resolution=resolution, batch_size=BATCH_SIZE, start=0, seed=0, mirror=True, workers=workers)


def encode_pngs(data: TrainingData) -> list[bytes]:
    """Some of the images as PNG files."""
    files = []
    for image in data.read(np.arange(min(PNG_IMAGES, data.info.num_images)), data.info.img_resolution):
        buffer = io.BytesIO()
        to_pillow(image).save(buffer, format="png")
        files.append(buffer.getvalue())
    return files


def decode_pngs(files: list[bytes], resolution: int) -> Iterator[tuple[torch.Tensor, None]]:
    """Endless batches straight from PNG."""
    endless = cycle(files)
    while True:
        images = []
        for _ in range(BATCH_SIZE):
            pixels = np.asarray(Image.open(io.BytesIO(next(endless))))
            images.append(np.moveaxis(np.atleast_3d(pixels), -1, 0))
        yield torch.from_numpy(mip_levels(np.stack(images))[resolution]), None


def rate(source: Iterator, seconds: float) -> float:
    """Images per second."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        count += len(next(source)[0])
    return count / (time.perf_counter() - started)


def waiting(source: Iterator, step: float, seconds: float) -> float:
    """Milliseconds a step waits for its images, if it computes for ``step`` seconds between them."""
    a = torch.full((256, 256), 0.1)
    waits: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or len(waits) < 5:
        asked = time.perf_counter()
        next(source)
        got = time.perf_counter()
        waits.append(got - asked)
        while time.perf_counter() - got < step:
            a @ a
    return statistics.median(waits) * 1000


if __name__ == "__main__":
    main()
