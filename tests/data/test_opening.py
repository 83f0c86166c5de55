from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ganzoo.data.opening as opening
from ganzoo.data import open_data
from ganzoo.data.repack import pack_images
from ganzoo.data.training_data import LiveImages
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset
from ganzoo.plugins import make_plugin_manager


@pytest.fixture
def said():
    return []


@pytest.fixture
def open_(config, registry, said):
    """``open_(path, ...)``: the opened data; what was logged is in ``said``."""
    return lambda path=None, prepare=True, **options: open_data(
        config(path, **options), registry, log=said.append, prepare=prepare
    )


@pytest.fixture
def always_pack(monkeypatch):
    monkeypatch.setattr(opening, "_SMALL", (0, 0))


def test_info_and_images(folder, open_, pixels):
    data = open_(folder, labels=True)
    info = data.info
    assert (info.name, info.num_images, info.img_resolution, info.img_channels) == ("animals", 12, 8, 3)
    assert (info.c_dim, info.class_names) == (3, ["cat", "dog", "eel"]) and len(info.fingerprint) == 32
    assert (data.read([5, 0], 8)[0] == pixels(5).transpose(2, 0, 1)).all()
    assert data.labels([5, 0]).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_packed_live_and_in_memory_are_the_same(folder, open_, tmp_path, monkeypatch):
    memory = open_(folder, labels=True)
    packed = open_(folder, labels=True, cache=str(tmp_path / "kept"))
    monkeypatch.setattr(opening, "_MEMORY_LIMIT", 0)
    live = open_(folder, labels=True, cache="off")
    assert isinstance(live.images, LiveImages) and live.images.decodes
    assert memory.info == packed.info == live.info
    for r in (8, 4, 2, 1):
        assert (memory.read(range(12), r) == packed.read(range(12), r)).all()
        assert (memory.read(range(12), r) == live.read(range(12), r)).all()
    assert memory.labels([7]).tolist() == packed.labels([7]).tolist() == live.labels([7]).tolist()
    assert [path.suffix for path in sorted((tmp_path / "kept").iterdir())] == ["", ".lock"]


def test_dry_runs_pack_nothing(folder, open_, cache, always_pack):
    info = open_(folder, labels=True, prepare=False).info
    assert (info.num_images, info.img_channels, info.c_dim, info.fingerprint) == (12, 3, 3, "")
    assert not list(cache.iterdir())


def test_a_pack_is_made_once_and_said_so(folder, open_, said, cache, always_pack):
    first = open_(folder)
    assert said[-2].startswith("packing 12 images to 8 x 8 into ") and "the next run starts at once" in said[-1]
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*.u8")}
    assert len(made) == 4
    again = open_(folder)
    assert said[-1].startswith("using the pack ") and again.info == first.info
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.u8")} == made


def test_a_changed_pixel_label_or_option_makes_another_pack(folder, open_, cache, always_pack):
    seen = [open_(folder).info.fingerprint]
    seen.append(open_(folder, fit="pad").info.fingerprint)
    seen.append(open_(folder, img_channels=1).info.fingerprint)
    seen.append(open_(folder, max_images=6).info.fingerprint)
    (folder / "cat" / "00.png").rename(folder / "dog" / "00.png")
    seen.append(open_(folder).info.fingerprint)
    assert len(set(seen)) == 5 == len(list((cache / "packs").glob("*/pack.json")))


def test_the_fingerprint_does_not_depend_on_the_cache(folder, open_, tmp_path):
    options = [{"cache": "off"}, {}, {"cache": str(tmp_path / "a")}, {"cache": str(tmp_path / "b")}]
    assert len({open_(folder, **option).info.fingerprint for option in options}) == 1


def test_a_damaged_pack_in_the_cache_is_made_anew(folder, open_, said, cache, always_pack):
    first = open_(folder).read(range(12), 8).copy()
    next(cache.rglob("images-0008.u8")).write_bytes(b"")
    assert (open_(folder).read(range(12), 8) == first).all()
    assert any("a damaged pack" in line for line in said)


def test_leftovers_of_killed_processes_are_removed(folder, open_, cache, always_pack):
    fingerprint = open_(folder, cache="off").info.fingerprint
    leftover = cache / "packs" / f".{fingerprint}.123.tmp"
    leftover.mkdir(parents=True)
    open_(folder)
    assert not leftover.exists()


PACKER = """
import sys
from ganzoo.data import open_data, opening
from ganzoo.plugins import load_plugins
from ganzoo.recipe.models import DataConfig
opening._SMALL = (0, 0)
data = open_data(DataConfig(path=sys.argv[1], img_resolution=8), load_plugins().registry)
print("sum", data.read(range(12), 8).sum())
"""


