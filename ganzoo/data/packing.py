"""Fitting a whole data set, in order, on every processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from ganzoo.data.ahead import available_cpus, map_ahead
from ganzoo.data.fit import Fit, mip_levels
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset

_CHUNK_BYTES = 2**22  # fitted pixels a thread hands over at a time


@dataclass(frozen=True)
class FittedChunk:
    """Consecutive images. indices: the good ones, in the source. images: uint8 [len(indices), C, R, R].

    skipped: what was wrong with the bad ones. enlarged: how many of the good ones were smaller than asked for.
    """

    indices: list[int]
    images: np.ndarray
    skipped: list[str]
    enlarged: int

    def levels(self) -> dict[int, np.ndarray]:
        """Every resolution: {R: images, R/2: ..., 1: ...}."""
        return mip_levels(self.images)


def fit_images(
    dataset: Dataset, fit: Fit, *, skip_bad: int, log: Callable[[str], None], progress: bool = False
) -> Iterator[FittedChunk]:
    """All images of ``dataset``, fitted. Bad files are logged and left out, up to ``skip_bad``.

    Raises DataError, naming them, at the first chunk that makes them too many, or if no image is left.
    """
    size = max(1, min(256, _CHUNK_BYTES // (fit.channels * fit.resolution**2)))
    chunks = [range(start, min(start + size, len(dataset))) for start in range(0, len(dataset), size)]
    bad: list[str] = []
    enlarged = kept = 0
    with (progress_bar if progress else no_bar)(len(dataset)) as advance:
        for chunk in map_ahead(lambda indices: _fit_chunk(dataset, fit, indices), chunks, workers=available_cpus()):
            bad += chunk.skipped
            for message in chunk.skipped[: skip_bad - len(bad) + len(chunk.skipped)]:
                log(f"skipped: {message}")
            if len(bad) > skip_bad:
                raise DataError(_too_many(bad, skip_bad))
            enlarged += chunk.enlarged
            kept += len(chunk.indices)
            advance(len(chunk.indices) + len(chunk.skipped))
            yield chunk
    if not kept:
        raise DataError(f"{dataset.name}: not one image can be read")
    if enlarged:
        log(
            f"warning: {enlarged:,} of {kept:,} images are smaller than {fit.resolution} x {fit.resolution} and were "
            "enlarged; a smaller img_resolution shows what is really there"
        )


def _fit_chunk(dataset: Dataset, fit: Fit, indices: Sequence[int]) -> FittedChunk:
    kept: list[int] = []
    images: list[np.ndarray] = []
    skipped: list[str] = []
    enlarged = 0
    for index in indices:
        try:
            image = dataset.image(index)
            images.append(fit(image, dataset.filename(index)))
        except DataError as problem:
            skipped.append(str(problem))
            continue
        kept.append(index)
        enlarged += fit.enlarges(image)
    shape = (0, fit.channels, fit.resolution, fit.resolution)
    return FittedChunk(kept, np.stack(images) if images else np.empty(shape, np.uint8), skipped, enlarged)


def _too_many(bad: list[str], skip_bad: int) -> str:
    allowed = "" if skip_bad == 0 else f" (skip_bad allows {skip_bad})"
    listed = "\n".join(f"  {message}" for message in bad[:20])
    more = f"\n  ... and {len(bad) - 20} more" if len(bad) > 20 else ""
    return (
        f"{len(bad)} bad file{'s' * (len(bad) > 1)} so far{allowed}:\n{listed}{more}\n"
        "`ganzoo data inspect` lists every one. Remove them, or allow for them: --skip-bad N, or --set data.skip_bad=N."
    )


Advance = Callable[[int], None]
Bar = Callable[[int], AbstractContextManager[Advance]]  # of the number of images; gives what to tell how many are done


@contextmanager
def no_bar(total: int) -> Iterator[Advance]:
    """Shows nothing."""
    yield lambda n: None


@contextmanager
def progress_bar(total: int) -> Iterator[Advance]:
    """A bar of its own. Only a terminal gets to see anything."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("images", total=total)
        yield lambda n: bar.advance(task, n)
