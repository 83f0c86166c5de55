"""The images of a translator: two folders, pairs by name, halves."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganzoo.data import open_data, open_dataset
from ganzoo.errors import DataError
from ganzoo.recipe import DataConfig, InputsConfig


@pytest.fixture
def domains(tmp_path, pixels):
    """trainA with 5 grey pictures, trainB with 3 in colour and a folder testA: names are numbers."""
    root = tmp_path / "set"
    for name, numbers in {"trainA": range(5), "trainB": range(2, 5), "testA": range(1)}.items():
        (root / name).mkdir(parents=True)
        for i in numbers:
            picture = Image.fromarray(pixels(i + 10 * (name == "trainB")))
            (picture.convert("L") if name.endswith("A") else picture).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def zipped(domains, tmp_path):
    """The same in a zip, all in a folder of its own."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(domains.rglob("*.png")):
            file.write(image, f"root/{image.relative_to(domains).as_posix()}")
    return path


@pytest.fixture
def opened(config, registry):
    def open_inputs(path, kind, prepare=True, **options):
        own = {key: options.pop(key) for key in ("a", "b", "left", "img_channels") if key in options}
        inputs = InputsConfig.model_validate({"kind": kind, **own})
        return open_data(config(path, inputs=inputs, **options), registry, log=lambda line: None, prepare=prepare)

    return open_inputs


def everything(data, resolution=8):
    return data.read(range(data.info.num_images), resolution)


@pytest.mark.parametrize("prepare", [True, False])
def test_two_folders(opened, domains, zipped, pixels, prepare):
    for path in (domains, zipped):
        data = opened(path, "unpaired", prepare)
        assert (data.info.num_images, data.info.img_channels, data.info.name) == (3, 3, "set")
        assert (data.inputs.info.num_images, data.inputs.info.img_channels) == (5, 1)
        assert not data.paired
        assert np.array_equal(everything(data)[0], np.moveaxis(pixels(12), -1, 0))
        grey = np.asarray(Image.fromarray(pixels(0)).convert("L"))
        assert np.array_equal(data.inputs.read([0], 8)[0, 0], grey)
    back = opened(domains, "unpaired", prepare, a="trainB", b="testA", img_channels=3)
    assert (back.info.num_images, back.inputs.info.num_images, back.inputs.info.img_channels) == (1, 3, 3)


def test_a_folder_and_a_zip_of_it_are_the_same_data(opened, domains, zipped):
    fingerprints = {opened(path, "unpaired").info.fingerprint for path in (domains, zipped)}
    assert len(fingerprints) == 1


def test_the_fingerprint_covers_both_and_nothing_else(opened, domains):
    def fingerprint(**options):
        return opened(domains, "unpaired", **options).info.fingerprint

    before = fingerprint()
    (domains / "testA" / "more.png").write_bytes((domains / "trainA" / "0.png").read_bytes())
    assert fingerprint() == before
    swapped = fingerprint(a="trainB", b="trainA")
    (domains / "trainA" / "0.png").write_bytes((domains / "trainA" / "1.png").read_bytes())
    assert len({before, swapped, fingerprint()}) == 3


def test_packs_of_the_user_have_classes_for_folders(opened, domains, tmp_path, registry):
    from click.testing import CliRunner

    from ganzoo.cli import main

    pack = tmp_path / "pack"
    done = CliRunner().invoke(main, ["data", "pack", str(domains), str(pack), "--resolution", "8"])
    assert done.exit_code == 0, done.output
    data, files = opened(pack, "unpaired"), opened(domains, "unpaired", img_channels=3)
    assert np.array_equal(everything(data), everything(files))
    assert np.array_equal(everything(data.inputs, 4), everything(files.inputs, 4))
    fewer = opened(pack, "unpaired", max_images=2)
    assert np.array_equal(everything(fewer.inputs), everything(files.inputs)[[0, 2]])
    with pytest.raises(DataError, match=r"no folder and no class 'trainC'; there are: testA, trainA, trainB; did you"):
        opened(pack, "unpaired", a="trainC")
    with pytest.raises(DataError, match="pairs by name need files with names"):
        opened(pack, "same-name")
    with pytest.raises(DataError, match="packed images are square, so their halves are gone"):
        opened(pack, "side-by-side")


def test_packs_that_core_makes(opened, domains, tmp_path):
    """Each domain has its own; the second time they are found."""
    cache = tmp_path / "packs"
    plain, packed = opened(domains, "unpaired"), opened(domains, "unpaired", cache=str(cache))
    assert np.array_equal(everything(plain), everything(packed))
    assert np.array_equal(everything(plain.inputs), everything(packed.inputs))
    assert len([p for p in cache.iterdir() if p.is_dir()]) == 2
    assert opened(domains, "unpaired", cache=str(cache)).info == packed.info


