"""Stages of a measurement, each in a process with a time limit.

A crash, a refusal or a hang of one is a result like any other, and the rest goes on.  What a stage
has found before is kept.  Everything lies in a folder, so that a second run goes on where the first
one stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Findings", "Stage", "read_stage", "run_stages"]


@dataclass(frozen=True)
class Stage:
    """A part of the measurement.

    Attributes
    ----------
    name
        By which it is chosen.
    seconds
        After which it is ended.
    needs
        Stages that must have succeeded.
    """

    name: str
    seconds: float
    needs: tuple[str, ...] = ()


class Findings:
    """What a stage finds, on disk from the first figure on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = {}

    def add(self, **values: Any) -> None:
        """Add figures, or replace those of the same name."""
        self.values.update(values)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
        part.replace(self._path)


def _file(folder: Path, name: str) -> Path:
    return folder / "stages" / f"{name}.json"


def read_stage(folder: Path, name: str) -> dict[str, Any]:
    """Return what a stage has found so far."""
    path = _file(folder, name)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def run_stages(
    stages: Sequence[Stage],
    folder: Path,
    command: Callable[[str, Path], list[str]],
    *,
    budget: float,
    say: Callable[[str], Any] = print,
) -> dict[str, dict[str, Any]]:
    """Run stages one after the other until the time is used up.

    Parameters
    ----------
    stages
        In order.
    folder
        For findings, logs and outcomes; stages that succeeded in an earlier run are not repeated,
        whether they are among ``stages`` or only needed by them.
    command
        Returns the command of a stage, given its name and the file for its findings.
    budget
        Seconds for all of them; what no longer fits is not begun.
    say
        Told of each stage.

    Returns
    -------
    outcomes
        Stage -> ``state`` (``done``, ``failed``, ``timed out``, ``not run``), ``seconds``, what it
        found, and the ``reason`` where it did not succeed; those of earlier runs included.
    """
    end = time.monotonic() + budget
    # What this run does not reach before it is cut off stays as it was.
    outcomes = _kept(folder)
    for stage in stages:
        missing = [n for n in stage.needs if outcomes.get(n, {}).get("state") != "done"]
        left = end - time.monotonic()
        if outcomes.get(stage.name, {}).get("state") == "done":
            outcome = outcomes[stage.name]
        elif missing:
            outcome = {"state": "not run", "reason": f"needs {missing[0]}"}
        elif left < 1:
            outcome = {"state": "not run", "reason": "the time was used up"}
        else:
            outcome = _run(stage, folder, command, min(stage.seconds, left))
        outcomes[stage.name] = outcome
        (folder / "outcomes.json").write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
        reason = f": {outcome['reason']}" if "reason" in outcome else ""
        say(f"{stage.name}: {outcome['state']} ({outcome.get('seconds', 0):.0f} s){reason}")
    return outcomes


def _kept(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "outcomes.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _run(
    stage: Stage, folder: Path, command: Callable[[str, Path], list[str]], limit: float
) -> dict[str, Any]:
    findings, log = _file(folder, stage.name), folder / "logs" / f"{stage.name}.log"
    for path in (findings, log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    start = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - the caller's own program
            command(stage.name, findings),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # Its children too, a compiler's for instance.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    outcome: dict[str, Any] = {"state": "done", "seconds": round(time.monotonic() - start, 1)}
    if code is None:
        outcome |= {"state": "timed out", "reason": f"not done after {limit:.0f} s"}
    elif code != 0:
        text = log.read_text(encoding="utf-8", errors="replace").replace(f"{folder}/", "")
        lines = text.strip().splitlines()
        ended = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        outcome |= {
            "state": "failed",
            "reason": f"{ended}: {lines[-1][:400] if lines else 'without a word'}",
        }
    return outcome | read_stage(folder, stage.name)
