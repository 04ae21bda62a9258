"""The page of an evaluation: one file, plots inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from xec_deploy.physics.resolution import Resolution
from xec_deploy.report.page import flatten, render_template, with_error
from xec_deploy.report.quantities import Quantity
from xec_deploy.report.style import SavedFigure
from xec_train.evaluation.looks import words_of
from xec_train.evaluation.positions import FIT_RAW
from xec_train.evaluation.quantities import EVALUATED, OPENING
from xec_train.evaluation.ratio import Ratio
from xec_train.evaluation.summary import Region, Summary
from xec_train.evaluation.throughput import Throughput

__all__ = ["render_evaluation"]

TEMPLATE: Final = "evaluation.html.j2"
DASH: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"
WIDTH: Final = "\N{GREEK SMALL LETTER SIGMA}68"
Row = dict[str, Any]


def render_evaluation(
    summary: Summary,
    figures: Sequence[SavedFigure],
    *,
    networks: Mapping[str, Mapping[str, Any]],
    speeds: Mapping[str, Throughput],
    mean_dead: float,
    notes: Sequence[str],
    provenance: Mapping[str, Any],
) -> str:
    """Return the page.

    Parameters
    ----------
    summary, figures
        What it shows.
    networks
        Descriptions of the networks by name, in order.
    speeds
        Measured speed of networks.
    mean_dead
        Dead channels an event.
    notes
        Sentences for the top: where truth and limits are from.
    provenance
        Nested values for the bottom.

    Raises
    ------
    MissingExtra
        If jinja2 is not installed.
    """
    others = list(dict.fromkeys(name for found in summary.ratio.values() for name in found))
    return render_template(
        "xec_train.evaluation",
        TEMPLATE,
        figures,
        summary=summary,
        networks=[_network(name, found, speeds.get(name)) for name, found in networks.items()],
        others=[words_of(name) for name in others],
        fiducial=_resolution_rows(summary, "fiducial", list(networks), others),
        everywhere=_resolution_rows(summary, "all", list(networks), others),
        dead=_dead(summary, list(networks)),
        pulls=_pulls(summary),
        worst=_worst(summary),
        mean_dead=mean_dead,
        notes=notes,
        provenance=flatten(provenance),
    )


def _network(name: str, found: Mapping[str, Any], speed: Throughput | None) -> Row:
    parameters = found.get("parameters")
    return {
        "name": name,
        "parameters": DASH if parameters is None else f"{parameters:,}",
        "speed": DASH if speed is None else f"{speed.events_per_second:,.0f} ± {speed.spread:,.0f}",
        "batch": DASH if speed is None else speed.batch,
        "device": found.get("device", "cpu"),
        "path": found.get("path", DASH),
    }


def _resolution_rows(
    summary: Summary, region: Region, networks: Sequence[str], others: Sequence[str]
) -> list[Row]:
    rows = []
    found = summary.resolution[region]
    for quantity in EVALUATED:
        methods = []
        for method, widths in found.items():
            if quantity.name not in widths:
                continue
            kind = "network" if method in networks else "conventional"
            # Ratios are made where networks are compared: in the fiducial volume.
            ratios = summary.ratio.get(method, {}) if region == "fiducial" else {}
            cells = [ratios.get(other, {}).get(quantity.name) for other in others]
            methods.append(_method(words_of(method), kind, quantity, widths[quantity.name], cells))
        limit = summary.limit[region].get(quantity.name, math.nan)
        if methods and math.isfinite(limit):
            methods.append(_limit(limit, len(others)))
        if methods:
            rows.append(
                {
                    "name": quantity.words,
                    "unit": quantity.residual_unit,
                    "width": "68 % within" if quantity is OPENING else WIDTH,
                    "published": "" if quantity.published is None else f"{quantity.published:g}",
                    "methods": methods,
                }
            )
    return rows


def _method(
    name: str, kind: str, quantity: Quantity, width: Resolution, ratios: Sequence[Ratio | None]
) -> Row:
    one_sided = quantity is OPENING
    return {
        "name": name,
        "kind": kind,
        "sigma68": _cell(width.sigma68, width.sigma68_error),
        "core": _cell(width.core_sigma, width.core_sigma_error),
        "bias": DASH if one_sided else _cell(width.bias, width.bias_error),
        "tail": DASH if math.isnan(width.tail_fraction) else f"{100 * width.tail_fraction:.1f} %",
        "ratios": [DASH if r is None else _cell(r.value, r.error) for r in ratios],
        "n": f"{width.n:,}" + (f" ({MINUS}{width.excluded:,})" if width.excluded else ""),
    }


def _limit(limit: float, others: int) -> Row:
    return {
        "name": "limit of the simulation",
        "kind": "limit",
        "sigma68": f"{limit:.3g}",
        "core": "",
        "bias": "",
        "tail": "",
        "ratios": [""] * others,
        "n": "",
    }


def _dead(summary: Summary, networks: Sequence[str]) -> Row | None:
    if not summary.dead:
        return None
    rows = []
    shares: list[float] = []
    for quantity in EVALUATED:
        methods = []
        for method, found in summary.dead.items():
            points = found.get(quantity.name, ())
            if points and method != FIT_RAW:
                shares = [point.fraction for point in points]
                methods.append(
                    {
                        "name": words_of(method),
                        "kind": "network" if method in networks else "conventional",
                        "cells": [
                            {
                                "width": _cell(
                                    point.resolution.sigma68, point.resolution.sigma68_error
                                ),
                                "loss": f"{point.loss.value:.3f}",
                            }
                            for point in points
                        ],
                    }
                )
        if methods:
            rows.append(
                {"name": quantity.words, "unit": quantity.residual_unit, "methods": methods}
            )
    return {"shares": [f"{100 * share:g} %" for share in shares], "rows": rows}


def _pulls(summary: Summary) -> list[Row]:
    words = {quantity.name: quantity.words for quantity in EVALUATED}
    return [
        {
            "network": network,
            "quantity": words[name],
            "width": _cell(found.pull.sigma68, found.pull.sigma68_error),
            "bias": _cell(found.pull.bias, found.pull.bias_error),
            "coverage": [
                f"{100 * share.observed:.1f} ± {100 * share.error:.1f} %"
                for share in found.coverage
            ],
            "error": f"{100 * found.calibration_error:.1f} %",
            "expected": f"{100 * found.calibration_error_expected:.1f} %",
        }
        for network, by_quantity in summary.pulls.items()
        for name, found in by_quantity.items()
    ]


def _worst(summary: Summary) -> list[Row]:
    tables = []
    for network, rankings in summary.worst.items():
        events = rankings["all"]
        shown = [q for q in EVALUATED if events and q.name in events[0].residual]
        if not shown:
            continue
        tables.append(
            {
                "network": network,
                "heads": [f"{quantity.words} [{quantity.residual_unit}]" for quantity in shown],
                "events": [
                    {
                        "run": event.run,
                        "event": event.event,
                        "score": event.score,
                        "cells": [_number(event.residual[quantity.name]) for quantity in shown],
                    }
                    for event in events
                ],
            }
        )
    return tables


def _cell(value: float, error: float) -> str:
    return with_error(*(number if math.isfinite(number) else None for number in (value, error)))


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:+.1f}".replace("-", MINUS)
