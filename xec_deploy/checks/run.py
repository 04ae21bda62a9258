"""Running checks over the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from os import PathLike
from pathlib import Path

from xec_deploy.checks.registry import CHECKS, Check, NotApplicable
from xec_deploy.checks.report import CheckReport, CheckResult, GraphReport
from xec_deploy.checks.subject import Subject, subjects_of
from xec_deploy.errors import UsageError, nearest

__all__ = ["check_graph", "run_checks"]


def run_checks(
    path: str | PathLike[str],
    ids: Collection[str] | None = None,
    *,
    graphs: Collection[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> CheckReport:
    """Check every graph of a bundle, or a lone ONNX file.

    Parameters
    ----------
    path
        Bundle or ONNX file.
    ids
        Checks to run, all if None; see also :func:`xec_deploy.checks.static_checks`.
    graphs
        Names of the bundle's graphs and parts to check, all if None.
    progress
        Called with the name of a graph before it is checked.

    Raises
    ------
    UsageError
        If there is no check of an id or no graph of a name.
    BundleError
        If the bundle cannot be opened.
    """
    for name in ids or ():
        if name not in CHECKS:
            raise UsageError(f"there is no check {name!r}", fix=nearest(name, CHECKS))
    subjects = subjects_of(Path(path))
    names = [subject.name for subject in subjects]
    for name in graphs or ():
        if name not in names:
            raise UsageError(f"no {name!r} graph", where=str(path), fix=nearest(name, names))
    reports = []
    for subject in subjects:
        if graphs is None or subject.name in graphs:
            if progress:
                progress(subject.path.name)
            reports.append(check_graph(subject, ids))
    return CheckReport(str(path), tuple(reports))


def check_graph(subject: Subject, ids: Collection[str] | None = None) -> GraphReport:
    """Run checks on one graph, see :func:`run_checks`."""
    results = tuple(_results(subject, ids))
    return GraphReport(subject.name, subject.path.name, results)


def _results(subject: Subject, ids: Collection[str] | None) -> Iterator[CheckResult]:
    for entry in CHECKS.values():
        if ids is None or entry.id in ids:
            yield _result(entry, subject)


def _result(entry: Check, subject: Subject) -> CheckResult:
    try:
        return CheckResult(entry.id, tuple(entry.find(subject)))
    except NotApplicable as reason:
        return CheckResult(entry.id, skipped=str(reason))
    except Exception:
        # Nothing can be relied on in a file that is no valid ONNX, which is E01's to say.
        if subject.invalid is None:
            raise
        return CheckResult(entry.id, skipped="the graph is not valid ONNX (E01)")
