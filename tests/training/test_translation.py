"""Image-to-image translation: what goes together, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from tiny import TinyDarkening, TinyLoss
from tiny_translation import RECIPE, UNPAIRED, TinyDusk, TinyPairs, TranslationPlugin

from ganzoo import build
from ganzoo.cli import main
from ganzoo.data import open_data
from ganzoo.errors import CheckpointError, GanzooError, RecipeError
from ganzoo.generation import load_generator
from ganzoo.growth import FixedSchedule
from ganzoo.interfaces import Phase
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import dump_recipe, parse_recipe
from ganzoo.training.checkpoint import TrainingState
from ganzoo.training.distributed import Processes
from ganzoo.training.extras import AugmentedDiscriminator
from ganzoo.training.loop import train
from ganzoo.training.plan import describe_recipe
from ganzoo.training.reals import RealImages, inputs_at
from ganzoo.training.report import Reporter
from ganzoo.training.system import choose_system
from ganzoo.weights import load_weights, read_metadata

PAIRS = "discriminator={name: pairs, args: {conditional: true}}"
PAIR_LOSS = "loss={name: pairs}"
RUN_TINY = Path(__file__).parent / "run_tiny.py"


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": TranslationPlugin})


@pytest.fixture
def parse(plugins):
    return lambda *overrides: parse_recipe(RECIPE, plugins.registry, filename="tiny", overrides=overrides)


def objective(recipe, plugins):
    sizes = {"img_channels": 3, "c_dim": 0, "in_channels": 1}
    G, D = build.build_networks(recipe, plugins.registry, **sizes, device="meta")
    return G, D, *build.build_objective(recipe, plugins.registry, G, D)


def test_core_says_how_many_channels_there_are_to_translate(parse, plugins):
    G, D, _, _, _ = objective(parse(PAIRS, PAIR_LOSS), plugins)
    assert (G.in_channels, G.z_dim, G.there.in_channels, D.conv.in_channels) == (1, 0, 1, 4)
    degradation, channels = build.build_degradation(parse(), plugins.registry, img_channels=3)
    assert channels == 1 and degradation(torch.zeros(2, 3, 8, 8)).shape == (2, 1, 8, 8)
    assert build.build_degradation(parse(UNPAIRED), plugins.registry, img_channels=3) == (None, 0)
    with pytest.raises(RecipeError, match=r"degradation 'dusk' of tiny 0: it takes no transparent images"):
        build.build_degradation(parse(), plugins.registry, img_channels=4)


def test_defaults_are_written_out(parse, plugins):
    for text, written in [
        ("{kind: unpaired}", {"a": "trainA", "b": "trainB", "left": None, "degrade": None}),
        ("{kind: same-name, a: edges/, b: photos}", {"a": "edges", "b": "photos", "left": None}),
        ("{kind: side-by-side}", {"a": None, "b": None, "left": "a"}),
        ("{kind: degrade, degrade: {name: dusk}}", {"a": None, "degrade": {"name": "dusk", "args": {"strength": 0.5}}}),
    ]:
        recipe = parse(f"data.inputs={text}")
        assert recipe.data.inputs.model_dump().items() >= written.items()
        assert parse_recipe(dump_recipe(recipe), plugins.registry, filename="again") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.inputs={kind: paired}", r"data.inputs.kind: must be 'unpaired', 'same-name'"),
        ("data.inputs={kind: degrade, degrade: null}", r"data.inputs: `degrade` is missing"),
        ("data.inputs={kind: degrade, degrade: {name: dask}}", r"no degradation is called 'dask'.*mean 'dusk'"),
        ("data.inputs.degrade.args={strength: much}", r"data.inputs.degrade.args.strength: must be a number"),
        ("data.inputs.img_channels=1", r"`img_channels` means nothing for the kind degrade, which has: degrade"),
        ("data.inputs={kind: unpaired, left: a}", r"`left` means nothing for the kind unpaired, which has: a, b"),
        ("data.inputs={kind: unpaired, a: x, b: x}", r"`a` and `b` are both 'x'"),
        ("data.inputs={kind: unpaired, a: ../x}", r"data.inputs.a: must be a folder within data.path"),
        ("data={skip_bad: 1, inputs: {kind: same-name}}", r"`skip_bad` would part pairs"),
        ("generator={name: translator, args: {in_channels: 3}}", r"in_channels: cannot be set here.*data.inputs"),
    ],
)
def test_mistakes_in_recipes(parse, override, message):
    with pytest.raises(RecipeError, match=message):
        parse(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([PAIRS, UNPAIRED], r"loss 'tiny'.*together with its source, and real images have none here"),
        (["data.inputs=null"], r"generator 'translator' of tiny 0 translates images.*add data.inputs"),
        (["generator={name: tiny}"], r"generator 'tiny' of tiny 0 starts from latents.*installed: translator$"),
        ([PAIR_LOSS, UNPAIRED], r"loss 'pairs' of tiny 0: it wants pairs"),
        (
            [PAIRS],
            r"loss 'tiny'.*judges an image together with its source, which the loss does not show it",
        ),
        (
            [PAIRS, PAIR_LOSS, "regularizers=[penalty]"],
            r"regularizer 'penalty'.*which the regularizer does not show it",
        ),
        (
            [
                PAIRS,
                PAIR_LOSS,
                "augmentation={name: darkening}",
            ],
            r"augmentation 'darkening'.*would move the image and not the source",
        ),
    ],
)
def test_what_does_not_go_together(parse, plugins, overrides, message):
    with pytest.raises(RecipeError, match=message):
        objective(parse(*overrides), plugins)


def test_whatever_else_a_discriminator_is_asked_passes_the_augmentation():
    class Sides(TinyPairs):
        def forward(self, img, c=None, *, growth, side="b"):
            return img.mean() if side == "b" else -img.mean()

    D = Sides(in_channels=3, img_resolution=8, img_channels=3, c_dim=0)
    seen, img = AugmentedDiscriminator(D, TinyDarkening()), torch.rand(2, 3, 8, 8)
    assert seen(img, growth=None, side="a") == -seen(img, growth=None) != 0


def test_sizes_that_the_translator_cannot_make_are_refused(parse, plugins):
    recipe = parse("data.img_resolution=1")
    G, D = build.build_networks(recipe, plugins.registry, img_channels=3, c_dim=0, in_channels=1, device="meta")
    phases = build.build_growth(recipe, plugins.registry).phases(160)
    with pytest.raises(RecipeError, match=r"at 1 px: generator 'translator'.*a multiple of 2 px"):
        build.check_phases(recipe, plugins.registry, G, D, phases)


def test_learning_rates_that_fall_to_nothing():
    decay = {"decay_from_kimg": 1.0, "decay_to_kimg": 3.0}
    schedule = FixedSchedule(img_resolution=8, batch_size=4, lr=0.2, d_lr=0.4, **decay)
    rates = [(schedule.at(n).g_lr, schedule.at(n).d_lr) for n in (0, 1000, 2000, 2500, 3000, 9000)]
    assert rates == [(0.2, 0.4), (0.2, 0.4), (0.1, 0.2), (0.05, 0.1), (0, 0), (0, 0)]
    constant, falling, still = (
        Phase(0, 1000, 8, False, 4, 0.2, 0.4),
        Phase(1000, 3000, 8, False, 4, 0.2, 0.4, decaying=True),
        Phase(3000, 4000, 8, False, 4, 0, 0),
    )
    assert schedule.phases(4000) == [constant, falling, still]
    assert schedule.phases(3000) == [constant, falling]
    assert schedule.phases(500) == [Phase(0, 500, 8, False, 4, 0.2, 0.4)]
    assert schedule.phases(0) == []
    assert FixedSchedule(img_resolution=8, batch_size=4).phases(7) == [Phase(0, 7, 8, False, 4, 0.0002, 0.0002)]
    with pytest.raises(ValueError, match="give both, or neither"):
        FixedSchedule(img_resolution=8, batch_size=4, decay_to_kimg=3.0)
    with pytest.raises(ValueError, match="3 is not after decay_from_kimg, which is 5"):
        FixedSchedule(img_resolution=8, batch_size=4, decay_from_kimg=5.0, decay_to_kimg=3.0)


class StopAt(Reporter):
    """Sends this process SIGINT once so many images were shown, and keeps what is said."""

    def __init__(self, nimg=None):
        super().__init__(console=Console(quiet=True))
        self.nimg, self.said = nimg, []

    def progress(self, nimg, growth):
        if self.nimg is not None and nimg >= self.nimg:
            self.nimg = None
            signal.raise_signal(signal.SIGINT)

    def log(self, message):
        self.said.append(message)
        super().log(message)


@pytest.fixture
def run(plugins, parse, tmp_path):
    def train_tiny(*overrides, stop_at=None, resume_from=None, outdir="runs", reporter=None):
        reporter = reporter or StopAt(stop_at)
        where = {"outdir": tmp_path / outdir, "resume_from": resume_from, "reporter": reporter}
        return train(parse(*overrides), plugins=plugins, **where).run_dir

    return train_tiny


@pytest.fixture
def domains(tmp_path):
    """trainA: 7 images of black, blue and so on; trainB: 5 with a red left half."""
    for name, count in (("trainA", 7), ("trainB", 5)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            picture = np.full((8, 8, 3), (0, 0, 30 * i), np.uint8)
            picture[:, :4, 0] = 200 * (name == "trainB")
            Image.fromarray(picture).save(tmp_path / "set" / name / f"{i}.png")
    return [f"data.path={json.dumps(str(tmp_path / 'set'))}", "data.source=null"]


def newest(run_dir, kind):
    return sorted((run_dir / f"{kind}s").glob(f"{kind}-*.safetensors"))[-1]


@pytest.mark.parametrize("stop_at", [40, 96])
@pytest.mark.parametrize("kind", ["degrade", "unpaired"])
def test_a_resumed_run_ends_with_the_same_bits(run, domains, kind, stop_at):
    changes = [] if kind == "degrade" else [UNPAIRED, *domains]
    whole = run(*changes, outdir="whole")
    stopped = run(*changes, outdir="stopped", stop_at=stop_at)
    assert newest(stopped, "checkpoint").name < newest(whole, "checkpoint").name
    resumed = run(*changes, resume_from=stopped)
    shas = [read_metadata(newest(run_dir, "snapshot"))["sha256"] for run_dir in (whole, resumed)]
    assert resumed == stopped and shas[0] == shas[1]
    (one, _), (two, _) = (load_weights(newest(run_dir, "checkpoint")) for run_dir in (whole, resumed))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("kind", ["degrade", "unpaired"])
def test_killed_and_resumed_it_ends_with_the_same_hash(run, domains, kind, tmp_path):
    """SIGKILL at kimg 0.104, after the checkpoint of 0.08: what came after it is done again."""
    changes = [] if kind == "degrade" else [UNPAIRED, *domains]
    whole = run(*changes, outdir="whole")
    script = [sys.executable, str(RUN_TINY), str(tmp_path / "killed"), "--translate", "--kill-at", "104"]
    done = subprocess.run([*script, *(f"--set={change}" for change in changes)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (killed,) = (tmp_path / "killed").iterdir()
    assert newest(killed, "checkpoint").name == "checkpoint-000000080.safetensors"
    run(*changes, resume_from=killed)
    shas = [read_metadata(newest(run_dir, "snapshot"))["sha256"] for run_dir in (whole, killed)]
    assert shas[0] == shas[1]


def test_a_seed_gives_the_same_run_and_another_another(run):
    shas = [
        read_metadata(newest(run(*changes, "train.total_kimg=0.032"), "snapshot"))["sha256"]
        for changes in ([], [], ["seed=4"])
    ]
    assert shas[0] == shas[1] != shas[2]


def test_a_run_goes_on_with_the_same_inputs_only(run, domains, tmp_path):
    run_dir = run(UNPAIRED, *domains, stop_at=40)
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "trainA" / "new.png")
    with pytest.raises(CheckpointError, match="was trained on other data"):
        run(UNPAIRED, *domains, resume_from=run_dir)
    with pytest.raises(CheckpointError, match=r"data.inputs.a: trainA in the run, trainB now"):
        run("data.inputs={kind: unpaired, a: trainB, b: trainA}", *domains, resume_from=run_dir)


@pytest.fixture
def reals(parse, plugins):
    """``reals(override, ...)``: RealImages of a recipe, and its schedule's state."""
    opened = []

    def make(*overrides):
        recipe = parse(*overrides)
        data = open_data(recipe.data, plugins.registry, log=lambda line: None)
        schedule = build.build_growth(recipe, plugins.registry)
        degradation, _ = build.build_degradation(recipe, plugins.registry, img_channels=data.info.img_channels)
        system = choose_system(recipe.system)
        opened.append(RealImages(recipe, data, schedule, TrainingState(), system, Processes(), degradation))
        return opened[-1], schedule.at(0)

    yield make
    for one in opened:
        one.close()


