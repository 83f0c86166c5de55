"""Thousands of files with changed bytes: read, refused or damaged, and nothing else. No crash, no hang."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

import ganzoo

CASES = 3000
LOOP = """
import io, random, sys
sys.path.insert(0, {root!r})
from ganzoo.importing import child, formats
from ganzoo.importing.flatten import Flattener
from ganzoo.importing.unpickler import DamagedError, RefusedError

whole = open({path!r}, "rb").read()
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
except ImportError:
    pass
random.seed(0)
ends = dict(read=0, refused=0, damaged=0)
structure = whole.find(b"data.pkl") if whole[:2] == b"PK" else 0
for _ in range({cases}):
    data = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 8))):
        # Mostly where names and shapes are, which is where a change has an effect.
        end = min(structure + 900, len(data)) if random.random() < 0.8 else len(data)
        at = random.randrange(min(structure, len(data) - 1), max(end, structure + 1))
        at = min(at, len(data) - 1)
        how = random.random()
        if how < 0.6:
            data[at] = random.choice((random.randrange(256), ord(random.choice("(}}])RbosctNKJ0.q2"))))
        elif how < 0.8:
            del data[at : at + random.randrange(1, 9)]
        else:
            data[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 9)))
    try:
        child.extract(io.BytesIO(data), len(data), io.BytesIO())
        ends["read"] += 1
    except RefusedError:
        ends["refused"] += 1
    except (DamagedError, MemoryError, RecursionError, OSError, *child.MALFORMED):
        ends["damaged"] += 1
print(ends["read"], ends["refused"], ends["damaged"])
"""


def files() -> dict[str, bytes]:
    content = {"G_ema": OrderedDict((f"layer{i}.weight", torch.randn(2, 3)) for i in range(3)), "step": 7}
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save(content, zipped)
    torch.save(content, legacy, _use_new_zipfile_serialization=False)
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "x": torch.randn(3), "n": np.float32(1)}
    return {"zip": zipped.getvalue(), "legacy": legacy.getvalue(), "pickle": pickle.dumps(arrays, protocol=4)}


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_changed_bytes(kind, tmp_path):
    path = tmp_path / kind
    path.write_bytes(files()[kind])
    code = LOOP.format(root=str(Path(ganzoo.__file__).parents[1]), path=str(path), cases=CASES)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused, damaged = map(int, done.stdout.split())
    assert read + refused + damaged == CASES
    assert damaged > 100
    assert refused > 10 or kind == "zip"  # whose checksums notice before any name is read
