"""Weights of others after `ganzoo import`: does the snapshot give their images? One table, a row a family and item.

    python benchmarks/import_equal.py                     # needs the reference data, shared/golden beside the checkout
    python benchmarks/import_equal.py --docs              # and the table into docs/import.md

The reference data hold each network's weights, an input and the image that the original code makes of it. They are
written out here as the original project stores them: torch's zip and its older format, pickles with embedded source
as NVIDIA's PyTorch and TensorFlow code write them. The source would leave a file behind if anybody ran it.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import sys
import tempfile
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ganzoo.generation import load_generator
from ganzoo.importing.convert import import_weights
from ganzoo.plugins import LoadedPlugins, load_plugins

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / "shared" / "golden"
DOCS = ROOT / "docs" / "import.md"
BEGIN, END = "<!-- import_equal.py --docs -->\n", "<!-- end -->"
SOURCE = "open({path!r}, 'w').write('the source of a stranger ran')\nclass Network: pass\n"


@dataclass(frozen=True)
class Item:
    """One reference item: see shared/golden/NOTES.md."""

    name: str
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: x for name, x in self.tensors.items() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


Pairs = list[tuple[Tensor, Tensor]]  # (ours, theirs)


@dataclass(frozen=True)
class Case:
    """A family, the items that are of it, and how its project writes and uses them.

    write: item, folder -> files. compare: loaded snapshot, item -> images.
    """

    family: str
    items: str
    stored: str
    write: Callable[[Item, Path], list[Path]]
    compare: Callable[[Any, Item], Pairs]
    options: dict[str, Any] = field(default_factory=dict)
    but: str = "^$"  # items, by name, of which our network is another function


def load_item(name: str) -> Item:
    path = GOLDEN / f"{name}.json"
    return Item(name, json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))


# --- what original projects have of their own in sys.modules when they write -----------------------------------------


def trap() -> Path:
    """Where a file appears if embedded source is ever run."""
    return Path(tempfile.gettempdir()) / "ganzoo-import-source-ran"


@contextmanager
def their_modules() -> Iterator[types.SimpleNamespace]:
    """Modules and classes with the names that pickles of other projects refer to."""
    names = ["torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util", "dnnlib.tflib", "dnnlib.tflib.network"]
    names += ["tfutil", "models", "models.utils", "models.utils.config"]
    before = {name: sys.modules.get(name) for name in names}
    made = {name: types.ModuleType(name) for name in names}
    sys.modules.update(made)

    def place(module: str, thing: Any) -> Any:
        thing.__module__, thing.__qualname__ = module, thing.__name__
        setattr(made[module], thing.__name__, thing)
        return thing

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("nobody is to call this")

    place("torch_utils.persistence", _reconstruct_persistent_obj)

    class EasyDict(dict):
        pass

    class Persistent(nn.Module):
        """A module that is pickled as NVIDIA's @persistent_class does it, class_name by instance."""

        class_name = "Module"

        def __reduce__(self) -> Any:
            meta = made["dnnlib.util"].EasyDict(
                type="class",
                version=6,
                module_src=SOURCE.format(path=str(trap())),
                class_name=self.class_name,
                state=self.__dict__,
            )
            return made["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)

    class Network:
        def __init__(self, state: dict[str, Any]) -> None:
            self.state = state

        def __getstate__(self) -> dict[str, Any]:
            return self.state

    class BaseConfig:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    place("dnnlib.util", EasyDict)
    place("models.utils.config", BaseConfig)
    tf, old_tf = type("Network", (Network,), {}), type("Network", (Network,), {})
    place("dnnlib.tflib.network", tf)
    place("tfutil", old_tf)
    try:
        yield types.SimpleNamespace(
            EasyDict=EasyDict, Persistent=Persistent, Network=tf, OldNetwork=old_tf, BaseConfig=BaseConfig
        )
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def state_dict(tensors: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, x.clone()) for name, x in tensors.items())


def save(content: Any, path: Path, *, legacy: bool = False) -> list[Path]:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return [path]


def dump(content: Any, path: Path) -> list[Path]:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return [path]


def tf_network(
    make: Any, name: str, variables: dict[str, Tensor], args: dict[str, Any], components: dict[str, Any] | None = None
) -> Any:
    """As dnnlib.tflib.Network pickles itself; tfutil's had no components."""
    found = [(key, x.numpy().copy() if x.ndim else np.float32(x.item())) for key, x in variables.items()]
    state = {
        "version": 4 if components is not None else 2,
        "name": name,
        "static_kwargs": args,
        "build_module_src": SOURCE.format(path=str(trap())),
        "build_func_name": name,
        "variables": found,
    }
    return make(state if components is None else {**state, "components": components})


# --- ProGAN -----------------------------------------------------------------------------------------------------------


def write_progan_tf(item: Item, folder: Path, lod: float = 0.0) -> list[Path]:
    g, d = item.meta["constructor"]["G"], item.meta["constructor"]["D"]
    with their_modules() as made:
        variables = {"lod": torch.tensor(lod), **item.under("w/G/")}
        networks = (
            tf_network(made.OldNetwork, "G", {k: torch.zeros_like(x) for k, x in variables.items()}, g),
            tf_network(made.OldNetwork, "D", item.under("w/D/"), d),
            tf_network(made.OldNetwork, "Gs", variables, g),
        )
        return dump(networks, folder / "network-final.pkl")


