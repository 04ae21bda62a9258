"""Reading units into memory that is allocated once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.errors import InputError
from xec_deploy.events import EventFile, SensorArrays
from xec_deploy.events.failures import place
from xec_train.config.sections import DataConfig
from xec_train.data.batch import RawBatch
from xec_train.data.index import EventIndex, open_file
from xec_train.data.selection import Selection

__all__ = ["LoadedUnit", "UnitReader"]

OPEN_FILES = 16
"""Files kept open: opening one takes a third of the time of reading a unit."""


@dataclass(frozen=True)
class LoadedUnit:
    """Usable events of a unit in memory: their rows (n,), and whether each could be read (n,)."""

    rows: NDArray[np.int64]
    readable: NDArray[np.bool_]


class UnitReader:
    """Reads units of an index; one for each process."""

    def __init__(self, index: EventIndex, config: DataConfig, selection: Selection) -> None:
        self._index = index
        self._config = config
        self._selection = selection
        self._open: OrderedDict[int, EventFile] = OrderedDict()

    def load(self, unit: int, into: RawBatch, start: int) -> LoadedUnit:
        """Read a unit to the rows of ``into`` from ``start`` on.

        Raises
        ------
        InputError
            If it cannot be read, or is not what it was when the index was made.
        """
        index = self._index
        number = int(index.file[unit])
        first, last = int(index.start[unit]), int(index.stop[unit])
        events = self._file(number)
        branches = index.branches[number]
        end = start + last - first
        memory = SensorArrays(
            into.npho[start:end].numpy(), into.time[start:end].numpy(), into.dead[start:end].numpy()
        )
        chunk = events.read(first, last, memory)
        selected = self._selection.select(chunk.extra, branches, len(chunk))
        for task, target in selected.targets.items():
            into.targets[task][start:end] = torch.from_numpy(target)
        if into.run is not None and into.event is not None:
            into.run[start:end] = torch.from_numpy(chunk.run)
            into.event[start:end] = torch.from_numpy(chunk.event)
        rows = np.flatnonzero(selected.usable)
        if len(rows) != int(index.usable[unit]):
            raise InputError(
                "the file has changed since the training started",
                where=place(events.path, events.tree, entries=(first, last)),
                fix="Start again, and leave the files alone meanwhile.",
            )
        return LoadedUnit(start + rows, chunk.readable[rows])

    def _file(self, number: int) -> EventFile:
        if number in self._open:
            self._open.move_to_end(number)
        else:
            while len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            item, branches = self._index.inputs[number], self._index.branches[number]
            self._open[number] = open_file(item, self._config, branches)
        return self._open[number]