def test_pairs_by_name(opened, domains, pixels):
    for i in (0, 1):
        (domains / "trainA" / f"{i}.png").unlink()
    Image.open(domains / "trainA" / "3.png").save(domains / "trainA" / "3.bmp")
    (domains / "trainA" / "3.png").unlink()
    data = opened(domains, "same-name")
    assert data.paired and data.info.num_images == data.inputs.info.num_images == 3
    for k, i in enumerate((2, 3, 4)):
        assert np.array_equal(data.read([k], 8)[0], np.moveaxis(pixels(10 + i), -1, 0))
        grey = np.asarray(Image.fromarray(pixels(i)).convert("L"))
        assert np.array_equal(data.inputs.read([k], 8)[0, 0], grey)
    fewer = opened(domains, "same-name", max_images=2)
    assert np.array_equal(everything(fewer), everything(data)[[0, 1]])
    assert np.array_equal(everything(fewer.inputs), everything(data.inputs)[[0, 1]])


def test_halves(opened, tmp_path, pixels):
    for i in range(4):
        Image.fromarray(np.concatenate([pixels(i), pixels(10 + i)], axis=1)).save(tmp_path / f"{i}.png")
    data = opened(tmp_path, "side-by-side")
    assert data.paired
    assert np.array_equal(everything(data.inputs), np.stack([np.moveaxis(pixels(i), -1, 0) for i in range(4)]))
    assert np.array_equal(everything(data), np.stack([np.moveaxis(pixels(10 + i), -1, 0) for i in range(4)]))
    other = opened(tmp_path, "side-by-side", left="b")
    assert np.array_equal(everything(other), everything(data.inputs))
    assert other.info.fingerprint != data.info.fingerprint
    Image.new("RGB", (15, 8)).save(tmp_path / "odd.png")
    with pytest.raises(DataError, match=r"odd.png: is 15 x 8 px, and an odd width has no two halves"):
        opened(tmp_path, "side-by-side")


def test_labels_are_those_of_the_folder(opened, domains, pixels):
    shutil.rmtree(domains / "trainB")
    for kind in ("cat", "dog"):
        (domains / "trainB" / kind).mkdir(parents=True)
        Image.fromarray(pixels(1)).save(domains / "trainB" / kind / "1.png")
    data = opened(domains, "unpaired", labels=True)
    assert (data.info.class_names, data.info.c_dim, data.inputs.info.c_dim) == (["cat", "dog"], 2, 0)
    with pytest.raises(DataError, match=r"data.labels is true, but there are no labels"):
        opened(domains, "unpaired", a="trainB", b="trainA", labels=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "unpaired", "a": "trainX"}, r"set: has no folder 'trainX' with images; there are: testA, trainA, tr"),
        ({"kind": "unpaired", "b": "trainb"}, r"did you mean 'trainB'"),
        ({"kind": "same-name"}, r"trainA: 2 of 5 images have no partner of that name in .*trainB, 0.png for one"),
        ({"kind": "same-name", "a": "trainB", "b": "trainA"}, r"trainA: 2 of 5 images have no partner"),
    ],
)
def test_mistakes(opened, domains, zipped, options, message):
    with pytest.raises(DataError, match=message):
        opened(domains, **options)
    with pytest.raises(DataError, match=message.replace("set: ", "set.zip: ")):
        opened(zipped, **options)


def test_two_names_without_their_suffix(opened, domains):
    Image.new("L", (8, 8)).save(domains / "trainA" / "2.bmp")
    with pytest.raises(DataError, match=r"2.bmp and 2.png differ in their suffix alone"):
        opened(domains, "same-name")


def test_sources_without_names_or_classes(opened, config, registry):
    source = {"name": "faces", "args": {"num_images": 3}}
    with pytest.raises(DataError, match=r"no folder and no class 'trainA'; there are: "):
        opened(None, "unpaired", source=source)


def test_the_order_of_files_does_not_matter(domains):
    assert open_dataset(str(domains)).below("trainA").names == ["0.png", "1.png", "2.png", "3.png", "4.png"]


def test_domains_are_no_classes(config, domains):
    inputs = InputsConfig(kind="unpaired", a="trainA", b="trainB")
    with pytest.raises(ValueError, match="`classes` means nothing here"):
        DataConfig(path=str(domains), img_resolution=8, inputs=inputs, classes=["trainA"])
