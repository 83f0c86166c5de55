from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.data import open_dataset
from ganzoo.data.sources import FolderDataset, ZipDataset
from ganzoo.data.sources import folder as folder_module
from ganzoo.data.sources.files import LARGEST_FILE
from ganzoo.errors import DataError

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


def zip_of(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def test_folder_is_read_in_order_with_its_classes(folder, pixels):
    data = open_dataset(str(folder))
    assert (len(data), data.name, list(data.class_names)) == (12, "animals", ["cat", "dog", "eel"])
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert all((data.image(i) == pixels(i)).all() for i in range(12))
    assert data.filename(4) == f"{folder}/dog/04.png"


def test_a_zip_of_a_folder_is_the_same_data_set(folder):
    a, b = open_dataset(str(folder)), open_dataset(str(zip_of(folder)))
    assert isinstance(a, FolderDataset) and isinstance(b, ZipDataset)
    assert a.names == b.names and a.labels.tolist() == b.labels.tolist() and a.fingerprint == b.fingerprint
    assert all((a.image(i) == b.image(i)).all() for i in range(12))


def test_dataset_json_in_a_folder_wins_over_class_folders(folder):
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    (folder / "dataset.json").write_text(json.dumps({"labels": [[n, i] for i, n in enumerate(names)]}))
    assert open_dataset(str(folder)).labels.tolist() == list(range(12))


def test_what_is_no_image_is_left_alone(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.png").write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "x.png").write_bytes(b"junk")
    assert len(open_dataset(str(folder))) == 12


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_linked_folders_are_followed_and_circles_end(folder, tmp_path):
    (folder / "fox").symlink_to(shutil.copytree(folder / "cat", tmp_path / "elsewhere"))
    (folder / "cat" / "round").symlink_to(folder)
    data = open_dataset(str(folder))
    assert len(data) == 16 and "fox/00.png" in data.names


def test_fingerprint_changes_with_one_pixel_one_label_one_name(folder):
    seen = {open_dataset(str(folder)).fingerprint}
    picture = np.asarray(Image.open(folder / "cat" / "00.png")).copy()
    picture[0, 0, 0] ^= 1
    Image.fromarray(picture).save(folder / "cat" / "00.png")
    seen.add(open_dataset(str(folder)).fingerprint)
    (folder / "cat" / "00.png").rename(folder / "cat" / "000.png")
    seen.add(open_dataset(str(folder)).fingerprint)
    (folder / "cat" / "01.png").rename(folder / "dog" / "01.png")
    seen.add(open_dataset(str(folder)).fingerprint)
    assert len(seen) == 4


def test_fingerprint_does_not_depend_on_the_place_or_on_times(folder, tmp_path):
    expected = open_dataset(str(folder)).fingerprint
    elsewhere = shutil.copytree(folder, tmp_path / "copy" / "other-name")
    os.utime(elsewhere / "cat" / "00.png", (1, 1))
    assert open_dataset(str(elsewhere)).fingerprint == expected


def test_large_folders_are_read_once_to_be_fingerprinted(folder, monkeypatch):
    monkeypatch.setattr(folder_module, "_WORTH_A_NOTE", 0)
    first = FolderDataset(path=str(folder)).fingerprint
    reads = []
    monkeypatch.setattr(FolderDataset, "read", lambda self, i: reads.append(i) or b"")
    assert FolderDataset(path=str(folder)).fingerprint == first and not reads
    os.utime(folder / "cat" / "00.png", (1, 1))  # a change that only the time shows is looked into
    assert FolderDataset(path=str(folder)).fingerprint != first and len(reads) == 12


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_file_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / "cat" / "pipe.png")
    data = open_dataset(str(folder))
    assert data.fingerprint
    with pytest.raises(DataError, match=r"pipe\.png: cannot be read: neither a file nor a link to one"):
        data.image(data.names.index("cat/pipe.png"))


def test_folders_that_cannot_be_read_are_not_passed_over(folder, monkeypatch):
    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="dog: cannot be read: Permission denied"):
        open_dataset(str(folder))


