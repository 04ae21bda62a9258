"""Cores this process may use, which are seldom those of the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

__all__ = ["arithmetic_of", "cgroup_limit", "granted_cores", "processor_name"]

PROCESS_GROUPS: Final = Path("/proc/self/cgroup")
GROUPS: Final = Path("/sys/fs/cgroup")
PROCESSORS: Final = Path("/proc/cpuinfo")
ARITHMETIC: Final = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_int8", "amx_bf16", "amx_fp16", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instruction sets on which it depends how engines multiply and add in few bits."""


def granted_cores() -> int:
    """Return how many cores this process may keep busy.

    The affinity mask (batch systems, ``taskset``) and the CPU time granted by control groups
    (containers) both limit it; a machine's number of cores says neither.
    """
    limit = cgroup_limit()
    cores = len(os.sched_getaffinity(0))
    # Rounded down: a thread too many is stopped for the rest of each period, and the others wait.
    return cores if limit is None else max(1, min(cores, int(limit)))


def cgroup_limit(groups: Path = GROUPS, process: Path = PROCESS_GROUPS) -> float | None:
    """Return the cores' worth of CPU time that control groups grant; None if there is no limit.

    Parameters
    ----------
    groups
        Where control groups are mounted.
    process
        The file that says which of them this process is in.
    """
    limits = [_limit(folder) for folder in _folders(groups, process)]
    return min((limit for limit in limits if limit is not None), default=None)


def processor_name() -> str:
    """Return the model of the processor; empty if it is not known."""
    for line in _text(PROCESSORS).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def arithmetic_of(device: str) -> str:
    """Return what of this machine the last bits, and with few bits all of them, depend on.

    Processors of the same instruction sets compute alike: without VNNI, products of eight bits
    may saturate.

    Returns
    -------
    arithmetic
        ``x86_64 avx2 avx512f ..``, or the compute capability of the GPU such as ``sm80``; empty
        where ``device`` is not there.
    """
    if device != "cpu":
        # Late: nothing of it is needed on a CPU.
        from xec_deploy.backends.devices import parse_device  # noqa: PLC0415
        from xec_deploy.tensorrt.device import gpu_capability  # noqa: PLC0415

        return gpu_capability(parse_device(device).index) or ""
    flags: set[str] = set()
    for line in _text(PROCESSORS).splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in {"flags", "features"}:
            flags = set(value.split())
            break
    return " ".join((platform.machine(), *(name for name in ARITHMETIC if name in flags)))


def _folders(groups: Path, process: Path) -> list[Path]:
    """Return the process's groups and those around them, whose limits hold as well."""
    folders = [groups, groups / "cpu"]
    for line in _text(process).splitlines():
        _, controllers, name = line.split(":", 2)
        # Version 2 has one hierarchy without a name, version 1 one a controller.
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        path = root / name.lstrip("/")
        folders += [path, *(parent for parent in path.parents if root in parent.parents)]
    return folders


def _limit(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    # "max" and -1 stand for no limit.
    if not (quota.isdecimal() and period.isdecimal()):
        return None
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
