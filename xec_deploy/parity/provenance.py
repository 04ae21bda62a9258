"""When and where a comparison was measured."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx

from xec_deploy import __version__
from xec_deploy.backends.cores import arithmetic_of, granted_cores, processor_name

__all__ = ["measured_here"]


def measured_here() -> dict[str, Any]:
    """Return time, command, versions and machine."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "versions": {
            "xec-deploy": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnx": onnx.__version__,
        },
        "machine": {
            "processor": processor_name(),
            "cores": granted_cores(),
            "arithmetic": arithmetic_of("cpu"),
            "gpu": arithmetic_of("cuda") or None,
        },
    }
