"""Where an engine runs: ``cpu``, ``cuda``, or one of several GPUs as ``cuda:1``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xec_deploy.errors import UsageError, nearest

__all__ = ["DEVICES", "Device", "parse_device"]

DEVICES: Final = ("cpu", "cuda")
_NUMBERED: Final = re.compile(r"cuda:(?P<index>\d+)")


@dataclass(frozen=True)
class Device:
    """A processor or a GPU.

    Attributes
    ----------
    kind
        One of :data:`DEVICES`.
    index
        Number of the GPU as CUDA counts those it may see (``CUDA_VISIBLE_DEVICES``).
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind


def parse_device(text: str) -> Device:
    """Return the device a user names.

    Raises
    ------
    UsageError
        If there is no such kind of device.
    """
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        return Device("cuda", int(numbered["index"]))
    if text not in DEVICES:
        raise UsageError(
            f"device {text!r} is not supported",
            fix=f"{nearest(text, DEVICES)} One of several GPUs is 'cuda:1'.",
        )
    return Device(text)