@pytest.mark.slow
def test_two_packers_at_once_make_one_pack(folder, cache):
    command = [sys.executable, "-c", PACKER, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("packed in" in output for output in outputs) == 1
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert len(list((cache / "packs").glob("*/pack.json"))) == 1


def test_a_second_packer_waits_and_says_so(folder, open_, said, cache, always_pack):
    import threading

    from filelock import FileLock

    fingerprint = open_(folder, cache="off").info.fingerprint
    (cache / "packs").mkdir()
    lock = FileLock(cache / "packs" / f"{fingerprint}.lock", thread_local=False)
    lock.acquire()
    waiter = threading.Thread(target=open_, args=[folder])
    waiter.start()
    while "another process is packing these images; waiting for it" not in said:
        assert waiter.is_alive()
    lock.release()
    waiter.join()
    assert "packed in" in said[-1]


def test_max_images_are_spread_over_the_set(folder, open_, tmp_path, pixels):
    data = open_(folder, max_images=6, labels=True)
    assert data.info.num_images == 6
    assert data.labels(range(6)).argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=lambda line: None)
    packed = open_(tmp_path / "packed", max_images=6, labels=True)
    assert (packed.read(range(6), 8) == data.read(range(6), 8)).all()
    assert packed.labels(range(6)).tolist() == data.labels(range(6)).tolist()
    assert open_(folder, max_images=99).info.fingerprint == open_(folder).info.fingerprint


@pytest.mark.parametrize("classes", [["eel", "cat"], [2, "cat"]])
def test_some_classes_are_numbered_in_the_order_asked_for(folder, open_, tmp_path, classes):
    whole, data = open_(folder, labels=True), open_(folder, classes=classes, labels=True)
    assert (data.info.num_images, data.info.c_dim, data.info.class_names) == (8, 2, ["eel", "cat"])
    at = np.flatnonzero(whole.labels(range(12)).argmax(1) != 1).tolist()
    assert (data.read(range(8), 8) == whole.read(at, 8)).all()
    assert data.labels(range(8)).argmax(1).tolist() == [1] * 4 + [0] * 4
    pack_images(str(folder), tmp_path / "whole", resolution=8, log=lambda line: None)
    pack_images(str(folder), tmp_path / "part.zip", resolution=8, classes=classes, log=lambda line: None)
    kept = {"cache": str(tmp_path / "kept")}
    for other in (
        open_(folder, classes=classes, labels=True, **kept),
        open_(tmp_path / "whole", classes=classes, labels=True),
        open_(tmp_path / "part.zip", labels=True),
    ):
        assert (other.read(range(8), 8) == data.read(range(8), 8)).all()
        assert other.info.class_names == data.info.class_names
        assert other.labels(range(8)).tolist() == data.labels(range(8)).tolist()
    fewer = open_(tmp_path / "whole", classes=classes, max_images=2, labels=True)
    assert fewer.labels(range(2)).tolist() == [[0, 1], [1, 0]]
    # Another order means other labels: a pack of one must not be taken for one of the other.
    turned = open_(folder, classes=classes[::-1], labels=True, **kept)
    assert turned.info.class_names == ["cat", "eel"] and turned.labels([0]).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "egl"], r"no class 'egl'; there are: cat, dog, eel.*did you mean 'eel'"),
        ([3], "no class 3; there are 3, counted from 0"),
        (["cat", 0], "the class 0 is asked for twice"),
    ],
)
def test_classes_that_are_not_there_are_named(folder, open_, classes, message):
    with pytest.raises(DataError, match=message):
        open_(folder, classes=classes)


def test_classes_need_labels(folder, open_):
    with pytest.raises(DataError, match=r"labels are missing.*data\.classes=null"):
        open_(folder / "cat", classes=["cat"])


