"""What is fuzzed: for each target a strategy of inputs, and what has to hold for every one of them.

A check returns for good input, raises GanzooError for bad input, and lets nothing else out: no traceback, no hang, no
file outside the folder that it is given.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "safety"))  # crafted.py
from crafted import RECIPE, make_snapshot, tree

from ganzoo.cli import main
from ganzoo.data import open_dataset
from ganzoo.data.decode import decode
from ganzoo.data.fit import Fit
from ganzoo.data.labels import from_dataset_json, label_size, to_vectors
from ganzoo.data.repack import pack_images
from ganzoo.errors import GanzooError, printable
from ganzoo.generation import load_generator, parse_seeds
from ganzoo.plugins import load_plugins
from ganzoo.recipe import load_recipe, strict_yaml
from ganzoo.training.plan import check_recipe
from ganzoo.weights import load_weights, save_weights

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SMALL = [path for path in RECIPES if "_cpu" in path.name or path.name == "quickstart.yaml"]  # built in no time
SECONDS = 60  # of computing; beyond, a case hangs


@dataclass(frozen=True)
class Target:
    """cases: in the ordinary test run."""

    name: str
    strategy: st.SearchStrategy[Any]
    check: Callable[[Any, Path], None]
    cases: int


TARGETS: dict[str, Target] = {}


def target(strategy: st.SearchStrategy[Any], cases: int) -> Callable[[Callable[[Any, Path], None]], None]:
    def add(check: Callable[[Any, Path], None]) -> None:
        name = check.__name__.replace("_", " ").strip()
        TARGETS[name] = Target(name, strategy, check, cases)

    return add


class HangError(AssertionError):
    """A case took longer than SECONDS."""


def run(chosen: Target, case: Any) -> bool:
    """Check one case in a folder of its own; True if the input was good. Raises whatever it must not."""
    with tempfile.TemporaryDirectory() as name, _within(Path(name)) as folder:
        before = tree(Path(name))
        good = True
        try:
            chosen.check(case, folder)
        except GanzooError as error:
            good = False
            assert str(error).strip(), "an error without a message"
            assert printable(str(error))
        outside = {path: digest for path, digest in tree(Path(name)).items() if not path.startswith(f"{folder}/")}
        outside = {path: digest for path, digest in outside.items() if not path.startswith(f"{name}/cache/")}
        assert outside == before, "wrote outside its folder"
        return good


@contextmanager
def _within(base: Path) -> Iterator[Path]:
    """An empty working directory below ``base`` with a file beside it, and an alarm."""
    folder, here, cache = base / "a" / "work", Path.cwd(), os.environ.get("GANZOO_CACHE")
    folder.mkdir(parents=True)
    (base / "a" / "x.png").write_bytes(b"outside")

    def ring(*_: object) -> None:
        raise HangError(f"took more than {SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of this process, whatever else the machine does
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)  # and for what waits
    os.environ["GANZOO_CACHE"] = str(base / "cache")
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(here)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, previous)
        os.environ.pop("GANZOO_CACHE")
        if cache is not None:
            os.environ["GANZOO_CACHE"] = cache


@functools.cache
def plugins() -> Any:
    return load_plugins()


# What people and programs get wrong.
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 3, 4, 7, 8, 16, 64, 100, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**4000]),
    st.sampled_from([0.5, -0.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")]),
)
WORDS = st.one_of(
    st.sampled_from(
        ["", " ", "\t", ".", "..", "/", "../x.png", "a/b.png", "~", "é", "漢", "\x1b[2J", "\u202e", "\x7f"]
    ),
    st.sampled_from(["null", "true", "nan", "-1", "1e999", "a" * 300, "%s", "{}", "$(id)", "os.system"]),
    st.sampled_from(["!!python/name:os.system", "*a", "&a x", "<<", "---", "#12", "adam", "mlp", "fixed", "hinge"]),
    st.sampled_from(["crop", "white", "cpu", "cuda:9", "auto", "meta"]),
)
TEXT = st.one_of(WORDS, st.text(max_size=12))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)
SEEDS = st.integers(0, 2**32 - 1)  # of edits that are too many for hypothesis to choose one by one


def _edited(data: bytes, seed: int, most: int = 8, skip: int = 0) -> bytes:
    """Flipped bits, lost, doubled and replaced stretches, extreme numbers, beyond the first ``skip`` bytes."""
    rng = random.Random(seed)
    content = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if len(content) <= skip:
            break
        at = rng.randrange(skip, len(content))
        span = min(len(content) - at, rng.choice([1, 1, 2, 4, 16, 64]))
        kind = rng.randrange(6)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at : at + span]
        elif kind == 2:
            content[at:at] = content[at : at + span]
        elif kind == 3:
            content[at : at + span] = rng.randbytes(span)
        elif kind == 4:
            number = rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
            width = rng.choice(["<I", ">I"])
            content[at : at + 4] = struct.pack(width, number)[: len(content) - at]
        else:
            del content[at:]
    return bytes(content)


# Recipes


@target(st.one_of(st.text(max_size=200), st.lists(TEXT, max_size=12).map("".join), VALUES.map(repr)), cases=60)
def yaml(case: str, folder: Path) -> None:
    document = strict_yaml.read(case, "a.yaml")
    if not document.problems:
        assert repr(strict_yaml.read(strict_yaml.dump(document.data), "b.yaml").data) == repr(document.data)


def _spoiled_text(case: tuple[Path, int, list[tuple[int, str]]]) -> str:
    path, seed, inserts = case
    text = _flat(path)
    for at, what in inserts:
        at %= len(text)
        text = text[:at] + what + text[at:]
    return _edited(text.encode(), seed, most=3).decode(errors="replace") if seed % 4 == 0 else text


@functools.cache
def _flat(path: Path) -> str:
    """A recipe without ``extends``."""
    recipe = load_recipe(path, plugins().registry)
    return strict_yaml.dump({**recipe.model_dump(exclude_none=True), "name": "fuzzed"})


@target(st.tuples(st.sampled_from(SMALL), SEEDS, st.lists(st.tuples(SEEDS, TEXT), min_size=1, max_size=3)), cases=6)
def recipe_text(case: Any, folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(_spoiled_text(case), encoding="utf-8", errors="surrogatepass")
    check_recipe(path, plugins().registry)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in below for found in _paths(inner, (*path, key)))]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = _put(copied[path[0]], path[1:], new)
    return copied


@target(st.tuples(st.sampled_from(SMALL), st.lists(st.tuples(SEEDS, VALUES), min_size=1, max_size=3)), cases=8)
def recipe_structure(case: Any, folder: Path) -> None:
    source, changes = case
    data = strict_yaml.read(_flat(source), "a.yaml").data
    for at, value in changes:
        paths = _paths(data)[1:]
        if paths:
            data = _put(data, paths[at % len(paths)], value)
    path = folder / "recipe.yaml"
    path.write_text(strict_yaml.dump(data), encoding="utf-8", errors="surrogatepass")
    check_recipe(path, plugins().registry)


_LIKE: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.one_of(st.integers(-1, 40), st.sampled_from([64, 1000, 16384, 10**6, 2**31, 2**53, 2**62, 2**63 - 1])),
    float: st.one_of(
        st.floats(allow_subnormal=False),
        st.floats(0, 1, allow_subnormal=False),
        st.sampled_from([0.0, 1e-300, 1e12, 1e300, 1.0, 0.5]),
    ),
}


@target(
    st.tuples(st.sampled_from(SMALL), st.lists(st.tuples(SEEDS, st.fixed_dictionaries(_LIKE)), min_size=1, max_size=2)),
    cases=4,
)
def recipe_values(case: Any, folder: Path) -> None:
    """Of the right type, so that networks and schedules get to see them."""
    source, changes = case
    data = strict_yaml.read(_flat(source), "a.yaml").data
    leaves = [path for path in _paths(data)[1:] if type(_at(data, path)) in _LIKE]
    for at, values in changes:
        path = leaves[at % len(leaves)]
        data = _put(data, path, values[type(_at(data, path))])
    path = folder / "recipe.yaml"
    path.write_text(strict_yaml.dump(data), encoding="utf-8")
    check_recipe(path, plugins().registry)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, value)


@functools.cache
def _keys() -> list[str]:
    data = strict_yaml.read(_flat(ROOT / "recipes" / "quickstart.yaml"), "a.yaml").data
    return [strict_yaml.dotted(path) for path in _paths(data)[1:]]


_KEYS = st.one_of(st.deferred(lambda: st.sampled_from(_keys())), TEXT)


@target(st.lists(st.tuples(_KEYS, st.one_of(TEXT, VALUES.map(repr))), min_size=1, max_size=3), cases=6)
def overrides(case: list[tuple[str, str]], folder: Path) -> None:
    given = [f"{key}={value}" for key, value in case]
    check_recipe(ROOT / "recipes" / "quickstart.yaml", plugins().registry, given)


@target(TEXT | st.text(alphabet="0123456789-, ", max_size=20), cases=40)
def seeds(case: str, folder: Path) -> None:
    assert len(parse_seeds(case)) <= 100_000


# Data

_FORMATS = {
    "png": {},
    "jpeg": {},
    "webp": {},
    "gif": {},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
    "ppm": {},
    "tga": {},
}


@functools.cache
def picture(format: str, mode: str = "RGB") -> bytes:
    pixels = np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(
        buffer, format, **({"compression": "tiff_lzw"} if format == "tiff" else {})
    )
    return buffer.getvalue()


_MODES = {"png": ["1", "L", "LA", "P", "RGB", "RGBA"], "jpeg": ["L", "RGB", "CMYK"], "webp": ["RGB", "RGBA"],
          "tiff": ["1", "L", "RGB", "RGBA", "CMYK", "F", "I"]}  # fmt: skip
_PICTURES = st.sampled_from([(f, m) for f in _FORMATS for m in _MODES.get(f, ["RGB"])])


@target(st.tuples(_PICTURES, SEEDS, st.sampled_from([0, 0, 8])), cases=80)
def images(case: Any, folder: Path) -> None:
    (format, mode), seed, skip = case
    pixels = decode(_edited(picture(format, mode), seed, skip=skip), "fuzzed")
    assert pixels.dtype in (np.uint8, np.uint16)
    assert Fit(4, 3)(pixels, "fuzzed").shape == (3, 4, 4)


_ENTRY = st.one_of(VALUES, st.tuples(st.sampled_from(["a.png", "b/c.png", "x.png"]), VALUES).map(list))
_LABELS = st.fixed_dictionaries(
    {}, optional={"labels": st.one_of(VALUES, st.lists(_ENTRY, max_size=4)), "class_names": VALUES, "x": VALUES}
)
_GOOD = st.tuples(VALUES, VALUES).map(lambda pair: {"labels": [["a.png", pair[0]], ["b/c.png", pair[1]]]})


@target(st.tuples(st.one_of(_LABELS, _GOOD, VALUES), st.one_of(st.none(), SEEDS)), cases=60)
def dataset_json(case: Any, folder: Path) -> None:
    content, seed = case
    data = json.dumps(content).encode()
    data = data if seed is None else _edited(data, seed, most=3)
    labels, names = from_dataset_json(data, ["a.png", "b/c.png"], "dataset.json")
    if labels is not None:
        assert to_vectors(labels, label_size(labels, names)).shape[0] == 2


_MEMBERS = st.dictionaries(
    st.one_of(st.sampled_from(["a.png", "b/c.png", "../x.png", "/x.png", "..\\x.png", "dataset.json", "d.JPG"]), TEXT),
    st.one_of(_PICTURES, VALUES), max_size=5,
)  # fmt: skip


@target(st.tuples(_MEMBERS, st.one_of(st.none(), SEEDS), st.booleans()), cases=25)
def zips(case: Any, folder: Path) -> None:
    members, seed, packed = case
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            with suppress(ValueError, IndexError):  # names that zipfile itself does not write
                archive.writestr(
                    name, picture(*content) if isinstance(content, tuple) else json.dumps(content).encode()
                )
    (folder / "set.zip").write_bytes(buffer.getvalue() if seed is None else _edited(buffer.getvalue(), seed))
    dataset = open_dataset(str(folder / "set.zip"))
    assert len(dataset.fingerprint) == 32
    pack_images(str(folder / "set.zip"), folder / "packed", resolution=4, skip_bad=9, log=lambda line: None)
    assert open_dataset(str(folder / "packed")).image(0).shape[:2] == (4, 4)


# Weights

_SNAPSHOT_KEYS = ["format", "recipe", "nimg", "growth", "model", "class_names", "plugins", "ganzoo"]


@functools.cache
def _snapshot() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make_snapshot(Path(folder)).read_bytes()


def _sample(path: Path) -> None:
    generator = load_generator(path, plugins=plugins())
    with torch.no_grad():
        size = generator.growth.resolution
        assert generator(torch.zeros(1, generator.z_dim)).shape == (1, generator.img_channels, size, size)


@target(st.tuples(SEEDS, st.sampled_from([0, 0, 8])), cases=60)
def safetensors_bytes(case: Any, folder: Path) -> None:
    seed, skip = case
    data = _snapshot()
    length = struct.unpack("<Q", data[:8])[0]
    edited = _edited(data[: 8 + length], seed, skip=skip)
    if skip and seed % 2:  # the length that the header now has, so that it gets read
        edited = struct.pack("<Q", len(edited) - 8) + edited[8:]
    path = folder / "snapshot.safetensors"
    path.write_bytes(edited + data[8 + length :])
    _sample(path)


@target(st.dictionaries(st.sampled_from(_SNAPSHOT_KEYS), st.one_of(TEXT, VALUES.map(json.dumps), SEEDS),
                        min_size=1, max_size=3), cases=25)  # fmt: skip
def safetensors_metadata(case: dict[str, str | int], folder: Path) -> None:
    path = folder / "snapshot.safetensors"
    path.write_bytes(_snapshot())
    tensors, metadata = load_weights(path)
    for key, value in case.items():
        if isinstance(value, int):
            metadata[key] = _edited(metadata[key].encode(), value, most=2).decode(errors="replace")
        else:
            metadata[key] = value.encode(errors="replace").decode()
    metadata.pop("sha256")
    save_weights(path, tensors, metadata)
    _sample(path)


@target(
    st.tuples(st.sampled_from(["z_dim", "hidden_dim", "hidden_layers", "x"]), VALUES | st.integers(1, 2**63)), cases=10
)
def recipe_in_a_snapshot(case: Any, folder: Path) -> None:
    key, value = case
    data = strict_yaml.read(RECIPE, "a.yaml").data
    data["generator"]["args"][key] = value
    _sample(make_snapshot(folder, recipe=strict_yaml.dump(data).encode(errors="replace").decode()))


# The command line


@functools.cache
def _commands() -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            found += [((name, inner), command.commands[inner]) for inner in command.list_commands(context)]
        elif command is not None:
            found.append(((name,), command))
    return found


_FILES = ["set", "set.zip", "packed", "run", "run/snapshots/snapshot-000001.safetensors", "small.yaml", "empty", "none"]
_FILES += ["result.json", "set/a.png", "cut.safetensors"]
# Whoever asks for a billion frames waits for them; that is no fault.
_COUNTS = st.sampled_from(["0", "-1", "1", "2", "x", "", "1e3", "1.5"])
_PLAIN = st.one_of(
    st.sampled_from(["0", "-1", "1", "2", "8", "0-2", "0..1", "nan", "inf", "9" * 30, "9223372036854775808", "2x2"]),
    st.sampled_from(["auto", "all", "seed=1", "train.total_kimg=x", "data.path=none", "small", "fid", "w", "z", "a2b"]),
    WORDS,
)
# What a shell can pass on.
_ARGUMENT = st.one_of(WORDS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with options of its own and arguments that may fit."""
    names, command = draw(st.sampled_from(_commands()))
    line = list(names)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            low, high = (0, 2) if parameter.nargs == -1 else (1, 1)
            line += draw(st.lists(st.sampled_from(_FILES) | _ARGUMENT, min_size=low, max_size=high))
        elif draw(st.booleans()) or parameter.required:
            name = draw(st.sampled_from(parameter.opts + parameter.secondary_opts))
            if name in ("--device", "--allow-download", "--help"):
                continue
            line.append(name)
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                if isinstance(parameter.type, click.Choice) and draw(st.booleans()):
                    line.append(draw(st.sampled_from(sorted(map(str, parameter.type.choices)))))
                elif name in ("--frames", "--num", "--num-real", "--steps", "--standing-stats", "--batch", "--kimg"):
                    line.append(draw(_COUNTS))
                elif name.startswith("--out") or name == "--contact-sheet":
                    line.append(
                        draw(st.sampled_from(["o", "o.png", "o.zip", "o.gif", "o.txt", "set", "", "set/a.png/"]))
                    )
                else:
                    line.append(draw(st.one_of(_PLAIN, st.sampled_from(_FILES))))
    if any(parameter.name == "device" for parameter in command.params):
        line += ["--device", "cpu"]
    if names == ("run",):
        line.append("--dry-run")  # training is no matter for here
    if names == ("project",):
        line += ["--steps", "1"]
    line += draw(st.lists(_ARGUMENT, max_size=1)) if draw(st.integers(0, 9)) == 0 else []
    return line


