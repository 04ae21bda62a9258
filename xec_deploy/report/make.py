"""From a file of results to plots, figures and one page."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from xec_deploy.errors import UsageError
from xec_deploy.report.comparison import Comparison, compare
from xec_deploy.report.illustrate import Analysis, analyse, draw_all
from xec_deploy.report.page import render_page
from xec_deploy.report.quantities import QUANTITIES
from xec_deploy.report.results import Results, read_results
from xec_deploy.report.style import SavedFigure, plot_style

__all__ = ["Report", "make_report"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes
    ----------
    directory
        Where everything is.
    page
        The self-contained ``index.html``.
    figures
        The plots, as PNG and PDF.
    summary_file, summary
        ``summary.json`` and what it holds.
    """

    directory: Path
    page: Path
    figures: tuple[SavedFigure, ...]
    summary_file: Path
    summary: Mapping[str, Any]

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The plots as PNG."""
        return tuple(figure.png for figure in self.figures)


def make_report(
    results: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    events: str | os.PathLike[str] | None = None,
    conventional_events: int = 20_000,
) -> Report:
    """Make plots, ``index.html`` and ``summary.json`` from a file ``infer`` has written.

    Parameters
    ----------
    results
        The file, with the tree ``xec``.
    directory
        Where to write; made if absent, files of the same name are replaced.
    events
        The input the results were made of; None for the one the provenance names.
    conventional_events
        At most this many events, from the start, also get the simple conventional estimates
        (some 500 a second); none if the results have a conventional reconstruction.

    Raises
    ------
    InputError
        If the results, or the given ``events``, cannot be used.
    MissingExtra
        If matplotlib or jinja2 is not installed.
    UsageError
        If the directory cannot be written.
    """
    target = Path(directory)
    with plot_style():
        content = read_results(results)
        comparison = compare(
            content,
            events=Path(events) if events is not None else None,
            conventional_events=conventional_events,
        )
        analysis = analyse(content, comparison)
        summary = _summary(content, comparison, analysis)
        try:
            target.mkdir(parents=True, exist_ok=True)
            figures = draw_all(content, comparison, analysis, target)
            page = target / "index.html"
            page.write_text(render_page(summary, figures), encoding="utf-8")
            summary_file = target / "summary.json"
            text = json.dumps(summary, indent=1, allow_nan=False)
            summary_file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"the report cannot be written ({error.strerror})",
                where=str(error.filename or target),
                fix="Choose a directory you may write to, with room for some MB.",
            ) from error
    logger.info("report in %s", page)
    return Report(target, page, tuple(figures), summary_file, summary)


def _summary(results: Results, comparison: Comparison, analysis: Analysis) -> dict[str, Any]:
    counts = {name: float(values.mean()) for name, values in results.counts.items() if len(values)}
    return {
        "results": results.path,
        "events": len(results),
        "runs": len(np.unique(results.run)),
        "fiducial_events": int(analysis.inside.sum()),
        "conventional": "reconstruction" if results.conventional else "simple estimates",
        "conventional_events": comparison.n_conventional,
        "truth": comparison.note,
        "status": results.status_counts(),
        "mean_per_event": counts,
        "events_per_second": _throughput(results),
        "not_computed": {
            name: int(np.count_nonzero(~np.isfinite(values)))
            for name, values in results.values.items()
        },
        "resolution": {
            quantity.name: {
                "unit": quantity.residual_unit,
                "published": quantity.published,
                **{
                    method: found[quantity.name].to_dict()
                    for method, found in analysis.figures.items()
                    if quantity.name in found
                },
            }
            for quantity in QUANTITIES
            if any(quantity.name in found for found in analysis.figures.values())
        },
        "provenance": dict(results.provenance),
    }


def _throughput(results: Results) -> float | None:
    """Events per second of the inference, from the times in the provenance."""
    try:
        begin, end = (
            datetime.fromisoformat(str(results.provenance[key])) for key in ("started", "finished")
        )
        seconds = (end - begin).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return len(results) / seconds if seconds > 0 else None