def write_progan_fading(item: Item, folder: Path) -> list[Path]:
    return write_progan_tf(item, folder, fading_lod(item))


def fading_lod(item: Item) -> float:
    return next(lod for lod in item.meta["lods"] if lod % 1)


def compare_lod(lod_of: Callable[[Item], float]) -> Callable[[Any, Item], Pairs]:
    def compare(generator: Any, item: Item) -> Pairs:
        lod = lod_of(item)
        image = generator(item["in/z"], item.tensors.get("in/label"))
        size = item.meta["resolution"]
        shown = F.interpolate(image, size=(size, size), mode="nearest")
        theirs = f"out/image_lod{lod}"
        return [(shown, item[theirs if theirs in item.tensors else "out/image"])]

    return compare


def write_genforce(item: Item, folder: Path) -> list[Path]:
    ema, d = state_dict(item.under("w/G/")), state_dict(item.under("w/D/"))
    g = OrderedDict((name, torch.zeros_like(x)) for name, x in ema.items())
    optimiser = {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.001, "params": [0]}]}
    models = {"discriminator": d, "generator": g, "generator_smooth": ema}
    return save({"models": models, "optimizers": {"generator": optimiser}, "iteration": 7}, folder / "checkpoint.pth")


def write_pgz(item: Item, folder: Path) -> list[Path]:
    with their_modules() as made:
        config = made.BaseConfig(
            noiseVectorDim=item.meta["constructor"]["dimLatentVector"],
            categoryVectorDim=0,
            alpha=item.meta["alpha"],
            leakyReluLeak=0.2,
            perChannelNormalization=True,
            depthScales=[512, 512],
        )
        ema = state_dict(item.under("w/G/"))  # their image is of netG
        g = OrderedDict((name, torch.zeros_like(x)) for name, x in ema.items())
        content = {"config": config, "netG": g, "netD": state_dict(item.under("w/D/")), "avgG": ema}
        return save(content, folder / "celeba_s3_i48000.pt", legacy=True)


CASES = [
    Case("progan-tf", "progan_official_r*", ".pkl", write_progan_tf, compare_lod(lambda item: 0.0)),
    Case("progan-tf", "progan_official_r16_fused", ".pkl, lod 0.4", write_progan_fading, compare_lod(fading_lod)),
    Case(
        "progan-genforce",
        "progan_genforce_*",
        ".pth",
        write_genforce,
        compare_lod(lambda item: 0.0),
        but="label",
    ),
    Case("progan-pgz", "progan_pgz_s*", ".pt, old format", write_pgz, compare_lod(lambda item: 0.0)),
]


@dataclass(frozen=True)
class Row:
    family: str
    item: str
    stored: str
    difference: float
    largest: float

    @property
    def relative(self) -> float:
        return self.difference / self.largest


def items_of(case: Case) -> list[str]:
    return [p.stem for p in sorted(GOLDEN.glob(f"{case.items}.json")) if not re.search(case.but, p.stem)]


@torch.no_grad()
def measure(case: Case, name: str, plugins: LoadedPlugins | None = None) -> Row:
    """Write, import, sample, compare. Raises RuntimeError if embedded source was run."""
    plugins = plugins or load_plugins()
    item = load_item(name)
    with tempfile.TemporaryDirectory() as folder:
        files = case.write(item, Path(folder))
        out = Path(folder) / "imported.safetensors"
        found = import_weights(files, out, options=case.options, plugins=plugins)
        if found.family != case.family:
            raise RuntimeError(f"{name}: taken for {found.family} and is {case.family}")
        pairs = case.compare(load_generator(out, plugins=plugins), item)
    if trap().exists():
        trap().unlink()
        raise RuntimeError(f"{name}: embedded source was run")
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise RuntimeError(f"{name}: images of {list(ours.shape)} in place of {list(theirs.shape)}")
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    return Row(case.family, name, case.stored, difference, max(float(theirs.abs().max()) for _, theirs in pairs))


def table(rows: Sequence[Row]) -> str:
    lines = ["| family | reference item | stored as | largest difference | of values up to |", "|---|---|---|---|---|"]
    lines += [f"| `{r.family}` | {r.item} | {r.stored} | {r.difference:.1e} | {r.largest:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/import.md")
    arguments = parser.parse_args()
    if not GOLDEN.is_dir():
        sys.exit(f"{GOLDEN}: not there; the reference data lie beside the checkout")
    plugins = load_plugins()
    rows = [measure(case, name, plugins) for case in CASES for name in items_of(case)]
    print(table(rows))
    if arguments.docs:
        before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
        DOCS.write_text(before + BEGIN + table(rows) + END + rest.split(END, 1)[1], encoding="utf-8")
    worst = max(row.relative for row in rows)
    if not math.isfinite(worst) or worst > 1e-4:
        sys.exit(f"an image differs by {worst:.1e} of its largest value")


if __name__ == "__main__":
    main()