def test_degraded_images_are_made_of_the_real_ones(reals):
    images, growth = reals()
    torch.manual_seed(1)
    real, _ = images.next(growth)
    torch.manual_seed(1)
    assert images.inputs.shape == (8, 1, 8, 8)
    assert torch.equal(images.inputs, TinyDusk()(real))
    assert not images.inputs.requires_grad


def test_unpaired_images_have_an_order_and_a_mirroring_of_their_own(reals, domains):
    """On the left red is domain b, blue tells which image it is, and every image is shown once an epoch."""
    images, growth = reals(UNPAIRED, *domains, "growth.args.batch_size=35")
    assert not images.paired
    real, _ = images.next(growth)
    numbers, of_inputs = (((x[:, 2, 0, 0] + 1) * 127.5 / 30).round().int().tolist() for x in (real, images.inputs))
    assert sorted(numbers) == sorted(list(range(5)) * 7) and sorted(of_inputs) == sorted(list(range(7)) * 5)
    assert (images.inputs[:, 0] == -1).all()


@pytest.fixture
def halves(tmp_path):
    """Images whose left half is the right one's with colours swapped; no image is symmetric."""
    folder = tmp_path / "halves"
    folder.mkdir()
    for i in range(6):
        right = np.random.RandomState(i).randint(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(np.concatenate([right[..., ::-1], right], axis=1)).save(folder / f"{i}.png")
    return [f"data.path={json.dumps(str(folder))}", "data.source=null", "data.inputs={kind: side-by-side}"]


def test_pairs_stay_together(reals, halves):
    images, growth = reals(*halves)
    for _ in range(3):
        real, _ = images.next(growth)
        assert torch.equal(images.inputs, real.flip(1))


def test_inputs_of_unpaired_data_are_mirrored_by_other_coins(reals, tmp_path):
    """The same folder's images in both domains: if coins were the same, so would mirrored shares be."""
    for name in ("trainA", "trainB"):
        (tmp_path / "one" / name).mkdir(parents=True)
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[:, :4] = 255
        Image.fromarray(picture).save(tmp_path / "one" / name / "1.png")
    path = [f"data.path={json.dumps(str(tmp_path / 'one'))}", "data.source=null"]
    images, growth = reals(UNPAIRED, *path, "growth.args.batch_size=64")
    real, _ = images.next(growth)
    mirrored = [x[:, 0, 0, 0] < 0 for x in (real, images.inputs)]
    agree = (mirrored[0] == mirrored[1]).sum().item()
    assert all(16 < m.sum() < 48 for m in mirrored) and 16 < agree < 48


def test_labels_of_pairs_are_the_real_images_own(run, monkeypatch):
    batches, g_loss = [], TinyLoss.g_loss
    monkeypatch.setattr(
        TinyLoss, "g_loss", lambda self, G, D, batch: batches.append(batch) or g_loss(self, G, D, batch)
    )
    run("data.labels=true", "train.total_kimg=0.016")
    assert len(batches) == 2 and all(torch.equal(b.c, b.gen_c) for b in batches)


def test_grids_show_source_output_and_real(run, halves):
    run_dir = run(
        *halves, "discriminator={name: pairs, args: {conditional: true}}", PAIR_LOSS, "train.total_kimg=0.016"
    )
    reals, fakes = (np.asarray(Image.open(run_dir / f"{name}.png")) for name in ("reals", "fakes_init"))
    assert reals.shape == (2 * 96, 2 * 2 * 96, 3) and fakes.shape == (2 * 96, 2 * 3 * 96, 3)
    source, real = reals[:96, :96], reals[:96, 96:192]
    assert np.array_equal(source, real[..., ::-1]) and source.std() > 10
    assert np.array_equal(fakes[:96, :96], source) and np.array_equal(fakes[:96, 192:288], real)
    assert not np.array_equal(fakes[:96, 96:192], source)


def test_grids_of_unpaired_and_of_degraded_images(run, domains):
    fakes = np.asarray(Image.open(run(UNPAIRED, *domains, "train.total_kimg=0.016") / "fakes_init.png"))
    assert fakes.shape == (2 * 96, 2 * 2 * 96, 3)
    run_dir = run("train.total_kimg=0.016")
    first, later, reals = (
        np.asarray(Image.open(run_dir / f"{n}.png")) for n in ("fakes_init", "fakes_000000", "reals")
    )
    assert first.shape == (2 * 96, 2 * 3 * 96, 3)
    grey = first[:, :96]
    assert np.array_equal(grey, later[:, :96]) and np.array_equal(grey, reals[:, :96]), "noise is fixed by the seed"
    assert (grey[..., 0] == grey[..., 2]).all()


def test_drawing_leaves_the_random_generator_alone(reals, plugins, parse):
    recipe = parse()
    data = open_data(recipe.data, plugins.registry, log=lambda line: None)
    before = torch.get_rng_state()
    args = {"seed": 5, "device": torch.device("cpu")}
    one, two = (inputs_at(data, TinyDusk(), [1, 2], 4, **args) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (2, 1, 4, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one, inputs_at(data, TinyDusk(), [1, 2], 4, seed=6, device=torch.device("cpu")))


EVAL = "eval={metrics: [tiny, brightness], extractor: tiny, every_kimg: 0.08, num: 30, num_real: 20}"


@pytest.mark.parametrize("kind", ["degrade", "unpaired"])
def test_metrics_while_training(run, domains, kind):
    """Of what G_ema makes of images spread over the data; measuring changes no number of the run."""
    changes = [] if kind == "degrade" else [UNPAIRED, *domains]
    run_dir = run(*changes, EVAL)
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [r["nimg"] for r in records] == [80, 160]
    assert set(records[0]["values"]) == {"distance", "spread", "brightness"}
    result = records[-1]["results"][0]
    assert result["num_fake"] == (30 if kind == "degrade" else 7) and result["seed"] is None
    plain = run(*changes, outdir="plain")
    (one, _), (two, _) = (load_weights(newest(folder, "checkpoint")) for folder in (run_dir, plain))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_metric_of_latents_is_said_to_be_none_of_a_translator(run):
    reporter = StopAt()
    run("eval={metrics: [tiny, ppl], extractor: tiny, num: 30}", "train.total_kimg=0.016", reporter=reporter)
    assert any("ppl" in line and "needs a generator" in line for line in reporter.said)


@pytest.fixture
def snapshot(run, plugins, monkeypatch):
    monkeypatch.setattr("ganzoo.plugins.load_plugins", lambda: plugins)
    monkeypatch.setattr("ganzoo.generation.load.load_plugins", lambda: plugins)
    monkeypatch.setattr("ganzoo.evaluation.evaluate.load_plugins", lambda: plugins)
    return newest(run("train.total_kimg=0.016"), "snapshot")


def test_a_snapshot_can_be_loaded_and_translates(snapshot, plugins):
    generator = load_generator(snapshot, plugins=plugins)
    assert generator.is_translator and generator.G.in_channels == 1
    source = torch.rand(2, 1, 6, 10) * 2 - 1
    out = generator.translate(source)
    assert out.shape == (2, 3, 6, 10) and torch.equal(out, generator(source))
    assert generator.translate(out, "b2a").shape == source.shape
    for images, direction, message in [
        (source, "b2c", r"direction 'b2c': .* translates 'a2b' and 'b2a' only"),
        (source, "b2a", r"translates \[N, 3, height, width\] in the direction 'b2a'"),
        (source[0], "a2b", r"translates \[N, 1, height, width\]"),
        (source[..., :9], "a2b", r"images of 9 x 6 px: .* multiples of 2 px"),
    ]:
        with pytest.raises(GanzooError, match=message):
            generator.translate(images, direction)


@pytest.mark.parametrize("command", [["sample"], ["walk"], ["eval", "--metric", "tiny", "--extractor", "tiny"]])
def test_commands_that_choose_latents_refuse_it(snapshot, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [command[0], str(snapshot), *command[1:]])
    assert done.exit_code == 2, done.output
    assert f"ganzoo translate {snapshot} --input IMAGES --outdir DIR" in done.output
    assert "ganzoo eval DIR" in done.output


def test_generators_of_latents_cannot_translate(plugins, tmp_path):
    import tiny

    recipe = parse_recipe(
        tiny.RECIPE, plugins.registry, filename="tiny", overrides=["train.total_kimg=0.016", "data.labels=false"]
    )
    run_dir = train(recipe, plugins=plugins, outdir=tmp_path, reporter=StopAt()).run_dir
    generator = load_generator(run_dir, plugins=plugins)
    assert not generator.is_translator
    with pytest.raises(GanzooError, match="cannot translate"):
        generator.translate(torch.zeros(1, 3, 16, 16))


def test_the_dry_run_names_the_inputs(parse, plugins, domains):
    text = describe_recipe(parse(), plugins)
    assert "inputs: those images after dusk" in text
    text = describe_recipe(parse(UNPAIRED, *domains), plugins)
    assert "inputs: unpaired, 7 images, 3 channels" in text
    text = describe_recipe(parse(UNPAIRED, "data.path=nowhere", "data.source=null"), plugins)
    assert "and the images to translate: unpaired" in text
    text = describe_recipe(parse("growth.args={batch_size: 8, decay_from_kimg: 0.08, decay_to_kimg: 0.16}"), plugins)
    assert "lr falling" in text


def test_recipe_check_needs_no_images(snapshot, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("loss: {name: tiny}", "loss: {name: pairs}"))
    assert CliRunner().invoke(main, ["recipe", "check", str(path)]).output == f"{path}: ok\n"
    path.write_text(RECIPE.replace("generator: {name: translator}", "generator: {name: tiny}"))
    done = CliRunner().invoke(main, ["recipe", "check", str(path)])
    assert done.exit_code == 2 and "installed: translator" in done.output
