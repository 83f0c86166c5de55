"""A line on the terminal that says what is being counted or measured, and goes away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def counting_bar(total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Call what it gives with what comes next. total: how many calls there will be, None: nobody knows."""
    console = Console(stderr=True)
    columns = [SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        calls = 0

        def tell(what: str) -> None:
            nonlocal calls
            bar.update(task, description=what, completed=calls)
            calls += 1

        yield tell
