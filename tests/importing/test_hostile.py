"""Files made to run something, or to take memory or time: refused by name, nothing run, nothing written."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ganzoo.cli import main
from ganzoo.errors import CheckpointError
from ganzoo.importing import reading
from ganzoo.importing.reading import read_foreign
from ganzoo.importing.unpickler import ALLOWED, RefusedError, Unpickler

MARK = "ran.txt"


class Runs:
    """Pickled as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def command(folder: Path) -> str:
    return f"touch {folder / MARK}"


def short(text: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + pickle.STACK_GLOBAL


def by_hand(body: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + body + pickle.STOP


def evil(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (pickle, what it must be refused by)."""
    run = command(folder)
    persistent = stack_global("torch_utils.persistence", "_reconstruct_persistent_obj")
    getattr_chain = (
        stack_global("builtins", "getattr") + stack_global("builtins", "__import__") + short("os") + b"\x85R\x86R"
    )
    return {
        "os.system": (pickle.dumps(Runs(os.system, run)), f"{os.system.__module__}.system"),
        "eval": (pickle.dumps(Runs(eval, f"__import__('os').system({run!r})")), "builtins.eval"),
        "exec": (pickle.dumps(Runs(exec, f"open({str(folder / MARK)!r}, 'w')"), protocol=0), "__builtin__.exec"),
        "subprocess": (pickle.dumps(Runs(subprocess.Popen, ["sh", "-c", run])), "subprocess.Popen"),
        "open": (pickle.dumps(Runs(open, str(folder / MARK), "w")), "open"),
        "inside a state dict": (pickle.dumps(OrderedDict(w=Runs(os.system, run))), f"{os.system.__module__}.system"),
        "getattr": (by_hand(getattr_chain), "builtins.getattr"),
        "dotted": (by_hand(stack_global("collections", "OrderedDict.fromkeys")), "collections.OrderedDict.fromkeys"),
        "dunder": (by_hand(stack_global("torch._utils", "_rebuild_tensor_v2.__globals__")), "__globals__"),
        "torch": (by_hand(stack_global("torch", "load")), "torch.load"),
        "torch.hub": (by_hand(stack_global("torch.hub", "load")), "torch.hub.load"),
        "numpy": (by_hand(stack_global("numpy", "load")), "numpy.load"),
        "code": (by_hand(stack_global("types", "CodeType")), "types.CodeType"),
        "terminal": (by_hand(stack_global("\x1b[2J", "x")), r"\x1b[2J.x"),
        "hook of persistence": (
            by_hand(persistent + b"}" + short("type") + short("import_hook") + b"s\x85R"),
            "torch_utils.persistence of the type import_hook",
        ),
    }


def refuse(path: Path, out: Path) -> str:
    """Import ``path`` by the command; returns what it says, all on one line."""
    result = CliRunner().invoke(main, ["import", str(path), "--out", str(out)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(out.stem)]
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("case", sorted(evil(Path())))
def test_what_would_run_is_refused_by_name(case, tmp_path):
    content, name = evil(tmp_path)[case]
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    said = refuse(path, tmp_path / "out.safetensors")
    assert "refused: it asks for" in said and name in said
    assert not (tmp_path / MARK).exists()
    if case == "os.system":  # the test would notice, if it were run
        pickle.loads(content)
        assert (tmp_path / MARK).exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_within_torchs_formats(legacy, tmp_path):
    path = tmp_path / "model.pth"
    content = {"w": torch.zeros(3), "b": Runs(os.system, command(tmp_path))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert "system" in refuse(path, tmp_path / "out.safetensors")
    assert not (tmp_path / MARK).exists()


def test_within_a_storage_within_a_pickle(tmp_path):
    """NVIDIA's pickles hold torch files as bytes, which torch.load would unpickle once more."""
    inner = io.BytesIO()
    torch.save(Runs(os.system, command(tmp_path)), inner, _use_new_zipfile_serialization=False)
    content = pickle.dumps({"w": Runs(torch.storage._load_from_bytes, inner.getvalue())})
    (tmp_path / "network.pkl").write_bytes(content)
    assert "system" in refuse(tmp_path / "network.pkl", tmp_path / "out.safetensors")
    assert not (tmp_path / MARK).exists()


def test_torchscript_is_code(tmp_path):
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/data.pkl", pickle.dumps({}))
        archive.writestr("script/constants.pkl", pickle.dumps(()))
    assert "TorchScript" in refuse(path, tmp_path / "out.safetensors")


def test_nothing_of_the_allow_list_is_of_others():
    """What names stand for is this package's, or a set: nothing is looked up in a module that a file names."""
    for (module, name), thing in ALLOWED.items():
        kind = thing if isinstance(thing, type) else type(thing)
        assert kind.__module__ == "ganzoo.importing.unpickler", f"{module}.{name}"


def test_functions_of_the_allow_list_cannot_be_changed():
    """BUILD would set attributes of whatever is on the stack."""
    for module, name in [("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage"), ("builtins", "set")]:
        for state in (b"}" + short("x") + short("y") + b"s", b"N}" + short("_function") + short("y") + b"s\x86"):
            content = by_hand(stack_global(module, name) + state + pickle.BUILD)
            with pytest.raises(Exception, match="function"):
                Unpickler(io.BytesIO(content), len(content)).load()


def test_extension_codes_are_names_too():
    import copyreg

    copyreg.add_extension("os", "system", 0x7E57)
    try:
        content = by_hand(pickle.EXT2 + struct.pack("<H", 0x7E57))
        with pytest.raises(RefusedError, match=r"os\.system"):
            Unpickler(io.BytesIO(content), len(content)).load()
    finally:
        copyreg.remove_extension("os", "system", 0x7E57)


def tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...], data: bytes) -> bytes:
    """A torch zip with one tensor of these claims."""
    out = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, out)
    with zipfile.ZipFile(out) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        root = name.removesuffix("data.pkl")

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if obj is Ellipsis else None

    structure = io.BytesIO()
    rebuild = Runs(torch._utils._rebuild_tensor_v2, ..., 0, size, stride, False, OrderedDict())
    Pickler(structure, protocol=2).dump({"w": rebuild})
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        archive.writestr(root + "data.pkl", structure.getvalue())
        archive.writestr(root + "data/0", data)
    return result.getvalue()


