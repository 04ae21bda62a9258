"""Bundles: models with everything needed to trust their numbers."""

from xec_deploy.bundle.bundle import Bundle, open_bundle, shipped_bundle, write_bundle
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
    Manifest,
    Output,
    TaskRecord,
)

__all__ = [
    "FP32_GATE",
    "INPUTS",
    "TASK_OUTPUTS",
    "Bundle",
    "DeadChannelPolicy",
    "GoldenEvents",
    "GraphRecord",
    "Manifest",
    "Output",
    "TaskRecord",
    "compare_with_golden",
    "open_bundle",
    "shipped_bundle",
    "worst_difference",
    "write_bundle",
    "yardstick",
]
