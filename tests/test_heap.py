from __future__ import annotations

import subprocess
import sys

import pytest

# Page faults of filling 64 MiB ten times over, after a first time.
FAULTS = """
import resource, sys
from ganzoo.heap import keep_freed_memory

if "keep" in sys.argv and not keep_freed_memory():
    sys.exit("cannot")
b"x" * int(2**26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * int(2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*args: str) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS, *args], capture_output=True, text=True)
    if run.stderr.strip() == "cannot":
        pytest.skip("this C library has no mallopt that keeps freed memory")
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_is_used_again():
    assert faults("keep") <= faults() / 5
