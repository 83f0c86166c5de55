"""Work done ahead of whoever needs it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """``map`` in order, with ``workers`` threads up to two items further ahead; 0 works only when asked.

    Threads suffice: copying arrays, decoding and resizing run without the interpreter lock. An exception comes out
    where its result would have. Closing the iterator waits for nobody.
    """
    if workers == 0:
        yield from map(function, items)
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ganzoo-data")
    try:
        pending = deque(pool.submit(function, item) for item in islice(remaining, workers + 2))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def available_cpus() -> int:
    """Processors that this process may use: fewer than the machine has under taskset or in a set of CPUs."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
