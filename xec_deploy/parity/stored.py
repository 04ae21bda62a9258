"""Measurements in one file, from which any gates can be judged again without running anything.

The file is a compressed ``.npz`` of fixed bytes for fixed content: ``record`` is JSON, every other
array is named in it.  Differences are float64 as they were measured, one number a quantity and
event, so that its size is bounded by 8 bytes x events x quantities x rows.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import InputError, OutputError
from xec_deploy.parity.events import EventLabel
from xec_deploy.parity.macro import MacroMeasurement
from xec_deploy.parity.measurement import MeasuredEvents, MeasuredRow, Measurement
from xec_deploy.parity.metrics import Quantity
from xec_deploy.parity.results import BitComparison, EventSet, NotRun, Repeat, WorstEvent
from xec_deploy.whole_file import write_whole

__all__ = ["load_measurement", "save_measurement"]

FORMAT: Final = 1
NO_NUMBER: Final = -1
"""Stands for an absent run or event number, of which golden events have none."""

Arrays = dict[str, NDArray[Any]]


def save_measurement(measurement: Measurement, path: str | PathLike[str]) -> None:
    """Write a measurement.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    arrays: Arrays = {}
    record = {
        "format": FORMAT,
        "path": measurement.path,
        "bundle": measurement.bundle,
        "event_sets": [_event_set(events, arrays) for events in measurement.event_sets],
        "rows": [_row(number, row, arrays) for number, row in enumerate(measurement.rows)],
        "repeats": [asdict(part) for part in measurement.repeats],
        "preprocessing": [asdict(part) for part in measurement.preprocessing],
        "macro": measurement.macro is not None,
        "not_run": [asdict(part) for part in measurement.not_run],
        "provenance": measurement.provenance,
    }
    if measurement.macro is not None:
        for item in fields(MacroMeasurement):
            arrays[f"macro/{item.name}"] = getattr(measurement.macro, item.name)
    arrays["record"] = np.array(json.dumps(record))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    try:
        write_whole(Path(path), stream.getvalue())
    except OSError as error:
        raise OutputError(
            f"the differences cannot be written ({error.strerror})", where=str(path)
        ) from error


def load_measurement(path: str | PathLike[str]) -> Measurement:
    """Read a measurement.

    Raises
    ------
    InputError
        If the file is none.
    """
    try:
        # Opened here, because NumPy leaves a damaged archive open.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _measurement(json.loads(str(arrays["record"])), arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif not is_zipfile(path):
            reason = "it is no .npz file, or cut off"
        elif isinstance(error, KeyError):
            reason = f"it has no {error}"
        else:
            reason = str(error)
        raise InputError(
            f"stored differences cannot be read ({reason})",
            where=str(path),
            fix="Pass a file written by xec-deploy parity --store.",
        ) from error


def _event_set(events: MeasuredEvents, arrays: Arrays) -> dict[str, Any]:
    name = events.facts.name
    sources = list(dict.fromkeys(label.source for label in events.labels))
    numbers = {source: number for number, source in enumerate(sources)}
    arrays[f"{name}/source"] = np.array([numbers[label.source] for label in events.labels])
    arrays[f"{name}/entry"] = np.array([label.entry for label in events.labels])
    for key in ("run", "event"):
        found = [getattr(label, key) for label in events.labels]
        arrays[f"{name}/{key}"] = np.array([NO_NUMBER if n is None else n for n in found])
    arrays[f"{name}/reference"] = events.reference
    return {
        "facts": asdict(events.facts),
        "sources": sources,
        "quantities": [asdict(quantity) for quantity in events.quantities],
    }


def _row(number: int, row: MeasuredRow, arrays: Arrays) -> dict[str, Any]:
    for name, difference in row.differences.items():
        arrays[f"{name}/difference/{number}"] = difference
    return row.describe()


def _measurement(record: dict[str, Any], arrays: Arrays) -> Measurement:
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}, known is {FORMAT}")
    names = [part["facts"]["name"] for part in record["event_sets"]]
    return Measurement(
        path=record["path"],
        bundle=record["bundle"],
        event_sets=tuple(_measured_events(part, arrays) for part in record["event_sets"]),
        rows=tuple(
            MeasuredRow(
                **part,
                differences={name: arrays[f"{name}/difference/{number}"] for name in names},
            )
            for number, part in enumerate(record["rows"])
        ),
        repeats=tuple(
            Repeat(**{**part, "worst": part["worst"] and WorstEvent(**part["worst"])})
            for part in record["repeats"]
        ),
        preprocessing=tuple(
            BitComparison(**{**part, "first": part["first"] and tuple(part["first"])})
            for part in record["preprocessing"]
        ),
        macro=MacroMeasurement(
            **{item.name: arrays[f"macro/{item.name}"] for item in fields(MacroMeasurement)}
        )
        if record["macro"]
        else None,
        not_run=tuple(NotRun(**part) for part in record["not_run"]),
        provenance=record["provenance"],
    )


def _measured_events(part: dict[str, Any], arrays: Arrays) -> MeasuredEvents:
    facts = part["facts"]
    name, sources = facts["name"], part["sources"]
    columns = [arrays[f"{name}/{key}"].tolist() for key in ("source", "entry", "run", "event")]
    labels = tuple(
        EventLabel(sources[source], entry, *(None if n == NO_NUMBER else n for n in numbers))
        for source, entry, *numbers in zip(*columns, strict=True)
    )
    return MeasuredEvents(
        EventSet(
            **{**facts, "sources": tuple(facts["sources"]), "checksums": tuple(facts["checksums"])}
        ),
        labels,
        tuple(Quantity(**quantity) for quantity in part["quantities"]),
        arrays[f"{name}/reference"],
    )
