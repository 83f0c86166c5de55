from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ganzoo.data import open_dataset
from ganzoo.data.pack import Pack, write_pack
from ganzoo.data.packing import fit_images
from ganzoo.data.repack import pack_images
from ganzoo.data.training_data import LevelArrays
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset


def silent(line):
    pass


def npy_header(shape):
    """An int64 .npy that claims ``shape`` and holds eight bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(8)


def edit(pack, section=None, **values):
    info = json.loads((pack / "pack.json").read_text())
    (info if section is None else info[section]).update(values)
    (pack / "pack.json").write_text(json.dumps(info))


def test_pack_and_read(folder, tmp_path, pixels):
    said = []
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=said.append)
    data = open_dataset(str(tmp_path / "packed"))
    assert (len(data), data.name, list(data.class_names)) == (12, "packed", ["cat", "dog", "eel"])
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert all((data.image(i) == pixels(i)).all() for i in range(12))
    assert "12 images, 8 x 8 RGB" in said[-1]
    assert [level.shape for level in data.pack.levels.values()] == [(12, 3, r, r) for r in (8, 4, 2, 1)]
    assert not list(tmp_path.glob(".*"))


def test_a_pack_that_is_cut_while_it_is_read_is_an_error_and_no_crash(folder, tmp_path):
    """Reading memory that a file no longer stands behind would end the program (SIGBUS)."""
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=silent)
    pack = Pack(tmp_path / "packed")
    images = LevelArrays(pack.levels, check=pack.check)
    assert images.read(np.arange(3), 8).shape == (3, 3, 8, 8)
    file = tmp_path / "packed" / "images-0008.u8"
    os.truncate(file, 100)
    with pytest.raises(DataError, match=f"{file}: has become smaller than 2,304 bytes while it was read"):
        images.read(np.arange(3), 8)
    before = images.read(np.arange(3), 4)
    (tmp_path / "packed" / "images-0004.u8").unlink()  # what was removed can be read while it is open
    assert (images.read(np.arange(3), 4) == before).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_zips_hold_the_same_images_and_labels_as_packs(folder, tmp_path, channels):
    for name in ("packed", "packed.zip"):
        pack_images(str(folder), tmp_path / name, resolution=4, channels=channels, log=silent)
    pack, archive = open_dataset(str(tmp_path / "packed")), open_dataset(str(tmp_path / "packed.zip"))
    assert archive.names[:2] == ["00000/img00000000.png", "00000/img00000001.png"]
    assert archive.labels.tolist() == pack.labels.tolist() and archive.class_names == pack.class_names
    assert all((archive.image(i).reshape(4, 4, channels) == pack.image(i)).all() for i in range(12))


def test_transparency_survives_the_zip(tmp_path, encode, make_zip):
    image = np.zeros((8, 8, 4), np.uint8)
    image[2:6, 2:6] = (200, 100, 50, 128)
    pack_images(str(make_zip({"a.png": encode(image)})), tmp_path / "out.zip", resolution=8, log=silent)
    again = open_dataset(str(tmp_path / "out.zip")).image(0)
    assert (again[..., 3] == image[..., 3]).all() and np.abs(again.astype(int) - image).max() <= 1


def test_zip_is_what_nvidias_tools_expect(folder, tmp_path):
    import zipfile

    pack_images(str(folder), tmp_path / "out.zip", resolution=8, log=silent)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        labels = json.loads(archive.read("dataset.json"))["labels"]
    assert labels[4] == ["00000/img00000004.png", 1] and len(labels) == 12


def test_sixteen_bit_and_grey_files_pack_to_one_channel(tmp_path, encode, make_zip):
    values = np.full((8, 8), 257 * 33, np.uint16)
    path = make_zip({"a.png": encode(values), "b.png": encode(np.full((8, 8), 9, np.uint8))})
    pack_images(str(path), tmp_path / "out", resolution=8, log=silent)
    level = Pack(tmp_path / "out").levels[8]
    assert level.shape == (2, 1, 8, 8) and level[:, 0, 0, 0].tolist() == [33, 9]


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="mine: exists already"):
        pack_images(str(folder), tmp_path / "mine", resolution=8, log=silent)


def test_bad_files_stop_packing_and_are_named(folder, tmp_path):
    for name in ("cat/01.png", "dog/05.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    with pytest.raises(DataError, match=r"(?s)2 bad files.*cat/01\.png: .*dog/05\.png: .*--skip-bad N"):
        pack_images(str(folder), tmp_path / "packed", resolution=8, log=silent)
    with pytest.raises(DataError, match="skip_bad allows 1"):
        pack_images(str(folder), tmp_path / "packed.zip", resolution=8, skip_bad=1, log=silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animals"]

    said = []
    pack_images(str(folder), tmp_path / "packed", resolution=8, skip_bad=2, log=said.append)
    data = open_dataset(str(tmp_path / "packed"))
    assert [line.split(":")[1].strip()[-10:] for line in said[:2]] == ["cat/01.png", "dog/05.png"]
    assert data.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 4 and len(data.pack.skipped) == 2


def test_not_one_good_image_is_an_error_however_many_may_be_bad(make_zip, tmp_path):
    path = make_zip({"a.png": b"junk", "b.png": b"junk"})
    with pytest.raises(DataError, match="not one image"):
        pack_images(str(path), tmp_path / "packed", resolution=8, skip_bad=5, log=silent)
    assert not (tmp_path / "packed").exists()


def test_small_images_are_mentioned_once(folder, tmp_path):
    Image.new("RGB", (64, 64)).save(folder / "cat" / "large.png")
    said = []
    pack_images(str(folder), tmp_path / "packed", resolution=32, log=said.append)
    assert [line for line in said if "warning" in line] == [
        "warning: 12 of 13 images are smaller than 32 x 32 and were enlarged; "
        "a smaller img_resolution shows what is really there"
    ]


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".zip"])
def test_names_that_cannot_be_are_refused(folder, tmp_path, name):
    with pytest.raises(DataError, match="cannot be written: "):
        pack_images(str(folder), tmp_path / name, resolution=8, log=silent)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("name", ["packed", "packed.zip"])
def test_a_disk_that_fills_up_while_writing(folder, tmp_path, name):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); from ganzoo.cli import main; main(sys.argv[1:])"
    )
    arguments = ["data", "pack", str(folder), str(tmp_path / name), "--resolution", "8"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and f"{name}: cannot be written: File too large. Free some space" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["animals"]


class Exploding(Dataset):
    name, fingerprint = "exploding", "0"

    def __len__(self):
        return 2000

    def filename(self, index):
        return str(index)

    def image(self, index):
        if index == 1500:
            raise RuntimeError("a bug in a plugin")
        return np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize("name", ["packed", "packed.zip"])
def test_no_half_written_output_after_an_exception(tmp_path, monkeypatch, name):
    monkeypatch.setattr("ganzoo.data.repack.open_dataset", lambda path, log: Exploding())
    with pytest.raises(RuntimeError, match="a bug"):
        pack_images("x", tmp_path / name, resolution=8, log=silent)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed_before_writing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"3 kB are needed .* 1 kB are free\. Choose another disk, or .*--resolution"):
        pack_images(str(folder), tmp_path / "packed", resolution=8, log=silent)
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "images-0004.u8").write_bytes(b"12"), r"images-0004\.u8 has 2 bytes instead of 576"),
        (lambda p: (p / "images-0004.u8").unlink(), r"images-0004\.u8"),
        (lambda p: (p / "labels.npy").unlink(), r"labels\.npy"),
        (lambda p: np.save(p / "labels.npy", np.zeros(3)), "3 labels for 12 images"),
        (lambda p: np.save(p / "labels.npy", np.full(12, -1)), "label -1 is negative"),
        (lambda p: np.save(p / "labels.npy", np.array(["cat"] * 12)), r"labels are <U3 \[12\]"),
        (lambda p: edit(p, "fit", resolution=2**100), "Delete it"),
        (lambda p: edit(p, "fit", hello=1), "hello"),
        (lambda p: (p / "pack.json").write_text("[" * 200_000), "Delete it"),
        (lambda p: np.save(p / "labels.npy", np.array([{}] * 12), allow_pickle=True), "Python objects"),
        (lambda p: (p / "labels.npy").write_bytes(npy_header((10**12,))), "Delete it"),
        (lambda p: np.save(p / "labels.npy", np.full(12, 10**9)), "label 1000000000 is too large"),
        (lambda p: np.save(p / "labels.npy", np.full((12, 2), np.nan, np.float32)), "not finite"),
        (lambda p: edit(p, class_names={"all": "x"}), "class_names"),
        (lambda p: edit(p, num_images="1e9"), "num_images"),
        (lambda p: edit(p, fingerprint="../../x"), "fingerprint"),
        (lambda p: edit(p, "fit", mode="stretch"), "no way to bring images to size"),
        (lambda p: (p / "pack.json").write_text("{"), "Delete it"),
        (lambda p: (p / "pack.json").write_text("{}"), "Delete it"),
        (lambda p: (p / "pack.json").write_text('{"format": "ganzoo-pack/9"}'), "reads ganzoo-pack/1"),
    ],
)
def test_damaged_packs_are_refused(folder, tmp_path, damage, message):
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=silent)
    damage(tmp_path / "packed")
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "packed"))


def test_a_failed_rename_leaves_nothing(folder, tmp_path):
    data = open_dataset(str(folder))
    from ganzoo.data.fit import Fit

    fit = Fit(8, 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_pack(
            tmp_path / "file" / "packed", fit_images(data, fit, skip_bad=0, log=silent), fit=fit, labels=None,
            class_names=None, fingerprint="0",
        )  # fmt: skip
    assert not list(tmp_path.glob(".*"))
