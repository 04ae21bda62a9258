"""Events of a ROOT file in batches of exactly the size asked for.

Memory is that of one block a branch (`blocks.BLOCK_BYTES`, or one basket where that is larger)
and one batch, whatever the file's size.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import UsageError
from xec_deploy.events.batch import EventBatch, SensorArrays
from xec_deploy.events.blocks import BlockMemory
from xec_deploy.events.branches import BranchNames, detect_branches
from xec_deploy.events.columns import RowStream
from xec_deploy.events.dead import DeadChannels, dead_channels
from xec_deploy.events.failures import place
from xec_deploy.events.inputs import InputFile, parse_input
from xec_deploy.events.prepare import Preparer
from xec_deploy.events.sources import EventSources
from xec_deploy.events.tree import OpenTree

__all__ = ["EventFile", "open_events"]

logger = logging.getLogger(__name__)

RUNS_AT_ONCE = 2**18


def open_events(
    input: InputFile | str | os.PathLike[str],  # noqa: A002 -- the user's word for it
    *,
    tree: str | None = None,
    npho_branch: str | None = None,
    time_branch: str | None = None,
    keep: Sequence[str] = (),
    keep_present: Sequence[str] = (),
    dead: DeadChannels | None = None,
) -> EventFile:
    """Open a file of events.

    Parameters
    ----------
    input
        The file; a string may be ``file.root:tree`` or a URL.
    tree
        Tree or RNTuple to read where ``input`` does not say; None to find it.
    npho_branch, time_branch
        Branches of raw photons and times [s]; None to find them.
    keep
        More numeric branches to hand through, of fixed size (a vector must have one length).
    keep_present
        More of them, where the file has them.
    dead
        Source of dead channels; None for the branch ``dead`` where there is one.

    Raises
    ------
    InputError
        If the file, tree or a branch cannot be used; naming it and the remedy.
    """
    item = input if isinstance(input, InputFile) else parse_input(input)
    with ExitStack() as undo:
        opened = undo.enter_context(OpenTree(item.path, item.tree or tree))
        file = EventFile(
            opened,
            run=item.run,
            npho_branch=npho_branch,
            time_branch=time_branch,
            keep=[*keep, *(name for name in keep_present if name in opened.names)],
            dead=dead_channels(None) if dead is None else dead,
        )
        undo.pop_all()
    return file


class EventFile:
    """An open file of events; a context manager.  Made by `open_events`.

    Attributes
    ----------
    path, tree
        The file and the tree (or RNTuple) in it.
    num_entries
        Number of events.
    branches
        The branches in use.
    names
        All branches of the tree.
    codec
        Compression of the npho (else the time) branch: LZ4, ZSTD, ZLIB, LZMA or none.
    form
        How npho is stored, e.g. ``TTree, float[4760]``.
    kept
        Element type and shape of the entries of each branch that is handed through.
    assigned_run
        The run number a run list gives; None where the file has its own.
    units
        Baskets (or pages) of the npho branch.
    uuid
        Identity that the writer gave the file.
    """

    def __init__(
        self,
        opened: OpenTree,
        *,
        run: int | None,
        npho_branch: str | None,
        time_branch: str | None,
        keep: Sequence[str],
        dead: DeadChannels,
    ) -> None:
        self._opened = opened
        self.path, self.tree = opened.path, opened.name
        self.num_entries, self.names = opened.num_entries, opened.names
        self.branches: BranchNames = detect_branches(
            self.path,
            self.tree,
            self.names,
            npho=npho_branch,
            time=time_branch,
            dead=dead.branch_in(self.names, place(self.path, self.tree)),
        )
        self._sources = EventSources.find(opened, self.branches, keep)
        self._prepare = Preparer(self._sources, -1 if run is None else run, dead)
        self.kept: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            name: (kept.source.dtype, kept.shape) for name, kept in self._sources.kept.items()
        }
        self.assigned_run = run if self.branches.run is None else None
        self.uuid = opened.uuid
        self.units = self._sources.npho.units
        # LZ4 leaves incompressible baskets as they are, so one branch may not show the codec
        codecs = (opened.codec(source) for source in (self._sources.npho, self._sources.time))
        self.codec = next((codec for codec in codecs if codec != "none"), "none")
        self.form = f"{opened.kind}, {self._sources.npho.typename}"
        logger.info("%s: %d events, %s, %s", self.path, self.num_entries, self.form, self.codec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def batches(
        self,
        size: int,
        start: int = 0,
        stop: int | None = None,
        *,
        memory: Callable[[], SensorArrays] | None = None,
        executor: Executor | None = None,
        blocks: BlockMemory | None = None,
    ) -> Iterator[EventBatch]:
        """Iterate over entries ``start`` to ``stop`` in batches of ``size``, the last shorter.

        The events are the same for every size.

        Parameters
        ----------
        size
            Events of a batch.
        start, stop
            Entry range; the whole file by default.
        memory
            Gives memory for ``size`` events, which the batch names as its ``memory``; None to
            allocate it for each.
        executor
            Decompresses what comes next while a batch is used; None to do it in between.
        blocks
            Memory to decompress to, which lives on for the next file; None to allocate it.

        Raises
        ------
        UsageError
            If ``size`` or the entry range makes no sense.
        InputError
            If the file cannot be read there, or the dead-channel source does not know a run.
        """
        last = self.num_entries if stop is None else stop
        self._check_range(size, start, last)
        return self._iterate(size, start, last, memory, executor, blocks)

    def read(self, start: int, stop: int, into: SensorArrays | None = None) -> EventBatch:
        """Read entries ``start`` to ``stop`` at once; errors as of `batches`.

        Parameters
        ----------
        start, stop
            A range that is not empty; cheapest between two of the `boundaries`.
        into
            Memory of exactly the length of the range; the arrays of the result are these.
        """
        self._check_range(stop - start, start, stop)
        streams = self._sources.streams(start, stop)
        return self._prepare.batch(streams, start, into or SensorArrays.empty(stop - start))

    def read_kept(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Read nothing but the branches that are handed through."""
        if start == stop:
            return {
                name: np.empty((0, *kept.shape), kept.source.dtype)
                for name, kept in self._sources.kept.items()
            }
        self._check_range(stop - start, start, stop)
        streams = self._sources.kept_streams(start, stop)
        return {
            name: self._prepare.kept(name, stream, start, stop - start)
            for name, stream in streams.items()
        }

    def run_numbers(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Read the run numbers of entries ``start`` to ``stop``, and nothing else.

        Yields
        ------
        first, runs
            Entry number and the runs (n,) from there on.
        """
        source = self._sources.run
        stream = (
            None
            if source is None
            else RowStream(source, self.path, self.tree, start=start, stop=stop)
        )
        for first in range(start, stop, RUNS_AT_ONCE):
            runs = np.full(min(RUNS_AT_ONCE, stop - first), self._prepare.run, np.int64)
            if stream is not None:
                stream.fill(runs)
            yield first, runs

    @property
    def boundaries(self) -> NDArray[np.int64]:
        """Ascending entry numbers from 0 to ``num_entries``.

        Between two of them lie whole baskets (or pages) of npho, of about
        `blocks.BLOCK_BYTES`.
        """
        return self._sources.npho.boundaries

    def _check_range(self, size: int, start: int, stop: int) -> None:
        if size < 1 or not 0 <= start <= stop <= self.num_entries:
            raise UsageError(
                f"cannot read entries {start} to {stop} in batches of {size}",
                where=place(self.path, self.tree),
                fix=f"The tree has {self.num_entries} entries; a batch has at least one.",
            )

    def _iterate(
        self,
        size: int,
        start: int,
        stop: int,
        memory: Callable[[], SensorArrays] | None,
        executor: Executor | None,
        blocks: BlockMemory | None,
    ) -> Iterator[EventBatch]:
        if start == stop:
            return
        streams = self._sources.streams(start, stop, executor, blocks)
        try:
            for first in range(start, stop, size):
                count = min(size, stop - first)
                if memory is None:
                    yield self._prepare.batch(streams, first, SensorArrays.empty(count))
                else:
                    given = memory()
                    batch = self._prepare.batch(streams, first, given.head(count))
                    yield replace(batch, memory=given)
        finally:
            streams.close()
