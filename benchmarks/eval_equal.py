"""`ganzoo eval` beside torch-fidelity's own command: same weights, same two folders, same numbers to 1e-4.

    python benchmarks/eval_equal.py --data ../shared/data/cifar10.zip --num 120

Writes two folders of images (every other one is blurred in the first) and a randomly initialised file of Inception
weights into a temporary folder, runs both commands on the CPU and compares. With --weights the real weights are used.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from random_inception import make_random_inception

from ganzoo.data import open_dataset
from ganzoo.data.subset import Subset

TOLERANCE = 1e-4
# torch-fidelity's name -> ours
NAMES = {
    "frechet_inception_distance": "fid",
    "kernel_inception_distance_mean": "kid",
    "inception_score_mean": "isc",
    "precision": "precision",
    "recall": "recall",
    "f_score": "f_score",
}
# Its command, beside any build of torchvision.
FIDELITY = (
    "from ganzoo.evaluation.fidelity import torch_fidelity; torch_fidelity(); "
    "from torch_fidelity.fidelity import main; main()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="any images of one size, at least twice --num")
    parser.add_argument("--num", type=int, default=120, help="images in each folder")
    parser.add_argument("--weights", type=Path, help="a file of Inception weights instead of a random one")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = args.weights or make_random_inception(folder / "inception.pth")
        a, b = write_folders(args.data, args.num, folder)
        theirs, ours = run_theirs(a, b, weights, args.num), run_ours(a, b, weights, folder / "cache")
    worst = 0.0
    print(f"{'':<12}{'torch-fidelity':>18}{'ganzoo':>18}{'relative':>12}")
    for their_name, name in NAMES.items():
        x, y = theirs[their_name], ours[name]
        error = abs(x - y) / max(abs(x), 1e-12) if x != y else 0.0
        worst = max(worst, error)
        print(f"{name:<12}{x:>18.10g}{y:>18.10g}{error:>12.1e}")
    print("equal" if worst <= TOLERANCE else "DIFFERENT")
    raise SystemExit(worst > TOLERANCE)


def write_folders(data: str, num: int, folder: Path) -> tuple[Path, Path]:
    """PNGs of 2 * num images: one half with every other image blurred, the other as it is."""
    dataset = Subset(open_dataset(data), 2 * num)
    for i in range(len(dataset)):
        picture = Image.fromarray(np.asarray(dataset.image(i)))
        if i % 4 == 0:
            picture = picture.filter(ImageFilter.GaussianBlur(2))
        path = folder / ("a" if i % 2 == 0 else "b") / f"{i:06d}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
    return folder / "a", folder / "b"


def run_theirs(a: Path, b: Path, weights: Path, num: int) -> dict[str, float]:
    arguments = ["--cpu", "--silent", "--json", "--fid", "--kid", "--isc", "--prc", "--no-datasets-download"]
    arguments += ["--feature-extractor", "inception-v3-compat", "--feature-extractor-weights-path", str(weights)]
    arguments += ["--kid-subset-size", str(min(1000, num)), "--input1", str(a), "--input2", str(b)]
    return json.loads(run([sys.executable, "-c", FIDELITY, *arguments]))


def run_ours(a: Path, b: Path, weights: Path, cache: Path) -> dict[str, float]:
    arguments = ["--fid", "--kid", "--isc", "--prc", "--weights", str(weights), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "ganzoo", "eval", str(a), "--data", str(b), *arguments]
    found = json.loads(run(command, GANZOO_CACHE=str(cache)))
    return {result["name"]: result["value"] for result in found["results"]}


def run(command: list[str], **environment: str) -> str:
    import os

    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
