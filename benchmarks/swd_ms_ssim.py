"""What SWD and MS-SSIM say of images whose quality is known: copies, other images of the same kind, and spoilt ones.

    python benchmarks/swd_ms_ssim.py --data cifar10.zip --num 4096 --floor 1024,16384

Two disjoint random halves of ``--num`` images each are drawn from the data. The first stands for the real images; the
second, and spoilt copies of it, for generated ones. ``half against half`` is the noise floor: what a perfect generator
would get. ``--floor`` prints it for other numbers of images. Seconds are of processor time, over all threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from ganzoo.data import open_dataset
from ganzoo.evaluation.images import FileImages
from ganzoo_progan.ms_ssim import MultiScaleSSIM, num_scales
from ganzoo_progan.swd import SlicedWasserstein

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder, zip or pack of images")
    parser.add_argument("--resolution", type=int, help="bring all images to this size; as they are if not given")
    parser.add_argument("--num", type=int, default=4096, help="images in each half")
    parser.add_argument("--floor", default="", help="comma-separated: sizes of halves to print the noise floor for")
    args = parser.parse_args()

    images = FileImages(open_dataset(args.data), resolution=args.resolution)
    floors = [int(size) for size in args.floor.split(",") if size]
    largest = max([args.num, *floors])
    if 2 * largest > len(images):
        parser.error(f"two halves of {largest:,} need {2 * largest:,} images; {args.data} has {len(images):,}")
    order = np.random.RandomState(SEED).permutation(len(images))[: 2 * largest]
    print(f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads")
    print(f"{Path(args.data).name} at {images.resolution} px; MS-SSIM over {num_scales(images.resolution)} scales\n")

    def halves(num: int) -> tuple[Held, Held]:
        return Held(images.read(order[:num])), Held(images.read(order[largest : largest + num]))

    real, other = halves(args.num)
    cases: dict[str, Callable[[], Held]] = {
        "the real images themselves": lambda: real,
        "half against half": lambda: other,
        "half, blurred (Gaussian, 1 px)": lambda: Held(np.stack([blurred(image) for image in other.pixels])),
        "half, noisy (sigma 10 of 255)": lambda: Held(noisy(other.pixels)),
        "1 % of half, 100 times each": lambda: Held(
            np.resize(other.pixels[: max(1, args.num // 100)], other.pixels.shape)
        ),
        "one image": lambda: Held(np.repeat(other.pixels[:1], args.num, axis=0)),
    }
    print_header(f"{args.num:,} images each", images.resolution)
    for name, make in cases.items():
        print_row(name, make(), real)
    if floors:
        print()
        print_header("half against half", images.resolution)
    for num in floors:
        real, other = halves(num)
        print_row(f"{num:,} images each", other, real)


class Held:
    """Images in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        return self.pixels[list(indices)]


def blurred(image: np.ndarray) -> np.ndarray:
    bands = [Image.fromarray(band).filter(ImageFilter.GaussianBlur(1)) for band in image]
    return np.stack([np.asarray(band) for band in bands])


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.RandomState(SEED).normal(0, 10, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def print_header(title: str, resolution: int) -> None:
    levels = [name for name in SlicedWasserstein.results if name == "swd" or int(name[4:]) <= resolution]
    print(f"{title:<32s}" + "".join(f"{name:>10s}" for name in levels) + "   MS-SSIM   SWD s  MS-SSIM s", flush=True)


def print_row(name: str, fake: Held, real: Held) -> None:
    started = time.process_time()
    swd = SlicedWasserstein().compute(fake, real)
    between = time.process_time()
    (similarity,) = MultiScaleSSIM().compute(fake, None).values()
    ended = time.process_time()
    numbers = "".join(f"{value:10.2f}" for value in swd.values())
    print(f"{name:<32s}{numbers}{similarity:10.4f}{between - started:8.1f}{ended - between:11.1f}", flush=True)


if __name__ == "__main__":
    main()
