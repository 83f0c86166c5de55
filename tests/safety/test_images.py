"""Folders, zips and pictures from strangers."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest
from crafted import tree
from PIL import Image, PngImagePlugin


def png(size: int = 8, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (size, size, 3), np.uint8)).save(buffer, "png", **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claimed(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("huge.png", claimed(60_000, 60_000), "refused as a decompression bomb"),
        ("huge.png", claimed(2**31 - 1, 2**31 - 1), "huge.png"),
        ("huge.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
         "refused as a decompression bomb"),
        ("huge.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;",
         "refused as a decompression bomb"),
        ("huge.ppm", b"P6 99999 99999 255\n", "refused as a decompression bomb"),
        ("text.png", png()[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26 + 2**21))) + png()[33:],
         "cannot be read as an image"),
        ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch pwned) system", "is none of"),
        ("page.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "is none of"),
    ],
)  # fmt: skip
def test_pictures_that_are_bombs_or_programs(here, refused, name, content, message):
    (here / "set").mkdir()
    (here / "set" / name).write_bytes(content)
    assert message in refused("data", "inspect", "set")
    assert message in refused("data", "pack", "set", "packed", "--resolution", "8")
    assert message in refused("data", "inspect", write_zip(here / "set.zip", {name: content}))
    assert {path.name for path in here.iterdir()} == {"set", "set.zip"}


@pytest.mark.parametrize("name", ["../../x.png", "/x.png", "..\\..\\x.png", "C:\\x.png", "a/../../x.png"])
def test_names_that_climb_out_of_a_zip_write_nothing_there(here, said, name):
    write_zip(here / "set.zip", {name: png(), "other.png": png(16)})
    before = tree(here.parent)
    said("data", "pack", "set.zip", "packed", "--resolution", "8")
    said("data", "pack", "set.zip", "packed.zip", "--resolution", "8")
    new = tree(here.parent).keys() - before.keys()
    assert all(path.startswith((f"{here}/packed/", f"{here}/packed.zip")) for path in new)
    assert zipfile.ZipFile(here / "packed.zip").namelist() == [
        "00000/img00000000.png",
        "00000/img00000001.png",
        "dataset.json",
    ]


def test_links_in_a_zip_are_pictures_of_nothing(here, refused):
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(here / "set.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "cannot be read as an image: it is none of" in refused("data", "inspect", "set.zip")


def test_links_in_a_folder_lead_to_pictures_or_nowhere(here, refused):
    (here / "secret.txt").write_text("the password")
    folder = here / "set"
    folder.mkdir()
    (folder / "a.png").symlink_to(here / "secret.txt")
    (folder / "b.png").symlink_to(folder / "b.png")
    (folder / "c.png").symlink_to("/dev/zero")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "d.png")
    message = refused("data", "inspect", "set")
    assert [name in message for name in ("a.png", "b.png", "c.png", "d.png")] == [True] * 4
    assert "round" not in message
    assert "password" not in message


def test_links_and_pipes_for_labels_are_not_waited_for(here, said):
    (here / "set").mkdir()
    (here / "set" / "a.png").write_bytes(png())
    os.mkfifo(here / "set" / "dataset.json")
    assert "labels  none" in said("data", "inspect", "set")


def test_bombs_of_one_file_in_a_zip(here, refused):
    path = write_zip(here / "set.zip", {"a.png": bytes(2**27)})
    assert path.stat().st_size < 2**18
    assert "a.png: refused as a decompression bomb" in refused("data", "inspect", "set.zip")
    write_zip(here / "labels.zip", {"a.png": png(), "dataset.json": b" " * 2**27})
    assert "dataset.json: refused as a decompression bomb" in refused("data", "inspect", "labels.zip")


def test_files_larger_than_a_picture_are_not_read(here, refused):
    (here / "set").mkdir()
    with open(here / "set" / "a.png", "wb") as file:
        file.truncate(2**40)
    assert "more than such a file can need" in refused("data", "inspect", "set")


def test_members_that_overlap_are_no_bomb(here, refused):
    """Many names for one compressed member, as in D. Fifield's bomb: each is read by itself, or refused."""
    path = write_zip(here / "set.zip", {"a.png": bytes(2**20)})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"a.png", b"%05d" % i)[:-5] + b"%d.png" % i for i in range(9))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 9, 9, len(entries), start, 0)
    path.write_bytes(data[:start] + entries + end)
    assert "8.png" in refused("data", "inspect", "set.zip")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[" * 100_000, "is not JSON"),
        ('{"labels": [["a.png", ' + "9" * 5000 + "]]}", "is not JSON"),
        ('{"labels": [["a.png", ' + "9" * 300 + "]]}", "labels must be class numbers"),
        ('{"labels": [["a.png", 18446744073709551615]]}', "too large"),
        ('{"labels": [["a.png", 99999999]]}', "too large"),
        ('{"labels": [["a.png", NaN]]}', "labels must be class numbers"),
        ('{"labels": [["a.png", [1e400]]]}', "labels must be class numbers"),
        ('{"labels": [["a.png", [1e300]]]}', "labels must be class numbers"),
        ('{"labels": [["a.png", []]]}', "vectors of 0|labels must be class numbers"),
        ('{"labels": [["a.png", ' + "[" * 80 + "]" * 80 + "]]}", "dataset.json"),
        (json.dumps({"labels": [["a.png", [0.0] * 200_000]]}), "vectors of 200,000 numbers"),
        (json.dumps({"labels": [["a.png", 0]], "class_names": ["x"] * 200_000}), "200,000 names"),
        (json.dumps({"labels": [["a.png", 0]], "class_names": [["x"]]}), "must be a list of 1 names"),
        (json.dumps({"labels": [["\x1b[2J\n.png", 0]]}), r"a.png for one"),
    ],
)
def test_hostile_labels(here, refused, labels, message):
    (here / "set").mkdir()
    (here / "set" / "a.png").write_bytes(png())
    (here / "set" / "dataset.json").write_text(labels)
    said = refused("data", "inspect", "set")
    assert any(part in said for part in message.split("|")), said
    assert "\x1b" not in said


def test_text_chunks_of_honest_pictures_are_fine(here, said):
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 10_000, zip=True)
    write_zip(here / "set.zip", {"a.png": png(pnginfo=info)})
    assert "set: 1 images" in said("data", "inspect", "set.zip")


def test_pictures_that_nothing_reads_are_not_passed_over_in_silence(here, said, refused):
    folder = here / "set"
    (folder / ".hidden").mkdir(parents=True)
    for name in ("1.heic", "2.HEIC", "3.dng", ".hidden/4.heic", "notes.txt"):
        (folder / name).write_bytes(b"x")
    note = "Passed over pictures that cannot be read here: 1 .dng, 2 .heic. Convert them to PNG or JPEG"
    assert note in refused("data", "inspect", "set")
    (folder / "a.png").write_bytes(png())
    assert note in said("data", "inspect", "set")
    assert note in said("data", "pack", "set", "packed", "--resolution", "8")
    write_zip(here / "set.zip", {"1.heic": b"x", "a.png": png()})
    assert "1 .heic" in said("data", "inspect", "set.zip")
    assert "Passed over" not in said("data", "inspect", "packed")
