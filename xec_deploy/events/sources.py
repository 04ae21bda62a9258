"""The branches of a file by their role in an event, checked when the file is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.errors import InputError
from xec_deploy.events.blocks import BlockMemory
from xec_deploy.events.branches import BranchNames
from xec_deploy.events.columns import BranchSource, RowStream
from xec_deploy.events.failures import place
from xec_deploy.events.tree import OpenTree

__all__ = ["EventSources", "EventStreams", "KeptBranch"]


@dataclass(frozen=True)
class KeptBranch:
    """A branch to hand through and the one shape its entries have."""

    source: BranchSource
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EventStreams:
    """Streams of one iteration over a file; None where the file has no such branch."""

    npho: RowStream
    time: RowStream
    dead: RowStream | None
    run: RowStream | None
    event: RowStream | None
    kept: dict[str, RowStream]

    def close(self) -> None:
        """Stop reading ahead."""
        for stream in self._all():
            stream.close()

    def _all(self) -> Iterator[RowStream]:
        named = (self.npho, self.time, self.dead, self.run, self.event)
        yield from (stream for stream in named if stream is not None)
        yield from self.kept.values()


@dataclass(frozen=True)
class EventSources:
    """Branches of an open tree by role; None where the file has no such branch."""

    tree: OpenTree
    npho: BranchSource
    time: BranchSource
    dead: BranchSource | None
    run: BranchSource | None
    event: BranchSource | None
    kept: dict[str, KeptBranch]

    @classmethod
    def find(cls, tree: OpenTree, names: BranchNames, keep: Sequence[str]) -> EventSources:
        """Take the named branches.

        Raises
        ------
        InputError
            If a branch has not the type its role needs.
        """
        return cls(
            tree=tree,
            npho=_channels(tree, names.npho, "Choose one of all sensors with --npho-branch."),
            time=_channels(tree, names.time, "Choose one of all sensors with --time-branch."),
            dead=None
            if names.dead is None
            else _channels(tree, names.dead, "--dead none ignores the branch."),
            run=None if names.run is None else _number(tree, names.run),
            event=None if names.event is None else _number(tree, names.event),
            kept={name: _kept(tree, name) for name in dict.fromkeys(keep)},
        )

    def streams(
        self,
        start: int,
        stop: int,
        executor: Executor | None = None,
        blocks: BlockMemory | None = None,
    ) -> EventStreams:
        """Start reading entries ``start`` to ``stop`` of all of them."""

        def stream(source: BranchSource, length: int | None = None) -> RowStream:
            path, tree = self.tree.path, self.tree.name
            return RowStream(
                source,
                path,
                tree,
                start=start,
                stop=stop,
                length=length,
                executor=executor,
                blocks=blocks,
            )

        return EventStreams(
            npho=stream(self.npho, N_SENSORS),
            time=stream(self.time, N_SENSORS),
            dead=None if self.dead is None else stream(self.dead, N_SENSORS),
            run=None if self.run is None else stream(self.run),
            event=None if self.event is None else stream(self.event),
            kept=self.kept_streams(start, stop, executor, blocks),
        )

    def kept_streams(
        self,
        start: int,
        stop: int,
        executor: Executor | None = None,
        blocks: BlockMemory | None = None,
    ) -> dict[str, RowStream]:
        """Start reading entries ``start`` to ``stop`` of the branches to hand through."""
        path, tree = self.tree.path, self.tree.name
        return {
            name: RowStream(
                kept.source,
                path,
                tree,
                start=start,
                stop=stop,
                length=kept.shape[0] if kept.shape else None,
                executor=executor,
                blocks=blocks,
            )
            for name, kept in self.kept.items()
        }


def _channels(tree: OpenTree, name: str, fix: str) -> BranchSource:
    source = tree.source(name)
    length = tree.row_length(source, N_SENSORS)
    if length != N_SENSORS:
        raise InputError(
            f"{length} values an event, expected {N_SENSORS}",
            where=place(tree.path, tree.name, name),
            fix=fix,
        )
    return source


def _number(tree: OpenTree, name: str) -> BranchSource:
    source = tree.source(name)
    if source.shape != () or source.dtype.kind not in "iu":
        raise InputError(
            f"expected one integer an event, found {source.typename}",
            where=place(tree.path, tree.name, name),
            fix="Rename the branch, or write it as an integer.",
        )
    return source


def _kept(tree: OpenTree, name: str) -> KeptBranch:
    source = tree.source(name)
    if source.shape is not None:
        return KeptBranch(source, source.shape)
    return KeptBranch(source, (tree.row_length(source),))
