"""The four translation recipes for CPUs, trained, and measured on images that they were not trained on.

    python benchmarks/translation.py --data translation.zip --emoji emoji.zip --out translation
    python benchmarks/translation.py --data translation.zip --emoji emoji.zip --out translation --only pix2pix_emoji_cpu
    python benchmarks/translation.py --data translation.zip --emoji emoji.zip --out translation --docs

Each recipe has a folder in --out with its run. One that is finished is not trained again; one that was stopped goes on.
``translation.json``, ``translation.md`` and a picture for each recipe are written anew every time; --docs writes them
into docs/translation.md as well. The exit code is 1 if a translation is no nearer to the truth than its source is.
See docs/translation.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

import ganzoo
from ganzoo.build import build_degradation
from ganzoo.data import open_data
from ganzoo.data.images import float_to_uint8
from ganzoo.errors import DataError, GanzooError
from ganzoo.files import atomic, write_text
from ganzoo.generation import LoadedGenerator
from ganzoo.plugins import load_plugins
from ganzoo.recipe import InputsConfig
from ganzoo.training.reals import inputs_at
from ganzoo.training.report import read_stats
from ganzoo.training.system import choose_device, device_name

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "translation.md"
PICTURES = ROOT / "docs" / "images" / "translation"
BEGIN, END = "<!-- translation.py --docs -->\n", "<!-- end -->"
# Data of each recipe: folders of pairs, or the emoji that are not held out.
PAIRS, EMOJI = "pairs", "emoji"
RECIPES = {
    "pix2pix_emoji_cpu": PAIRS,
    "cyclegan_emoji_cpu": PAIRS,
    "inpaint_emoji_cpu": EMOJI,
    "super-resolution_emoji_cpu": EMOJI,
}
HELD_EVERY = 12  # of the emoji's code points
SHOWN, ACROSS = 12, 4  # triples in a picture
SEED = 0  # of degradations


@dataclass(frozen=True)
class Triples:
    """Test images, uint8 [N, C, R, R]: what was given, what was made of it, and the truth.

    hole: bool [N, 1, R, R], or None where nothing was cut out.
    """

    source: np.ndarray
    output: np.ndarray
    truth: np.ndarray
    hole: np.ndarray | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a zip or folder with trainA, trainB, testA and testB")
    parser.add_argument("--emoji", type=Path, required=True, help="emoji.zip, with files named after their code points")
    parser.add_argument("--out", type=Path, default=Path("translation"), help="where everything goes")
    parser.add_argument("--only", action="append", metavar="RECIPE", help="only this recipe; may be repeated")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--docs", action="store_true", help="also write table and pictures into docs/translation.md")
    args = parser.parse_args()
    try:
        found = run_all(chosen(args.only), args.data, args.emoji, args.out, args.device)
        if args.docs:
            write_docs(args.out, found)
    except GanzooError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
    if failed := [r["recipe"] for r in found if not all(m["output"] < m["source"] for m in r["errors"].values())]:
        sys.exit(f"no nearer to the truth than the source: {', '.join(failed)}")


def chosen(names: list[str] | None) -> list[str]:
    if unknown := [name for name in names or [] if name not in RECIPES]:
        raise GanzooError(f"--only {unknown[0]}: is none of {', '.join(RECIPES)}")
    return [name for name in RECIPES if names is None or name in names]


def run_all(names: list[str], pairs: str, emoji: Path, out: Path, device: str) -> list[dict[str, Any]]:
    """Train what is not finished, measure, and write table, numbers and pictures; returns the numbers."""
    trained_on, held = {PAIRS: pairs, EMOJI: str(out / "emoji.zip")}, {PAIRS: pairs, EMOJI: str(out / "held.zip")}
    counts = hold_out(emoji, Path(trained_on[EMOJI]), Path(held[EMOJI]))
    print(f"{emoji}: {counts[0]:,} to train on, {counts[1]:,} held out")
    found = []
    for i, name in enumerate(names, start=1):
        print(f"\n[{i}/{len(names)}] {name}", flush=True)
        run = train(name, trained_on[RECIPES[name]], out / name, device)
        generator = ganzoo.load_generator(run, device=device)
        triples = translate(generator, held[RECIPES[name]])
        ticks = read_stats(run / "stats.jsonl")
        found.append(
            {
                "recipe": name,
                "nimg": generator.nimg,
                "seconds": seconds(ticks),
                "test_images": len(triples.truth),
                "errors": errors(triples),
                "device": device_name(choose_device(device)),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
        save(picture(triples), out / f"{name}.png")
        write_text(out / "translation.json", json.dumps(found, indent=1) + "\n")
        write_text(out / "translation.md", table(found))
    print(f"\n{table(found)}")
    return found


# Data.


def hold_out(source: Path, train: Path, held: Path) -> tuple[int, int]:
    """Copy the images of the zip ``source`` into two others; returns how many went into each.

    What shares its first code point, as the skin tones of an emoji do, goes into one of them, so that what is held out
    has no twin of another colour among what is trained on. Raises DataError for names without code points.
    """
    try:
        with zipfile.ZipFile(source) as images:
            names = sorted(n for n in images.namelist() if n.endswith(".png"))
            points = {name: first_code_point(name) for name in names}
            kept_out = set(sorted(set(points.values()))[HELD_EVERY - 1 :: HELD_EVERY])
            parts = [[n for n in names if (points[n] in kept_out) == is_held] for is_held in (False, True)]
            if not all(parts):
                raise DataError(f"{source}: has too few emoji to hold any out")
            for path, part in zip((train, held), parts, strict=True):
                # Times are those of zips without: the same images give the same file, so runs can go on.
                with atomic(path, error=DataError) as temporary, zipfile.ZipFile(temporary, "w") as written:
                    for name in part:
                        written.writestr(zipfile.ZipInfo(name), images.read(name))
    except (OSError, zipfile.BadZipFile) as problem:
        raise DataError(f"{source}: is no zip that can be read: {problem}") from problem
    return len(parts[0]), len(parts[1])


def first_code_point(name: str) -> str:
    """'people-body/emoji_u1f46e_1f3fb_200d_2640.png' -> '1f46e'."""
    if not (match := re.match(r"(?:emoji_)?u?([0-9a-f]{2,6})(?:_|$)", PurePosixPath(name).stem)):
        raise DataError(f"{name}: is not named after its code points, as emoji_u1f600.png is")
    return match[1]


# Training and translating.


def train(name: str, data: str, folder: Path, device: str) -> Path:
    """Train the recipe in ``folder``, or go on there, unless it is finished; returns the run's folder."""
    recipe = ROOT / "recipes" / f"{name}.yaml"
    runs = sorted(path.parent for path in folder.glob("*/recipe.yaml"))
    done = folder / "finished.json"
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))  # comments may change
    same = {"recipe": settings, "data": Path(data).name}
    if done.is_file():
        if json.loads(done.read_text(encoding="utf-8")) != same:
            raise GanzooError(f"{folder}: was trained with another recipe or data; remove it or choose another --out")
        print("finished before")
        return runs[-1]
    result = ganzoo.train(
        recipe,
        data=data,
        outdir=folder,
        resume=runs[-1] if runs else None,
        overrides=[f"system.device={device}"],
    )
    if result.signal is not None:
        raise KeyboardInterrupt
    write_text(done, json.dumps(same) + "\n")
    return result.run_dir


