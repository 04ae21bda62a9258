"""Bundles: models with everything needed to trust their numbers."""

from xec_deploy.bundle.add import add_graph
from xec_deploy.bundle.bundle import Bundle, Inpaint
from xec_deploy.bundle.golden import (
    FP32_GATE,
    GoldenEvents,
    compare_with_golden,
    worst_difference,
    yardstick,
)
from xec_deploy.bundle.manifest import (
    INPUTS,
    TASK_OUTPUTS,
    DeadChannelPolicy,
    GraphRecord,
    InpainterRecord,
    Manifest,
    Output,
    TaskRecord,
)
from xec_deploy.bundle.opening import open_bundle, shipped_bundle, write_bundle

__all__ = [
    "FP32_GATE",
    "INPUTS",
    "TASK_OUTPUTS",
    "Bundle",
    "DeadChannelPolicy",
    "GoldenEvents",
    "GraphRecord",
    "Inpaint",
    "InpainterRecord",
    "Manifest",
    "Output",
    "TaskRecord",
    "add_graph",
    "compare_with_golden",
    "open_bundle",
    "shipped_bundle",
    "worst_difference",
    "write_bundle",
    "yardstick",
]