def test_missing_empty_and_strange_paths_say_what_would_work(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("x.tar", "x.rar"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    for name, message in {
        "nowhere": "no such file or folder",
        "empty": r"no images\. Looked for .*\.png",
        "x.tar": "cannot be read as a tar",
        "x.rar": r"not a folder of images, a \.zip",
        "x.zip": "cannot be read as a zip",
    }.items():
        with pytest.raises(DataError, match=message):
            open_dataset(str(tmp_path / name))


def test_zip_paths_that_climb_out_are_only_names(make_zip, encode, pixels, tmp_path):
    path = make_zip(
        {"../../evil.png": encode(pixels(0)), "/etc/evil.png": encode(pixels(1)), "c:\\x.png": encode(pixels(2))}
    )
    before = sorted(tmp_path.parent.rglob("*"))
    data = open_dataset(str(path))
    assert len(data) == 3 and all(data.image(i).shape == (8, 8, 3) for i in range(3))
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_zip_members_that_are_bombs_or_damaged_are_named(make_zip, encode, pixels):
    path = make_zip({"a.png": encode(pixels(0)), "b.png": encode(pixels(1))})
    data = ZipDataset(path=str(path))
    data._members["a.png"].file_size = LARGEST_FILE + 1  # as its header may claim
    with pytest.raises(DataError, match=r"set\.zip/a\.png: refused as a decompression bomb"):
        data.image(0)
    content = bytearray(path.read_bytes())
    content[data._members["b.png"].header_offset + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip/b\.png: cannot be read from the zip"):
        ZipDataset(path=str(path)).image(1)


def test_encrypted_member_is_named(make_zip, encode, pixels):
    path = make_zip({"a.png": encode(pixels(0))})
    data = ZipDataset(path=str(path))
    data._members["a.png"].flag_bits |= 1
    with pytest.raises(DataError, match=r"a\.png: cannot be read from the zip: .*encrypted"):
        data.image(0)


def test_macos_resource_forks_in_zips_are_ignored(make_zip, encode, pixels):
    path = make_zip({"cat/a.png": encode(pixels(0)), "__MACOSX/cat/._a.png": b"fork"})
    assert len(open_dataset(str(path))) == 1


def test_inconsistent_dataset_json_in_a_zip(make_zip, encode, pixels):
    path = make_zip({"a.png": encode(pixels(0)), "dataset.json": '{"labels": [["b.png", 0]]}'})
    with pytest.raises(DataError, match=r"set\.zip/dataset\.json: 1 of 1 images have no label"):
        open_dataset(str(path))


@pytest.mark.parametrize(
    ("name", "count", "shape", "classes"),
    [("cifar10", 50_000, (32, 32, 3), 10), ("emoji", 3583, (128, 128, 4), 9), ("photos", 400, None, 10)],
)
def test_real_zips(name, count, shape, classes):
    path = SHARED / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    data = open_dataset(str(path))
    assert (len(data), len(data.class_names)) == (count, classes)
    assert data.labels.max() == classes - 1
    assert shape in (None, data.image(count // 2).shape)


def test_zip_is_read_from_many_threads_at_once(make_zip, encode, pixels):
    from ganzoo.data.ahead import map_ahead

    data = ZipDataset(path=str(make_zip({f"{i:03d}.png": encode(pixels(i)) for i in range(100)})))
    images = list(map_ahead(data.image, range(100), workers=8))
    assert all((image == pixels(i)).all() for i, image in enumerate(images))
    assert zipfile.is_zipfile(data.path)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_a_dangling_link_is_a_bad_file_like_any_other(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    dataset = FolderDataset(path=str(tmp_path))
    assert len(dataset) == 2 and dataset.fingerprint
    with pytest.raises(DataError, match=r"b\.png: cannot be read"):
        dataset.image(1)