@pytest.mark.parametrize(
    ("numel", "size", "stride"),
    [
        (4, (8,), (1,)),  # beyond its storage
        (4, (1 << 30, 1 << 30), (0, 0)),  # one number, repeated
        (4, (2, 2), (1 << 40, 1)),
        (4, (-4,), (1,)),
        (4, (2,), (-1,)),
        (1 << 40, (1 << 40,), (1,)),  # more than the file has
        (4, (2, 2), (1,)),
    ],
)
def test_tensors_that_are_larger_than_their_bytes(numel, size, stride, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(tensor_pickle(numel, size, stride, bytes(16)))
    assert "cannot be read as weights" in refuse(path, tmp_path / "out.safetensors")


def test_an_honest_tensor_made_the_same_way_is_read(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(tensor_pickle(4, (2, 2), (1, 2), struct.pack("<4f", 1, 2, 3, 4)))
    assert read_foreign(path).networks[""].tensors["w"].tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_a_zip_bomb(tmp_path):
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(200 << 20))
    assert path.stat().st_size < 1 << 20
    assert "compressed" in refuse(path, tmp_path / "out.safetensors")


def nested(levels: int) -> bytes:
    return by_hand(pickle.EMPTY_LIST * levels + pickle.APPEND * (levels - 1))


def laughs(levels: int) -> bytes:
    """Lists of ten times the list before."""
    body = b"]" + pickle.BINPUT + b"\x00"
    for i in range(levels):
        body += b"(" + (pickle.BINGET + bytes([i])) * 10 + b"l" + pickle.BINPUT + bytes([i + 1])
    return by_hand(body)


SCALAR = stack_global("numpy.core.multiarray", "scalar")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (nested(1000), "nested more than"),
        (nested(1_000_000), "nested more than"),
        (laughs(40), "more than"),
        (
            by_hand(b"]" + pickle.BINPUT + b"\x00" + pickle.BINGET + b"\x00" + pickle.APPEND),
            "nested more than",
        ),  # itself
        (by_hand(pickle.BINBYTES8 + struct.pack("<Q", 1 << 60) + b"x"), "memory"),
        (by_hand(pickle.BINUNICODE8 + struct.pack("<Q", 1 << 40) + b"x"), "wrong sizes"),
        (by_hand(b"N" + pickle.LONG_BINPUT + struct.pack("<I", 0xFFFFFFF0)), "memory"),
        (by_hand(pickle.FRAME + struct.pack("<Q", 1 << 50) + b"N"), "wrong sizes"),
        (by_hand(b"(" + b"N" * 10 + pickle.TUPLE + b"}" + b"\x86R"), "cannot be read"),
        (by_hand(pickle.NEXT_BUFFER), "cannot be read"),
        (by_hand(SCALAR + stack_global("numpy", "dtype") + short("f4") + b"\x85RC\x01x\x86R"), "cannot be read"),
        (by_hand(short("x") + pickle.BINPERSID), "outside"),
        (by_hand(b"N0"), "cannot be read"),  # nothing is left
        (by_hand(b""), "cannot be read"),
        (b"\x80", "cannot be read"),
        (b"", "neither a torch file nor a pickle"),
        (b"PK\x03\x04" + bytes(100), "zip is cut off or broken"),
        (b"<html>not found</html>", "neither a torch file nor a pickle"),
    ],
)
def test_nesting_sizes_and_rubbish(content, said, tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    assert said in refuse(path, tmp_path / "out.safetensors")


def test_what_breaks_the_reader_breaks_only_the_reader(tmp_path):
    """A key whose hash takes more stack than there is ends the process that hashes it."""
    path = tmp_path / "network.pkl"
    path.write_bytes(by_hand(b"}" + b")" + pickle.TUPLE1 * 5_000_000 + b"Ns"))
    said = refuse(path, tmp_path / "out.safetensors")
    assert "its reader was ended by SIG" in said or "cannot be read" in said


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set by resource.setrlimit")
def test_the_reader_has_given_up_files_processes_and_memory(tmp_path, monkeypatch):
    """Asked from within: what code would meet, if a file could run any."""
    probe = """import json, os, subprocess, sys
sys.path.insert(0, {root!r})
from ganzoo.importing import child
unlimited = child.limit(0)
def attempt(f):
    try: f()
    except BaseException as error: return type(error).__name__
    return "done"
found = dict(
    read=attempt(lambda: open("/etc/hostname")),
    write=attempt(lambda: open(MARK, "w")),
    memory=attempt(lambda: bytearray(1 << 30)),
    run=attempt(lambda: subprocess.run(["true"])),
    unlimited=unlimited,
)
text = json.dumps(dict(refused=json.dumps(found))).encode()
os.write(1, text + len(text).to_bytes(8, "little"))"""
    monkeypatch.setattr(reading, "_CHILD", probe.replace("MARK", repr(str(tmp_path / MARK))))
    path = tmp_path / "any.pkl"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError) as error:
        read_foreign(path)
    for what in ('"read": "OSError"', '"write": "OSError"', '"run": "OSError"', '"memory": "MemoryError"'):
        assert what in str(error.value)
    assert '"unlimited": []' in str(error.value)


