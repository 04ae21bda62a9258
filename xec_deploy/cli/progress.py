"""Progress of long work: a bar on a terminal, a line every 30 seconds otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_of"]

LINE_INTERVAL_S: Final = 30.0


@contextmanager
def progress_of(
    task: str, total: int | None = None, *, unit: str = "events"
) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the number of events (or ``unit``) just done."""
    console = Console(stderr=True)
    digits = 0 if unit == "events" else 1
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bars:
            bar = bars.add_task(task, total=total, rate="")

            def advance(count: int) -> None:
                bars.advance(bar, count)
                state = bars.tasks[0]
                if state.speed:
                    bars.update(bar, rate=f"{state.speed:.{digits}f} {unit}/s")

            yield advance
        return
    start = last = time.monotonic()
    done = 0

    def log(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LINE_INTERVAL_S:
            last = now
            of_total = f" of {total}" if total is not None else ""
            rate = done / (now - start)
            console.print(
                f"{task}: {done}{of_total} {unit}, {rate:.{digits}f} {unit}/s", highlight=False
            )

    yield log
