"""Every generator, discriminator, loss, regularizer and augmentation of the zoo, with every other.

What the check of recipes accepts trains two steps, by ``train`` itself, and losses, weights and statistics are finite
numbers; what it refuses, it refuses with component, owner and reason. How many there were stands at the end of pytest's
report; ``pytest -s`` also shows why some cannot be.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganzoo import build
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Translator
from ganzoo.plugins import ENVIRONMENT, LoadedPlugins, installed, load_plugins
from ganzoo.recipe import Recipe, parse_recipe
from ganzoo.training.loop import train
from ganzoo.training.report import Reporter
from ganzoo.weights import load_weights

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 4
STEPS = 2

# What makes each component small, quick and busy. A component of the zoo without an entry fails a test.
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("generator", "progan"): {"z_dim": 8, "fmap_base": 32, "fmap_max": 8},
    ("generator", "stylegan"): {"z_dim": 8, "mapping_layers": 2, "mapping_fmaps": 8, "fmap_base": 32, "fmap_max": 8},
    ("generator", "stylegan2"): {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8},
    # Its filters are made for large images; these fit 8 px.
    ("generator", "stylegan3"): {
        "z_dim": 8,
        "w_dim": 8,
        "channel_base": 64,
        "channel_max": 8,
        "num_layers": 3,
        "num_critical": 1,
        "first_cutoff": 1,
        "first_stopband": 2,
        "margin_size": 2,
    },
    ("discriminator", "progan"): {"fmap_base": 32, "fmap_max": 8},
    ("discriminator", "stylegan"): {"fmap_base": 32, "fmap_max": 8},
    ("discriminator", "stylegan2"): {"channel_base": 64, "channel_max": 8, "mapping_layers": 2},
    ("generator", "dcgan"): {"z_dim": 8, "ngf": 4, "fmap_max": 8},
    ("generator", "mlp"): {"z_dim": 8, "hidden_dim": 8},
    ("generator", "lapgan"): {"base_resolution": 4, "base_z_dim": 4, "hidden_dim": 8, "ngf": 4},
    ("generator", "biggan"): {"z_dim": 8, "ch": 4, "shared_dim": 4},
    ("generator", "sagan"): {"z_dim": 8, "ch": 4},
    ("generator", "sngan"): {"z_dim": 8, "ch": 4},
    ("discriminator", "dcgan"): {"ndf": 4, "fmap_max": 8, "norm": "none"},
    ("discriminator", "mlp"): {"hidden_dim": 8},
    ("discriminator", "lapgan"): {"base_resolution": 4, "hidden_dim": 8, "ndf": 4},
    ("discriminator", "biggan"): {"ch": 4},
    ("discriminator", "sagan"): {"ch": 4},
    ("discriminator", "sngan"): {"ch": 4},
    ("generator", "cyclegan"): {"ngf": 4, "n_blocks": 1},
    ("generator", "pix2pix"): {"ngf": 4},
    ("discriminator", "cyclegan"): {"ndf": 4, "n_layers": 1},
    ("discriminator", "patchgan"): {"ndf": 4, "n_layers": 1, "norm": "instance"},
    ("loss", "minimax"): {"saturating": False},
    ("loss", "lsgan"): {},
    ("loss", "wgan"): {},
    ("loss", "hinge"): {},
    ("loss", "relativistic"): {},
    ("loss", "lapgan"): {},
    ("loss", "biggan-hinge"): {},
    ("loss", "non-saturating"): {},
    ("loss", "wgan-gp"): {},
    ("loss", "cyclegan"): {"pool_size": 2},
    ("loss", "pix2pix"): {"l1_weight": 0.0},  # the regularizer l1 has it
    # A term of the player's loss, and steps of their own.
    ("regularizer", "r1"): {"every": 1},
    ("regularizer", "r2"): {"every": 2},
    ("regularizer", "path-length"): {"every": 4},
    ("regularizer", "gradient-penalty"): {},
    # The usual 0.01 leaves networks that scale their weights while running next to no gradient.
    ("regularizer", "weight-clipping"): {"clip": 1.0},
    ("regularizer", "gdpp"): {},
    ("regularizer", "orthogonal"): {},
    ("regularizer", "l1"): {},
    # At p = 0 nothing would happen.
    ("augmentation", "ada"): {"groups": ["blit", "geom", "color", "filter", "noise", "cutout"], "p_start": 0.5},
    ("augmentation", "diffaugment"): {},
    ("growth", "fixed"): {"batch_size": BATCH_SIZE, "lr": 0.002},
    # The first step at 4 px, the second at 8 px, half faded in.
    ("growth", "fade"): {"batch_size": BATCH_SIZE, "lr": 0.002, "stable_kimg": 0.002, "fade_kimg": 0.004},
}
# What makes sense with images to translate only.
OF_SOURCES = {
    ("generator", "cyclegan"),
    ("generator", "pix2pix"),
    ("discriminator", "cyclegan"),
    ("loss", "cyclegan"),
    ("loss", "pix2pix"),
    ("regularizer", "l1"),
}
KINDS = {kind for kind, _ in SMALL}
PLAYERS_AND_TERMS = ("generator", "discriminator", "loss", "regularizer")

Combination = dict[str, str | None]  # kind -> name, or None for going without
Weights = dict[str, dict[str, Tensor]]  # player -> parameter -> value
Recorder = Callable[[str, object], None]  # pytest's record_property; conftest.py prints what is recorded


class Losses(Reporter):
    """Says nothing, and keeps the mean of every term."""

    def __init__(self) -> None:
        super().__init__(active=False)
        self.terms: dict[str, float] = {}

    def tick(self, record: dict[str, Any]) -> None:
        self.terms = record["loss"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedPlugins]:
    """Core and the plugins of this repository, whatever else is installed."""
    ours = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    candidates = [candidate for candidate in installed() if candidate.owner.dist in ours]
    missing = ours - {candidate.owner.dist for candidate in candidates}
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(ENVIRONMENT, ",".join(candidate.name for candidate in candidates))
        monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        loaded = load_plugins()
        assert not loaded.failures
        yield loaded


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """The parameters of the players that were built last, as they were then."""
    weights: Weights = {}
    build_networks = build.build_networks

    def build_and_remember(*args: Any, **kwargs: Any) -> tuple:
        G, D = build_networks(*args, **kwargs)
        for player, network in (("G", G), ("D", D)):
            weights[player] = {name: p.detach().clone() for name, p in network.named_parameters()}
        return G, D

    monkeypatch.setattr(build, "build_networks", build_and_remember)
    return weights


def choices(zoo: LoadedPlugins, *kinds: str, growth: str = "fixed") -> dict[str, list[str | None]]:
    """kind -> all of its names, and None where a recipe can go without."""
    optional: dict[str, list[str | None]] = {"regularizer": [None], "augmentation": [None]}
    return {kind: [*optional.get(kind, []), *zoo.registry.names(kind)] for kind in kinds} | {"growth": [growth]}


def make_recipe(
    combination: Combination,
    zoo: LoadedPlugins,
    *,
    labels: bool = False,
    precision: str = "fp32",
    reuse_fakes: bool = False,
) -> Recipe:
    """Cartoon faces of 8 px for two steps, on one thread."""
    components = {
        kind: {"name": name, "args": SMALL[kind, name]} for kind, name in combination.items() if name is not None
    }
    regularizer = components.pop("regularizer", None)
    inputs = None
    if combination["generator"] is not None and issubclass(
        zoo.registry.get("generator", combination["generator"]).cls, Translator
    ):
        inputs = {"kind": "degrade", "degrade": {"name": "inpaint"}}
    data = {
        "name": "matrix",
        "data": {
            "source": {"name": "faces", "args": {"num_images": 16}},
            "img_resolution": 8,
            "labels": labels,
            "inputs": inputs,
        },
        **components,
        "regularizers": [] if regularizer is None else [regularizer],
        "train": {"total_kimg": STEPS * BATCH_SIZE / 1000, "grid": [1, 1], "reuse_fakes": reuse_fakes},
        "system": {"device": "cpu", "precision": precision, "threads": 1, "workers": 0},
    }
    text = json.dumps(data)  # is YAML, and sooner written
    return parse_recipe(text, zoo.registry, filename="matrix")


def check(recipe: Recipe, zoo: LoadedPlugins) -> None:
    """As ``ganzoo recipe check`` does."""
    c_dim = 2 if recipe.data.labels else 0
    _, in_channels = build.build_degradation(recipe, zoo.registry, img_channels=3)
    sizes = {"img_channels": 3, "c_dim": c_dim, "in_channels": in_channels}
    G, D = build.build_networks(recipe, zoo.registry, **sizes, device="meta")
    build.build_objective(recipe, zoo.registry, G, D)
    phases = build.build_growth(recipe, zoo.registry).phases(round(recipe.train.total_kimg * 1000))
    build.check_phases(recipe, zoo.registry, G, D, phases)


def reason_of(error: RecipeError, combination: Combination, zoo: LoadedPlugins) -> str | None:
    """Component, owner and reason, if the message tells all three."""
    for kind, name in combination.items():
        if name is not None:
            owner = str(zoo.registry.get(kind, name).owner)
            reason = re.search(rf"\b{kind} '{name}' of {re.escape(owner)}\b[^:]*: (\S.+)", str(error))
            if reason is not None:
                return f"{kind} {name} of {owner}: {reason[1]}"
    return None


def train_two_steps(recipe: Recipe, zoo: LoadedPlugins, built: Weights, outdir: Path) -> None:
    """Fails unless both players learned, and everything that came of it is a finite number."""
    losses = Losses()
    result = train(recipe, plugins=zoo, outdir=outdir, reporter=losses)
    assert result.nimg == STEPS * BATCH_SIZE
    assert {"D", "G"} <= losses.terms.keys(), f"terms: {losses.terms}"
    assert all(math.isfinite(value) for value in losses.terms.values()), f"losses: {losses.terms}"

    (checkpoint,) = (result.run_dir / "checkpoints").glob("*.safetensors")
    tensors, _ = load_weights(checkpoint)
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    assert not bad, f"not finite: {', '.join(bad)}"
    for player, before in built.items():
        resting = [name for name, value in before.items() if torch.equal(value, tensors[f"{player}/{name}"])]
        # At 8 px the RGB layer of 4 px rests, if there is one; and D's last bias, if differences of scores count. Of
        # CycleGAN's pairs, other losses ask one network.
        name = (recipe.generator if player == "G" else recipe.discriminator).name
        share = 3 / 4 if name == "cyclegan" != recipe.loss.name else 1 / 4
        assert len(resting) <= len(before) * share, f"{player} has not learned: {', '.join(resting)} are as they were"


def walk(
    kinds: dict[str, list[str | None]],
    zoo: LoadedPlugins,
    built: Weights,
    outdir: Path,
    record: Recorder,
    *,
    whole: bool = False,
    labels: bool = False,
    precision: str = "fp32",
) -> list[Combination]:
    """Check and train combinations of one of each of ``kinds``; record how many there are. Returns the accepted.

    In every other one G learns by the images of D's step. whole: all of them, not only as many as it takes for every
    two components to meet.
    """
    accepted: list[Combination] = []
    refused = Counter[str]()
    failures: list[str] = []
    size = math.prod(map(len, kinds.values()))
    some = itertools.chain(families(kinds), every_two(list(kinds.values())))
    for number, names in enumerate(itertools.product(*kinds.values()) if whole else some):
        combination = dict(zip(kinds, names, strict=True))
        title = " + ".join(name for name in names if name is not None)
        recipe = make_recipe(combination, zoo, labels=labels, precision=precision, reuse_fakes=number % 2 == 1)
        try:
            check(recipe, zoo)
        except RecipeError as error:
            reason = reason_of(error, combination, zoo)
            refused[reason or "without naming component, owner and reason"] += 1
            if reason is None:
                failures.append(f"{title}: refused without naming component, owner and reason: {error}")
            continue
        try:
            train_two_steps(recipe, zoo, built, outdir)
        except Exception as error:
            failures.append(f"{title}: accepted, but {type(error).__name__}: {error}")
        accepted.append(combination)
        shutil.rmtree(outdir, ignore_errors=True)

    sizes = " x ".join(
        f"{len(names)} {kind}" if len(names) > 1 else f"{kind} {names[0]}" for kind, names in kinds.items()
    )
    sizes = f"{sizes} = {size:,}{', with labels' if labels else ''}, {precision}"
    record("walk", (sizes, len(accepted), refused.total()))
    print(f"\n{sizes}, {len(accepted)} accepted, {refused.total()} refused:")
    for reason, count in refused.most_common():
        print(f"{count:>5d} {reason}")
    assert not failures, f"{len(failures)} combinations:\n" + "\n".join(failures)
    return accepted


def every_two(kinds: list[list[str | None]]) -> Iterator[tuple[str | None, ...]]:
    """Few combinations, such that any two components of different kinds meet in one: the fullest first."""

    def pairs(names: tuple[str | None, ...]) -> set[tuple]:
        return set(itertools.combinations(enumerate(names), 2))

    candidates = list(itertools.product(*kinds))
    missing = set().union(*map(pairs, candidates))
    while missing:
        best = max(candidates[:: max(1, len(candidates) // 500)], key=lambda names: len(pairs(names) & missing))
        if not pairs(best) & missing:  # none of the sample: take the first that has a missing one
            best = next(names for names in candidates if pairs(names) & missing)
        missing -= pairs(best)
        yield best


def by_input(kinds: dict[str, list[str | None]]) -> list[dict[str, list[str | None]]]:
    """Generators of latents without what they would all be refused for, and translators with everything."""
    translators = [name for name in kinds["generator"] if ("generator", name) in OF_SOURCES]
    latents = {kind: [name for name in names if (kind, name) not in OF_SOURCES] for kind, names in kinds.items()}
    return [latents, {**kinds, "generator": translators}]


def families(kinds: dict[str, list[str | None]]) -> list[tuple[str | None, ...]]:
    """Losses with players of the same name: what was made for each other must meet as a whole."""
    named = [name for name in kinds["loss"] if name in kinds["generator"]]
    return [tuple(name if name in names else names[0] for names in kinds.values()) for name in named]


def test_every_two_components_meet() -> None:
    kinds: list[list[str | None]] = [["a", "b", "c"], ["d", "e"], [None, "f", "g", "h"], ["i"]]
    walked = list(every_two(kinds))
    for one, two in itertools.combinations(range(4), 2):
        meetings = {(names[one], names[two]) for names in walked}
        assert meetings == set(itertools.product(kinds[one], kinds[two]))
    assert len(walked) < 24


def test_every_component_has_an_entry(zoo: LoadedPlugins) -> None:
    registered = {(entry.kind, entry.name) for entry in zoo.registry.entries() if entry.kind in KINDS}
    assert registered == SMALL.keys(), "give a new component small arguments in SMALL, and take out what is gone"


def test_every_two(zoo: LoadedPlugins, built: Weights, tmp_path: Path, record_property: Recorder) -> None:
    outdir = tmp_path / "runs"
    kinds = choices(zoo, *PLAYERS_AND_TERMS, "augmentation")
    accepted = [a for part in by_input(kinds) for a in walk(part, zoo, built, outdir, record_property)]
    idle = [(kind, name) for kind, names in kinds.items() for name in names if all(a[kind] != name for a in accepted)]
    assert not idle, f"refused whatever they are combined with: {idle}"
    takes_labels = {
        kind: [name for name in names if name != "cyclegan"] for kind, names in choices(zoo, *PLAYERS_AND_TERMS).items()
    }
    for part in by_input(takes_labels):
        walk(part, zoo, built, outdir, record_property, labels=True, precision="bf16")
    growing = by_input(choices(zoo, *PLAYERS_AND_TERMS, growth="fade"))[0]  # no translator grows
    walk(growing, zoo, built, outdir, record_property, precision="bf16")


@pytest.mark.slow
@pytest.mark.parametrize("generator", sorted(name for kind, name in SMALL if kind == "generator"))
def test_everything_with_everything(
    generator: str, zoo: LoadedPlugins, built: Weights, tmp_path: Path, record_property: Recorder
) -> None:
    """More than a thousand combinations for each generator: minutes each, an hour in all."""
    outdir, only = tmp_path / "runs", {"generator": [generator]}
    walk(choices(zoo, *PLAYERS_AND_TERMS, "augmentation") | only, zoo, built, outdir, record_property, whole=True)
    walk(
        choices(zoo, *PLAYERS_AND_TERMS) | only,
        zoo,
        built,
        outdir,
        record_property,
        whole=True,
        labels=True,
        precision="bf16",
    )
    growing = choices(zoo, *PLAYERS_AND_TERMS, growth="fade") | only
    walk(growing, zoo, built, outdir, record_property, whole=True, precision="bf16")


@pytest.mark.parametrize(
    ("change", "labels", "reason"),
    [
        ({}, False, None),
        ({"regularizer": "path-length"}, False, "regularizer path-length of ganzoo-stylegan .*: path length"),
        ({"regularizer": "l1"}, False, "regularizer l1 of ganzoo-translation .*of latents"),
        ({"loss": "cyclegan"}, False, "loss cyclegan of ganzoo-translation .*there and back"),
        ({"generator": "pix2pix"}, False, None),
        ({"generator": "pix2pix"}, True, None),
        ({"generator": "pix2pix", "growth": "fade"}, False, "generator pix2pix of ganzoo-translation .* does not grow"),
        ({"loss": "non-saturating"}, False, None),
        ({"loss": "non-saturating"}, True, r"loss non-saturating of ganzoo-stylegan .*AC-GAN.*wgan-gp"),
        ({"generator": "stylegan2", "regularizer": "path-length"}, False, None),
        (
            {"generator": "stylegan2", "growth": "fade"},
            False,
            "generator stylegan2 of ganzoo-stylegan .* does not grow",
        ),
        ({"discriminator": "stylegan2", "growth": "fade"}, False, "discriminator stylegan2 of .* does not grow"),
        (
            {"generator": "stylegan3", "growth": "fade"},
            False,
            "generator stylegan3 of ganzoo-stylegan .* does not grow",
        ),
    ],
)
def test_refused(change: Combination, labels: bool, reason: str | None, zoo: LoadedPlugins) -> None:
    """The known ones: neither more is refused, nor less."""
    progan = {"generator": "progan", "discriminator": "progan", "loss": "wgan-gp", "growth": "fixed"}
    combination = progan | change
    recipe = make_recipe(combination, zoo, labels=labels)
    if reason is None:
        check(recipe, zoo)
        return
    with pytest.raises(RecipeError) as refusal:
        check(recipe, zoo)
    assert re.match(reason, str(reason_of(refusal.value, combination, zoo)))