def seconds(ticks: Sequence[dict[str, Any]]) -> float:
    """That training took; ticks: lines of stats.jsonl."""
    shown, total = 0, 0.0
    for tick in ticks:
        total += tick["timing"]["sec_per_kimg"] * (tick["nimg"] - shown) / 1000
        shown = tick["nimg"]
    return total


@torch.no_grad()
def translate(generator: LoadedGenerator, data: str) -> Triples:
    """All test images: testA with testB as the truth, or those of ``data`` and what the degradation leaves of them."""
    config, registry = generator.recipe.data, load_plugins().registry
    assert config.inputs is not None
    inputs = config.inputs
    if inputs.degrade is None:
        # Also without pairs to train on: the names of the test images are the same.
        inputs = InputsConfig(kind="same-name", a="testA", b="testB", img_channels=inputs.img_channels)
    test = open_data(config.model_copy(update={"path": data, "inputs": inputs}), registry)
    indices, resolution = np.arange(test.info.num_images), generator.growth.resolution
    degradation, _ = build_degradation(generator.recipe, registry, img_channels=generator.img_channels)
    source = inputs_at(test, degradation, indices, resolution, seed=SEED, device=generator.device)
    output = torch.cat([generator.translate(chunk) for chunk in source.split(32)])
    truth = test.read(indices, resolution)
    hole = None
    if source.shape[1] > truth.shape[1]:  # by its mask
        hole = (source[:, -1:] > 0).cpu().numpy()
        source = source[:, :-1]
    return Triples(to_array(source), to_array(output), truth, hole)


