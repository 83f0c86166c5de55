"""``make fuzz``: every target in turn, FUZZ_SECONDS in all (600), always with other cases; exit code 1 on a crash.

FUZZ_SEED (default: the clock) begins the same sequence again; FUZZ_TARGETS names some targets, with commas between.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_targets import TARGETS, Target, plugins, run

_ROUND = 25  # cases of a target before the next one has its turn
_MEMORY = 3 * 2**30  # bytes a case may take
_ENOUGH = 3  # crashes of one target, to leave time for the others


class Count:
    """What became of one target's cases."""

    def __init__(self) -> None:
        self.tried = self.good = self.refused = 0
        self.crashes: list[str] = []


def fuzz(target: Target, count: Count, seed: int, ends: float) -> None:
    """One round; a crash is kept with the smallest case that hypothesis finds for it."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=_ROUND,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.strategy)
    def check(case: object) -> None:
        if time.monotonic() < ends:
            count.tried += 1
            before = peak_memory()
            good = run(target, case)
            if peak_memory() - before > 2**28:
                print(f"{target.name}: {(peak_memory() - before) >> 20} MiB for {case!r:.300}", flush=True)
            count.good, count.refused = count.good + good, count.refused + (not good)

    try:
        check()
    except KeyboardInterrupt:
        raise
    except BaseException:
        count.crashes.append(traceback.format_exc())


def peak_memory() -> int:
    """Bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def limit_memory() -> None:
    """A case that takes gigabytes becomes a MemoryError, and so a crash, before it takes the machine down."""
    import resource  # not on Windows, where SIGALRM is missing, too

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, resource.RLIM_INFINITY))


def main() -> int:
    warnings.simplefilter("ignore")  # of Pillow, about damaged files
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    seed = int(os.environ.get("FUZZ_SEED", time.time_ns() % 2**32))
    names = os.environ.get("FUZZ_TARGETS", ",".join(TARGETS)).split(",")
    print(f"fuzzing {len(names)} targets for {seconds:g} s, FUZZ_SEED={seed}", flush=True)
    plugins()
    if sys.platform == "linux":
        limit_memory()
    counts = {name: Count() for name in names}
    ends, turn = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for name in names:
            if len(counts[name].crashes) < _ENOUGH:
                fuzz(TARGETS[name], counts[name], seed + turn, ends)
        turn += 1
    for count in counts.values():
        for crash in count.crashes:
            print(crash, file=sys.stderr)
    print(f"{'target':<24} {'cases':>8} {'accepted':>9} {'refused':>8} {'crashes':>8}")
    for name, count in counts.items():
        print(f"{name:<24} {count.tried:>8,} {count.good:>9,} {count.refused:>8,} {len(count.crashes):>8,}")
    total, crashes = sum(c.tried for c in counts.values()), sum(len(c.crashes) for c in counts.values())
    print(f"{total:,} cases tried, {crashes or 'none'} crashed")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
