"""Inference: from raw events to physics numbers."""

from xec_deploy.inference.infer import infer
from xec_deploy.inference.outputs import plan_outputs
from xec_deploy.inference.ranges import infer_range, join_ranges
from xec_deploy.inference.results import FileResult, InferenceSummary, RangeResult
from xec_deploy.inference.selection import split_entries
from xec_deploy.inference.status import Status

__all__ = [
    "FileResult",
    "InferenceSummary",
    "RangeResult",
    "Status",
    "infer",
    "infer_range",
    "join_ranges",
    "plan_outputs",
    "split_entries",
]
