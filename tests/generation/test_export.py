"""``ganzoo export-dataset``: generated images are data like any other."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganzoo import generation
from ganzoo.cli import main
from ganzoo.data import open_dataset
from ganzoo.errors import DataError, GanzooError
from ganzoo.generation import export, export_dataset, load

NAMES = ["cat", "dog", "owl"]


@pytest.fixture
def run(plugins, monkeypatch, tmp_path):
    """Runs a command in an empty folder: (exit code, output)."""
    monkeypatch.setattr(load, "load_plugins", lambda: plugins)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


def test_a_zip_is_in_dataset_tools_layout_and_opens_as_data(run, make_snapshot, tmp_path):
    snapshot = make_snapshot(c_dim=3, class_names=NAMES)
    code, output = run("export-dataset", snapshot, "--num", "7", "--out", "fake.zip", "--device", "cpu")
    assert code == 0 and "fake.zip (7 images of 16 x 16 px, labels of 3 classes)" in output
    with zipfile.ZipFile(tmp_path / "fake.zip") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        images = [f"00000/img{i:08d}.png" for i in range(7)]
        assert sorted(archive.namelist()) == [*images, "dataset.json"]
        content = json.loads(archive.read("dataset.json"))
    assert content["labels"] == [[name, i % 3] for i, name in enumerate(images)]
    code, output = run("data", "inspect", "fake.zip", "--json")
    report = json.loads(output)
    assert code == 0 and report["classes"] == {"cat": 3, "dog": 2, "owl": 2} and report["num_images"] == 7
    assert report["widths"] == [16, 16, 16] and "labels: true    (to train with the classes)" in report["advice"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_folder_has_the_same_files(make_generator, tmp_path, channels):
    generator = make_generator(c_dim=3, class_names=NAMES, img_channels=channels)
    for name in ("fake.zip", "fake"):
        export_dataset(generator, tmp_path / name, num=5)
    folder, archive = open_dataset(tmp_path / "fake"), open_dataset(tmp_path / "fake.zip")
    assert folder.fingerprint == archive.fingerprint and len(folder) == 5
    assert folder.class_names == NAMES and folder.labels.tolist() == [0, 1, 2, 0, 1]


def test_an_image_is_that_of_its_seed_and_class(make_generator, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_CHUNK", 2)
    generator = make_generator(c_dim=3, class_names=NAMES)
    export_dataset(generator, tmp_path / "fake", num=5, seed=7, batch_size=1)
    data = open_dataset(tmp_path / "fake")
    for i in range(5):
        z = generation.seeds_to_latents([7 + i], generator.z_dim)
        (image,) = generation.sample(generator, z, generation.labels_for_seeds(generator, [0], i % 3))
        assert np.array_equal(data.image(i), np.moveaxis(image, 0, -1))


@pytest.mark.parametrize("chosen", ["owl", "2"])
def test_one_class_keeps_its_number_and_the_names(make_generator, tmp_path, chosen):
    export_dataset(make_generator(c_dim=3, class_names=NAMES), tmp_path / "owls", num=2, chosen=chosen)
    data = open_dataset(tmp_path / "owls")
    assert data.labels.tolist() == [2, 2] and data.class_names == NAMES


def test_without_classes_labels_are_null(make_generator, tmp_path):
    export_dataset(make_generator(), tmp_path / "fake", num=2)
    assert json.loads((tmp_path / "fake" / "dataset.json").read_text()) == {"labels": None}
    assert open_dataset(tmp_path / "fake").labels is None


def test_truncation_to_the_mean_makes_one_image(make_generator, tmp_path):
    generator = make_generator(generator="small-style")
    export_dataset(generator, tmp_path / "fake", num=3, trunc=0.0)
    images = [open_dataset(tmp_path / "fake").image(i) for i in range(3)]
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])


@pytest.mark.parametrize("out", ["fake.zip", "fake"])
def test_nothing_is_replaced_unless_told_so(run, make_snapshot, out):
    export = ("export-dataset", make_snapshot(), "--out", out, "--device", "cpu")
    assert run(*export, "--num", "2")[0] == 0
    code, output = run(*export, "--num", "3")
    assert code == 2 and "exists already; choose another name, or replace it with --force" in output
    assert len(open_dataset(out)) == 2
    assert run(*export, "--num", "3", "--force")[0] == 0
    assert len(open_dataset(out)) == 3


def test_only_an_exported_folder_is_replaced(make_generator, tmp_path):
    generator = make_generator()
    export_dataset(generator, tmp_path / "fake", num=1)
    (tmp_path / "fake" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds more than a data set that was exported"):
        export_dataset(generator, tmp_path / "fake", num=1, force=True)
    assert (tmp_path / "fake" / "thesis.txt").exists()


@pytest.mark.parametrize("out", ["fake.zip", "fake"])
def test_what_fails_leaves_nothing_behind_and_nothing_lost(make_generator, tmp_path, monkeypatch, out):
    generator = make_generator()
    export_dataset(generator, tmp_path / out, num=2)
    before = open_dataset(tmp_path / out).fingerprint

    def fail(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(generator, tmp_path / out, num=3, force=True, advance=fail)
    assert open_dataset(tmp_path / out).fingerprint == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chosen": "fox"}, "has no class 'fox'"),
        ({"trunc": 0.7}, "has no w to truncate"),
        ({"noise": "none"}, "has no noise to choose"),
        ({"seed": 2**32 - 1}, "seeds go from 0 to 4294967295"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(make_generator, tmp_path, arguments, message):
    with pytest.raises(GanzooError, match=message):
        export_dataset(make_generator(c_dim=3, class_names=NAMES), tmp_path / "fake.zip", num=2, **arguments)
    assert not (tmp_path / "fake.zip").exists()


def test_a_class_needs_labels(run, make_snapshot):
    code, output = run("export-dataset", make_snapshot(), "--out", "fake.zip", "--class", "1", "--device", "cpu")
    assert code == 2 and "without labels" in output


def test_images_are_those_of_a_picture_viewer(make_generator, tmp_path):
    export_dataset(make_generator(img_channels=1), tmp_path / "fake", num=1)
    with Image.open(tmp_path / "fake" / "00000" / "img00000000.png") as picture:
        assert picture.mode == "L" and picture.size == (16, 16)
