"""Files of a run list dealt out to tasks."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile

__all__ = ["deal_evenly", "file_bytes", "in_order"]


def in_order(files: Sequence[InputFile], each: int) -> list[list[InputFile]]:
    """Give each task the next ``each`` files.

    Raises
    ------
    UsageError
        If ``each`` is less than one.
    """
    if each < 1:
        raise UsageError(f"{each} files a task", fix="Give a task one file or more.")
    return [list(files[start : start + each]) for start in range(0, len(files), each)]


def deal_evenly(files: Sequence[InputFile], tasks: int) -> list[list[InputFile]]:
    """Deal files to tasks so that all have about as many bytes to read.

    The largest file that is left goes to the task with the least so far, at most a third above
    the best possible (Graham, SIAM J. Appl. Math. 17 (1969) 416).  Within a task the files keep
    their order; where sizes are unknown (URLs, files that are not there) every file counts alike.

    Parameters
    ----------
    files
        Files in order.
    tasks
        How many tasks; no more than files are made.

    Raises
    ------
    UsageError
        If ``tasks`` is less than one.
    """
    if tasks < 1:
        raise UsageError(f"{tasks} tasks", fix="Ask for one task or more.")
    sizes = [file_bytes(item) for item in files]
    known = [size for size in sizes if size is not None]
    typical = sum(known) // len(known) if known else 1
    weights = [typical if size is None else size for size in sizes]
    # The number of files breaks ties, so that empty files are spread as well.
    heap = [(0, 0, task) for task in range(min(tasks, len(files)))]
    dealt: list[list[int]] = [[] for _ in heap]
    for index in sorted(range(len(files)), key=lambda index: (-weights[index], index)):
        load, count, task = heapq.heappop(heap)
        dealt[task].append(index)
        heapq.heappush(heap, (load + weights[index], count + 1, task))
    ordered = sorted(sorted(indices) for indices in dealt)
    return [[files[index] for index in indices] for indices in ordered]


def file_bytes(item: InputFile) -> int | None:
    """Return the size of a local file; None if it is not there or not local."""
    try:
        return Path(item.path).stat().st_size
    except OSError:
        return None
