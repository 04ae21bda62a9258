"""Running one build in a process that can be ended at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Final

__all__ = ["NotBuilt", "Progress", "run_worker"]

Progress = Callable[[str, int, int], None]
"""Called with a phase, the steps done in it and how many it has."""


WORKER: Final = ("-m", "xec_deploy.engines.worker")


class NotBuilt(Exception):
    """A precision does not build; the message is the builder's reason."""


def run_worker(request: dict[str, Any], progress: Progress | None) -> dict[str, Any]:
    """Build in a process of its own.

    Parameters
    ----------
    request
        See :func:`xec_deploy.engines.worker.build`.
    progress
        See :data:`Progress`.

    Returns
    -------
    result
        As of that function.

    Raises
    ------
    NotBuilt
        If the library refuses, gives up or crashes.
    """
    command = [sys.executable, *WORKER]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdin is not None  # noqa: S101 - pipes were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.close()
            result = None
            for line in process.stdout:
                event = json.loads(line)
                if "result" in event:
                    result = event["result"]
                elif progress is not None:
                    progress(event["phase"], event["done"], event["steps"])
            code = process.wait()
        finally:
            # An interrupt or a termination of this process ends the build as well.
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
        if result is None:
            if code < 0:
                # Out of memory, or a fault inside the library.
                raise NotBuilt(f"the builder was ended by signal {-code}")
            errors.seek(0)
            raise RuntimeError(f"the builder's process failed:\n{errors.read().strip()}")
    if "failed" in result:
        raise NotBuilt(result["failed"])
    return dict(result)
