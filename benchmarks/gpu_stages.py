"""What each stage of ``gpu_evidence.py`` does."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from gpu_engines import (
    add_graph,
    measure_backend,
    measure_engine,
    measure_module,
)
from gpu_measure import ceilings
from gpu_plan import Request
from gpu_prepare import prepare, prepared
from gpu_running import Findings

from xec_deploy.tensorrt import FLAVOURS, load_flavour
from xec_deploy.tensorrt.device import gpu_capability

__all__ = ["PACKAGES", "run_stage"]

PACKAGES = (
    "xec-deploy", "torch", "triton", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt",
    "tensorrt-cu13", "tensorrt-cu12", "tensorrt-rtx", "pycuda", "numpy", "uproot",
    "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12",
)  # fmt: skip


def run_stage(name: str, folder: Path, request: Request, found: Findings) -> None:
    """Run one stage; figures are kept as they are known."""
    kind, _, precision = name.partition("-")
    if name == "versions":
        _versions(request, found)
    elif name == "prepare":
        made = prepare(
            folder,
            request.network,
            request.sizes,
            bundle=request.bundle,
            checkpoint=request.checkpoint,
            device=request.device,
        )
        found.add(**made)
    elif name == "ceilings":
        ceilings(request.device, found.add, size=request.product_size, mib=request.copy_mib)
    elif precision == "graph":
        add_graph(prepared(folder), request, kind, folder, found)
    elif kind in {"eager", "compile"}:
        measure_module(
            prepared(folder), request, precision, found, folder, compiled=kind == "compile"
        )
    elif precision == "library":
        found.add(library=load_flavour(kind).title)
    elif kind in FLAVOURS:
        measure_engine(prepared(folder), request, kind, precision, found, folder)
    else:
        measure_backend(prepared(folder), request, kind, precision, found, folder)


def _versions(request: Request, found: Findings) -> None:
    known: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    found.add(versions=known, system=platform.platform())
    if request.device == "cpu":
        found.add(device="cpu", name=platform.processor() or platform.machine())
        return
    if not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} finds no CUDA device")
    properties = torch.cuda.get_device_properties(0)
    found.add(
        device="cuda",
        name=properties.name,
        capability=gpu_capability(),
        memory_gib=round(properties.total_memory / 2**30, 1),
        multiprocessors=properties.multi_processor_count,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        architectures=torch.cuda.get_arch_list(),
    )
