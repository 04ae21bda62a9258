"""Checks of graphs: what must hold before a graph is trusted to any engine."""

# Importing the modules registers their checks.
from xec_deploy.checks import (
    constants,
    datatypes,
    identity,
    interface,
    operators,
    quantisation,
    running,
    structure,
    tensorrt,
)
from xec_deploy.checks.registry import CHECKS, Check, Finding, NotApplicable, static_checks
from xec_deploy.checks.report import CheckReport, CheckResult, GraphReport
from xec_deploy.checks.run import check_graph, run_checks
from xec_deploy.checks.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "CheckReport",
    "CheckResult",
    "Finding",
    "GraphReport",
    "NotApplicable",
    "Subject",
    "check_graph",
    "constants",
    "datatypes",
    "identity",
    "interface",
    "operators",
    "quantisation",
    "run_checks",
    "running",
    "static_checks",
    "structure",
    "tensorrt",
]
