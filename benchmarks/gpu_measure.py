"""What a device can do, and how long work on it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.backends.torch_precision import products_in
from xec_deploy.bundle import Manifest, yardstick
from xec_deploy.gates import load_gates

__all__ = ["ceilings", "parity", "seconds_of", "spread_of_rates"]

WARM_UP = 3
CHUNKS = 3
TYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def seconds_of(work: Callable[[], Any], device: str, seconds: float = 0.3) -> float:
    """Return the seconds of one call, by CUDA events on a GPU, after some that are not counted.

    The fastest of three series of calls.
    """
    for _ in range(WARM_UP):
        work()
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    repeats = max(1, int(seconds / CHUNKS / max(time.perf_counter() - start, 1e-6)))
    return min(_series(work, device, repeats) for _ in range(CHUNKS))


def _series(work: Callable[[], Any], device: str, repeats: int) -> float:
    if device == "cpu":
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - start) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / repeats


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def ceilings(device: str, add: Callable[..., None], *, size: int, mib: int) -> None:
    """Measure matrix products of every precision, and copies within and to the device.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.
    add
        Told every figure as it is known: ``products`` [TFLOP/s, a multiply-add is two],
        ``memory_gb_per_s`` (bytes read and written), ``to_device_gb_per_s`` from pinned memory.
    size
        Rows and columns of the matrices.
    mib
        Size of what is copied [MiB].
    """
    products: dict[str, float | str] = {}
    for precision, kind in TYPES.items():
        if device == "cpu" and precision == "tf32":
            continue
        left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        with products_in(precision):
            taken = seconds_of(lambda a=left, b=right: a @ b, device)
        products[precision] = round(2 * size**3 / taken / 1e12, 4)
        add(products=products)
    products["int8"] = _int8_products(device, size)
    add(products=products)
    source = torch.empty(mib * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    taken = seconds_of(lambda: target.copy_(source), device)
    add(memory_gb_per_s=round(2 * source.numel() / taken / 1e9, 1))
    if device != "cpu":
        pinned = torch.empty(mib * 2**20, dtype=torch.uint8, pin_memory=True)
        taken = seconds_of(lambda: target.copy_(pinned, non_blocking=True), device)
        add(to_device_gb_per_s=round(pinned.numel() / taken / 1e9, 1))


def _int8_products(device: str, size: int) -> float | str:
    left, right = (
        torch.randint(-127, 127, (size, size), dtype=torch.int8, device=device) for _ in range(2)
    )
    try:
        taken = seconds_of(lambda: torch._int_mm(left, right.t()), device)  # noqa: SLF001
    except (RuntimeError, AttributeError) as error:
        return f"not measured: {str(error).splitlines()[0]}"
    return round(2 * size**3 / taken / 1e12, 4)


def parity(
    manifest: Manifest,
    precision: str,
    reference: Mapping[str, NDArray[np.float64]],
    outputs: Mapping[str, NDArray[np.float32]],
) -> dict[str, Any]:
    """Return the differences from float64 in detector resolutions, and whether they pass."""
    gate = load_gates().of(precision)
    found: dict[str, Any] = {}
    worst = 0.0
    for name, expected in reference.items():
        unit, assumed = yardstick(manifest, name, expected)
        off = (np.asarray(outputs[name], np.float64) - expected) / unit
        entry = {
            "bias": float(np.abs(off.mean(axis=0)).max()),
            "spread": float(off.std(axis=0).max()),
            "largest": float(np.abs(off).max()),
        }
        found[name] = {key: _short(value) for key, value in entry.items()}
        if not assumed:
            largest = max(entry["bias"], entry["spread"])
            worst = max(worst, largest if np.isfinite(largest) else np.inf)
    return {
        "outputs": found,
        "sigma": _short(worst),
        "gate": gate,
        "passes": bool(worst < gate),
    }


def _short(value: float) -> float | None:
    """Return three digits; None for what is no number, which JSON does not have."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def spread_of_rates(rates: Mapping[int, float]) -> dict[str, float]:
    """Return rates by batch for JSON, rounded."""
    return {str(batch): round(rate, 1) for batch, rate in rates.items()}