@functools.cache
def _things() -> Path:
    """What the command lines work on, made once."""
    folder = Path(tempfile.mkdtemp(prefix="ganzoo-fuzz-"))
    (folder / "set").mkdir()
    (folder / "empty").mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (8, 8), (i, 9, 9)).save(folder / "set" / name)
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        archive.writestr("a.png", picture("png"))
    pack_images(str(folder / "set"), folder / "packed", resolution=8, log=lambda line: None)
    (folder / "run").mkdir()
    make_snapshot(folder / "run" / "snapshots")
    (folder / "run" / "recipe.yaml").write_text(RECIPE)
    (folder / "small.yaml").write_text(RECIPE)
    (folder / "result.json").write_text('{"format": "ganzoo-evaluation/1", "results": [{}]}')
    (folder / "cut.safetensors").write_bytes(_snapshot()[:500])
    return folder


@target(command_lines(), cases=12)
def command_line(case: list[str], folder: Path) -> None:
    shutil.copytree(_things(), folder, dirs_exist_ok=True)
    result = CliRunner().invoke(main, case)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in ((0, 1, 2) if case[0] == "doctor" else (0, 2)), result.output
    assert "\x1b" not in result.output
    if result.exit_code == 2:
        message = re.sub(r"^Usage: .*|^Try .*", "", result.output, flags=re.MULTILINE)
        raise GanzooError(message)
