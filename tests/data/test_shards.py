"""Tar and parquet shards: what is read, in which order, and what is refused."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ganzoo.data import batches, open_data
from ganzoo.data.batches import ShardOrder
from ganzoo.data.opening import open_dataset
from ganzoo.data.sources import ParquetShards, TarShards
from ganzoo.errors import DataError
from ganzoo.plugins import load_plugins
from ganzoo.recipe import DataConfig


def png(value, size=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_tars(folder, sizes, *, classes=True):
    """Image k, counted over all shards, is of value k, and of class k % 3."""
    folder.mkdir(exist_ok=True)
    k = 0
    for shard, size in enumerate(sizes):
        with tarfile.open(folder / f"train-{shard:04d}.tar", "w") as tar:
            for _ in range(size):
                add(tar, f"{k:05d}.png", png(k))
                add(tar, f"{k:05d}.json", b"{}")
                if classes:
                    add(tar, f"{k:05d}.cls", str(k % 3).encode())
                k += 1
    return folder


def write_parquets(folder, sizes, *, names=None, nested=True):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir(exist_ok=True)
    k = 0
    for shard, size in enumerate(sizes):
        numbers = list(range(k, k + size))
        images = [{"bytes": png(n), "path": f"{n}.png"} if nested else png(n) for n in numbers]
        table = pa.table({"image": images, "label": [n % 3 for n in numbers]})
        if names:
            features = {"label": {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"train-{shard:05d}.parquet", row_group_size=4)
        k += size
    return folder


def open_all(path, **more):
    config = DataConfig(path=str(path), img_resolution=8, **more)
    return open_data(config, load_plugins().registry, log=lambda line: None)


def test_tars_are_read_in_place(tmp_path):
    dataset = open_dataset(str(write_tars(tmp_path / "tars", [5, 0, 7])))
    assert isinstance(dataset, TarShards) and len(dataset) == 12 and list(dataset.shards) == [5, 0, 7]
    assert [dataset.image(k)[0, 0, 0] for k in range(12)] == list(range(12))
    assert dataset.labels.tolist() == [k % 3 for k in range(12)]
    assert dataset.filename(6).endswith("train-0002.tar/00006.png")
    one = open_dataset(str(tmp_path / "tars" / "train-0002.tar"))
    assert len(one) == 7 and one.fingerprint != dataset.fingerprint


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_is_read_by_row_groups(tmp_path, nested):
    folder = write_parquets(tmp_path / "parquets", [6, 5], names=["a", "b", "c"], nested=nested)
    dataset = open_dataset(str(folder))
    assert isinstance(dataset, ParquetShards) and list(dataset.shards) == [4, 2, 4, 1]
    assert [dataset.image(k)[0, 0, 0] for k in (10, 0, 5, 6)] == [10, 0, 5, 6]
    assert dataset.labels.tolist() == [k % 3 for k in range(11)] and dataset.class_names == ["a", "b", "c"]


@pytest.mark.parametrize("write", [write_tars, write_parquets])
def test_each_process_reads_its_share_from_any_position(tmp_path, write):
    data = open_all(write(tmp_path / "shards", [10, 6, 8]), labels=True)

    def read(n, start=0, rank=0, world_size=1, steps=3):
        options = {"resolution": 8, "batch_size": n, "seed": 7, "mirror": False, "workers": 2}
        reader = batches(data, start=start, rank=rank, world_size=world_size, **options)
        pairs = [next(reader) for _ in range(steps)]
        reader.close()
        return [(images[:, 0, 0, 0].tolist(), c.argmax(1).tolist()) for images, c in pairs]

    whole = read(8)
    epoch = [k for images, _ in whole for k in images]
    assert sorted(epoch) == list(range(24)) and epoch != sorted(epoch)
    assert all(c == [k % 3 for k in images] for images, c in whole)
    assert read(8, start=8, steps=2) == whole[1:]  # resumed
    halves = [read(8, rank=rank, world_size=2) for rank in range(2)]
    assert [a[0] + b[0] for a, b in zip(*halves, strict=True)] == [images for images, _ in whole]
    assert read(8, start=24, steps=1) != whole[:1], "the next epoch has an order of its own"


def test_the_order_stays_within_a_few_shards():
    sizes = [30, 1, 0, 25, 40, 7, 19, 30]
    of_image = np.repeat(np.arange(len(sizes)), sizes)
    order = ShardOrder(sizes, seed=3, mixed=2)
    total = sum(sizes)
    for epoch in range(2):
        indices = order.at(np.arange(total) + epoch * total)
        assert sorted(indices.tolist()) == list(range(total))
        position = 0
        while position < total:  # a window: images of two shards, and then these are done with
            shards = set()
            while position < total and (len(shards) < 2 or of_image[indices[position]] in shards):
                shards.add(of_image[indices[position]])
                position += 1
            assert not shards & set(of_image[indices[position:]])
    assert order.at(np.array([total + 5, 3])).tolist() == [order.at(np.arange(2 * total))[i] for i in (total + 5, 3)]
    assert ShardOrder(sizes, seed=4).at(np.arange(9)).tolist() != ShardOrder(sizes, seed=5).at(np.arange(9)).tolist()


def test_packed_where_a_folder_is_given(tmp_path):
    folder = write_tars(tmp_path / "tars", [5, 7])
    data = open_all(folder, cache=str(tmp_path / "packs"))
    assert data.shards is None and any((tmp_path / "packs").iterdir())
    assert open_all(folder).shards == [5, 7]


def test_damaged_shards_are_named(tmp_path):
    cut = write_tars(tmp_path / "cut", [3]) / "train-0000.tar"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:600])
    with pytest.raises(DataError, match=r"train-0000\.tar: (ends within 00000\.png|cannot be read)"):
        TarShards(path=str(tmp_path / "cut"))
    cut.write_bytes(b"no tar at all")
    with pytest.raises(DataError, match=r"train-0000\.tar: cannot be read as a tar"):
        TarShards(path=str(tmp_path / "cut"))
    with tarfile.open(cut, "w:gz") as tar:
        add(tar, "0.png", png(0))
    with pytest.raises(DataError, match="must not be compressed: unpack it"):
        TarShards(path=str(tmp_path / "cut"))
    cut.write_bytes(whole)
    dataset = TarShards(path=str(tmp_path / "cut"))
    cut.write_bytes(whole[:600])  # while training
    with pytest.raises(DataError, match=r"ends within 00002\.png"):
        dataset.image(2)


def test_labels_are_all_or_none(tmp_path):
    folder = write_tars(tmp_path / "some", [2])
    write_tars(tmp_path / "more", [2], classes=False)
    (tmp_path / "more" / "train-0000.tar").rename(folder / "train-0001.tar")
    with pytest.raises(DataError, match=r"train-0001\.tar/00000\.png has no \.cls file"):
        TarShards(path=str(folder))
    with tarfile.open(folder / "train-0001.tar", "w") as tar:
        add(tar, "a.png", png(0))
        add(tar, "a.cls", b"cat")
    with pytest.raises(DataError, match="'cat' is no class"):
        TarShards(path=str(folder))
    with tarfile.open(folder / "train-0000.tar", "w") as tar:
        add(tar, "a.txt", b"")
    with pytest.raises(DataError, match="no images in its 1"):
        TarShards(path=str(folder / "train-0000.tar"))


def test_parquet_without_images_is_refused(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), path)
    with pytest.raises(DataError, match="no column holds encoded images; there are: text, label"):
        open_dataset(str(path))
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "a.png"}]}, pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])), path)  # fmt: skip
    with pytest.raises(DataError, match="row 0 of row group 0 has no bytes"):
        open_dataset(str(path)).image(0)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_dataset(str(path))


def test_bad_ones_cannot_be_skipped(tmp_path):
    with pytest.raises(DataError, match=r"give data\.cache a folder to pack shards in"):
        open_all(write_tars(tmp_path / "tars", [3]), skip_bad=1)
