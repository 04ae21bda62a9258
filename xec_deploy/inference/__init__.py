"""Inference: from raw events to physics numbers."""

from xec_deploy.inference.infer import FileResult, InferenceSummary, infer
from xec_deploy.inference.status import Status

__all__ = ["FileResult", "InferenceSummary", "Status", "infer"]