@pytest.mark.parametrize("where", ["memory", "cache"])
def test_skip_bad(folder, open_, said, where, monkeypatch):
    if where == "cache":
        monkeypatch.setattr(opening, "_SMALL", (0, 0))
    (folder / "dog" / "05.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"(?s)1 bad file so far.*dog/05\.png"):
        open_(folder)
    data = open_(folder, skip_bad=1, labels=True)
    assert data.info.num_images == 11 and data.labels(range(11)).sum(0).tolist() == [4, 3, 4]
    assert any(line.startswith("skipped: ") and "dog/05.png" in line for line in said)
    with pytest.raises(DataError, match=r"dog/05\.png"):  # the pack that is there now was made leniently
        open_(folder)


def test_skip_bad_needs_a_pack(folder, open_, monkeypatch):
    monkeypatch.setattr(opening, "_MEMORY_LIMIT", 0)
    with pytest.raises(DataError, match=r"set data\.cache to auto"):
        open_(folder, cache="off", skip_bad=1)


def test_live_reading_names_bad_and_small_images(folder, open_, said, monkeypatch):
    monkeypatch.setattr(opening, "_MEMORY_LIMIT", 0)
    (folder / "cat" / "00.png").write_bytes(b"junk")
    data = open_(folder, cache="off", img_resolution=16)
    data.read([3, 4, 5], 16)
    assert sum("cat/03.png is smaller than 16 x 16" in line for line in said) == 1
    with pytest.raises(DataError, match=r"cat/00\.png"):
        data.read([0], 16)


def test_channels_are_what_the_images_have(folder, open_, said, tmp_path):
    assert open_(folder).info.img_channels == 3
    Image.new("RGBA", (8, 8)).save(folder / "eel" / "x.png")
    assert open_(folder).info.img_channels == 4 and "ask for 3" in said[-1]
    assert open_(folder, img_channels=3).info.img_channels == 3
    (tmp_path / "grey").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "grey" / "x.png")
    assert open_(tmp_path / "grey").info.img_channels == 1


def test_labels_wanted_but_absent(tmp_path, open_):
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"data\.labels is true, but there are no labels.*dataset\.json"):
        open_(tmp_path, labels=True)
    assert open_(tmp_path).labels([0]) is None


def test_vector_labels(make_zip, encode, pixels, open_):
    files = {f"{i}.png": encode(pixels(i)) for i in range(3)}
    path = make_zip(
        {**files, "dataset.json": '{"labels": [["0.png", [1, 2]], ["1.png", [3, 4]], ["2.png", [5, 6.5]]]}'}
    )
    data = open_(path, labels=True)
    assert data.info.c_dim == 2 and data.info.class_names is None
    assert data.labels([2, 0]).tolist() == [[5, 6.5], [1, 2]]


def test_a_pack_must_hold_what_the_recipe_wants(folder, open_, tmp_path):
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=lambda line: None)
    with pytest.raises(DataError, match=r"packed at 8 x 8, .* wants 16.*--resolution 16"):
        open_(tmp_path / "packed", img_resolution=16)
    with pytest.raises(DataError, match=r"packed with 3 channels, .* wants 1"):
        open_(tmp_path / "packed", img_channels=1)


def test_a_pack_gives_lower_resolutions_too(folder, open_, tmp_path):
    pack_images(str(folder), tmp_path / "packed", resolution=8, log=lambda line: None)
    full, half = open_(tmp_path / "packed"), open_(tmp_path / "packed", img_resolution=4)
    assert half.info.img_resolution == 4 and half.info.fingerprint != full.info.fingerprint
    assert (half.read([1], 4) == full.read([1], 4)).all()
    assert full.info.fingerprint == open_(folder).info.fingerprint


def test_the_built_in_faces(open_, registry):
    data = open_(source={"name": "faces", "args": {"num_images": 30}}, labels=True, img_resolution=16)
    assert (data.info.name, data.info.num_images, data.info.img_channels, data.info.c_dim) == ("faces", 30, 3, 7)
    from ganzoo.data.sources import CartoonFaces

    assert (data.read([3], 16)[0].transpose(1, 2, 0) == CartoonFaces(img_resolution=16).image(3)).all()


def test_no_room_for_a_pack(folder, open_, monkeypatch, always_pack, cache):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"are needed to pack .*data\.cache=FOLDER.*data\.cache=off"):
        open_(folder)
    assert not list(cache.rglob("*.u8"))


def test_a_cache_that_cannot_be_written(folder, open_, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"packs cannot be kept here.*data\.cache=FOLDER"):
        open_(folder, cache=str(tmp_path / "file" / "packs"))


class FiveChannels(Dataset):
    name, fingerprint = "odd", "0"

    def __init__(self, *, num_images: int = 2) -> None:
        self.num_images = num_images

    def __len__(self):
        return self.num_images

    def filename(self, index):
        return f"odd image {index}"

    def image(self, index):
        return np.zeros((8, 8, 5), np.uint8)


def test_a_plugins_wrong_channel_count_is_named(config, said):
    import ganzoo

    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_datasets(register):
            register("odd", FiveChannels)

    registry = make_plugin_manager({"odd": Plugin}).registry
    with pytest.raises(DataError, match="odd image 0: 5 channels"):
        open_data(config(source={"name": "odd"}), registry, log=said.append)


def test_default_cache_is_in_the_home_folder(monkeypatch):
    from ganzoo.data.cache import cache_root

    monkeypatch.delenv("GANZOO_CACHE")
    assert cache_root().parts[-2:] == (".cache", "ganzoo")
    assert os.environ.get("GANZOO_CACHE") is None
