"""What every stored result of a benchmark states beside its figures."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xec_deploy.backends.cores import processor_name

__all__ = ["command_line", "machine", "signed", "versions", "write"]


def machine() -> dict[str, Any]:
    """Return processor, cores this process may use, and architecture."""
    return {
        "processor": processor_name() or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, this project and packages, named as on an index."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("xec-deploy", *packages)},
    }


def command_line() -> str:
    """Return how this program was called; of absolute paths, which are nobody else's, the name."""
    program = Path(sys.argv[0])
    words = ["python", f"benchmarks/{program.name}"]
    words += [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(words)


def signed(*packages: str) -> dict[str, Any]:
    """Return command, day, machine and versions."""
    return {
        "command": command_line(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(*packages),
    }


def write(path: Path, report: Mapping[str, Any], *packages: str) -> None:
    """Write a result as JSON with the day, the machine and the versions it was made with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**signed(*packages), **report}, indent=1)
    path.write_text(content + "\n", encoding="utf-8")