def to_array(images: Tensor) -> np.ndarray:
    return float_to_uint8(images.float()).cpu().numpy()


# Numbers.


def errors(triples: Triples) -> dict[str, dict[str, float]]:
    """Mean absolute errors, 0 to 255, of output and source; the share of images in which the output is nearer.

    By place: "image", and "hole" if there is one.
    """
    places = {"image": np.ones_like(triples.truth[:, :1], bool)}
    if triples.hole is not None:
        places["hole"] = triples.hole
    return {place: errors_in(triples, inside) for place, inside in places.items()}


def errors_in(triples: Triples, inside: np.ndarray) -> dict[str, float]:
    """inside: bool [N, 1, R, R]. Each image counts the same, however much of it is inside."""
    pixels = inside.sum(axis=(1, 2, 3)) * triples.truth.shape[1]
    output, source = (
        (np.abs(images.astype(np.int16) - triples.truth) * inside).sum(axis=(1, 2, 3)) / pixels
        for images in (triples.output, triples.source)
    )
    return {
        "output": float(output.mean()),
        "source": float(source.mean()),
        "nearer": float((output < source).mean()),
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown, a recipe a row, and one more for what is within holes."""
    rows = [
        "| recipe | test images | error of the output | of the source | output nearer | images shown | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        for place, e in r["errors"].items():
            measured = f"{e['output']:.1f} | {e['source']:.1f} | {e['nearer']:.0%}"
            if place == "image":
                minutes = r["seconds"] / 60
                rows.append(f"| {r['recipe']} | {r['test_images']} | {measured} | {r['nimg']:,} | {minutes:.1f} min |")
            else:
                rows.append(f"| ... within the {place} | | {measured} | | |")
    machines = sorted(
        {f"{r['device']}, {r['threads']} thread{'s' * (r['threads'] > 1)}, torch {r['torch']}" for r in found}
    )
    return "\n".join([*rows, "", f"*Trained on {'; '.join(machines)}.*", ""])


# Pictures.


def picture(triples: Triples) -> Image.Image:
    """A dozen triples, spread evenly: source, output, truth, side by side, enlarged, with room between triples."""
    n = len(triples.truth)
    indices = np.linspace(0, n - 1, min(SHOWN, n)).round().astype(int)
    size = triples.truth.shape[-1]
    factor = max(1, 96 // size)
    cell, gap = size * factor, 12
    rows = -(-len(indices) // ACROSS)
    canvas = Image.new("RGB", (ACROSS * (3 * cell + gap) - gap, rows * (cell + gap) - gap), "white")
    for place, index in enumerate(indices):
        x, y = place % ACROSS * (3 * cell + gap), place // ACROSS * (cell + gap)
        for i, images in enumerate((triples.source, triples.output, triples.truth)):
            pixels = np.broadcast_to(images[index], (3, size, size)).transpose(1, 2, 0)
            one = Image.fromarray(np.ascontiguousarray(pixels)).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(one, (x + i * cell, y))
    return canvas


def save(image: Image.Image, path: Path) -> None:
    with atomic(path) as temporary:
        image.save(temporary, format="png", optimize=True)


def write_docs(out: Path, found: list[dict[str, Any]]) -> None:
    """Table and pictures into docs/translation.md, between its marks."""
    text = DOCS.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or END not in text.split(BEGIN)[1]:
        raise GanzooError(f"{DOCS}: must have one line {BEGIN.strip()!r}, and {END!r} below it")
    shown = []
    for r in found:
        name = r["recipe"]
        with Image.open(out / f"{name}.png") as image:
            save(image, PICTURES / f"{name}.png")
        shown.append(f"**{name}**\n\n![{name}: source, output, truth](images/translation/{name}.png)\n")
    written = "\n" + "\n".join([table(found), *shown]) + "\n"
    write_text(
        DOCS, re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + written + END, text, flags=re.S)
    )


if __name__ == "__main__":
    main()