def test_a_reader_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_CHILD", "import time; time.sleep(60)  # {root!r}")
    monkeypatch.setattr(reading, "base_seconds", 1)
    path = tmp_path / "any.pkl"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not read within 1 seconds"):
        read_foreign(path)


def test_a_reader_that_lies_is_not_believed(tmp_path, monkeypatch):
    """If a file did take over its reader, the answer would still be data, and checked."""
    answer = (
        '{"format": "torch", "values": {}, "left_out": [], "unlimited": [], '
        '"storages": [{"dtype": "float32", "numel": 4, "start": 0}], "networks": {"": {"kind": "torch", '
        '"class_name": "", "args": {}, "attributes": {}, "tensors": {"w": [0, 0, [64], [1]]}}}}'
    )
    code = f"import sys; t = {answer.encode()!r}; sys.stdout.buffer.write(bytes(16) + t + len(t).to_bytes(8, 'little'))"
    monkeypatch.setattr(reading, "_CHILD", code.replace("{", "{{").replace("}", "}}") + "  # {root!r}")
    path = tmp_path / "any.pkl"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="what cannot be"):
        read_foreign(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_cut_off_anywhere(legacy, tmp_path):
    """Every prefix of a file is refused, or (where only the tail of a legacy file's padding is missing) whole."""
    whole = io.BytesIO()
    torch.save({"w": torch.arange(6.0)}, whole, _use_new_zipfile_serialization=not legacy)
    content = whole.getvalue()
    path = tmp_path / "model.pth"
    for length in [*range(0, len(content), max(len(content) // 12, 1)), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            read_foreign(path)
    path.write_bytes(content)
    assert read_foreign(path).networks[""].tensors["w"].tolist() == [0, 1, 2, 3, 4, 5]
