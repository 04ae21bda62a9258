"""From a torch module to a clean ONNX file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import DeduplicateInitializersPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import nn

from xec_deploy.bundle.compose import embed_manifest
from xec_deploy.bundle.manifest import INPUTS, LEGACY_INPUT, Manifest
from xec_deploy.bundle.onnx_file import IR_VERSION, OPSET
from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.errors import CheckFailed

__all__ = ["export_onnx", "to_onnx", "write_onnx"]

ANY_SIZE: Final = 2**40
EXAMPLE_BATCH: Final = 2
"""An example batch of 1 would be frozen into the graph without a word."""


def export_onnx(module: nn.Module, outputs: Sequence[str], manifest: Manifest, path: Path) -> None:
    """Export a raw-in module with a symbolic batch and write it with the manifest inside.

    Parameters
    ----------
    module
        Takes npho, time, dead (batch, 4760); in eval mode, float32.
    outputs
        Names of what it returns, in order.
    manifest
        Stored, less the hashes, in the metadata.
    path
        The ONNX file to write.
    """
    write_onnx(to_onnx(module, outputs), manifest, path)


def to_onnx(
    module: nn.Module, outputs: Sequence[str], *, normalised: bool = False
) -> onnx.ModelProto:
    """Export a module with a symbolic batch: a graph of what defines the numbers and no more.

    Parameters
    ----------
    module
        Takes raw events, npho, time, dead (batch, 4760), or normalised ones (batch, 4760, 2); in
        eval mode, float32.
    outputs
        Names of what it returns, in order.
    normalised
        Which of the two.
    """
    raw = torch.zeros(EXAMPLE_BATCH, N_SENSORS)
    inputs, example = (
        ([LEGACY_INPUT], (torch.stack([raw, raw], dim=-1),))
        if normalised
        else (list(INPUTS), (raw, raw.clone(), raw.bool()))
    )
    batch = torch.export.Dim("batch", min=1)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The fused transformer kernel of eval mode has no ONNX counterpart.
    torch.backends.mha.set_fastpath_enabled(False)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Deprecations inside torch's exporter are not the user's concern.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                example,
                input_names=inputs,
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=[{0: batch}] * len(inputs),
                optimize=True,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        exporter_log.setLevel(level)
    assert program is not None  # noqa: S101 - None only without the dynamo exporter
    _simplify(program.model)
    model = _clean(program.model_proto)
    for port in (*model.graph.input, *model.graph.output):
        if not port.type.tensor_type.shape.dim[0].dim_param:
            raise CheckFailed(
                f"the exporter froze the batch of {port.name!r}",
                fix="Something in the network depends on the number of events; report it.",
            )
    return model


def _simplify(model: ir.Model) -> None:
    """Compute what is constant, of any size (weights are sliced here and there), and store it once.

    The exporter's own folding stops at a few thousand numbers.
    """
    fold_constants(model, input_size_limit=ANY_SIZE, output_size_limit=ANY_SIZE)
    DeduplicateInitializersPass(size_limit=ANY_SIZE)(model)
    RemoveUnusedNodesPass()(model)


def write_onnx(model: onnx.ModelProto, manifest: Manifest | None, path: Path) -> None:
    """Check a graph and write it with the manifest of the model it is; None if it is no model."""
    model.graph.name = manifest.name if manifest is not None else path.stem
    embed_manifest(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep what defines the numbers: no source paths, no exporter's notes, pinned versions."""
    del model.metadata_props[:]
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "xec-deploy", ""
    model.doc_string = ""
    del model.functions[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*graph.value_info, *graph.input, *graph.output]:
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    return model
