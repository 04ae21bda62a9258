"""The HTML page: one file, pictures inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from xec_deploy import __version__
from xec_deploy.errors import MissingExtra
from xec_deploy.report.quantities import QUANTITIES
from xec_deploy.report.style import SavedFigure

__all__ = ["flatten", "render_page", "render_template", "with_error"]

TEMPLATE = "report.html.j2"
DASH = "\N{EN DASH}"


def render_page(summary: Mapping[str, Any], figures: Sequence[SavedFigure]) -> str:
    """Return the page.

    Parameters
    ----------
    summary
        What ``summary.json`` holds.
    figures
        The saved plots, embedded as PNG.

    Raises
    ------
    MissingExtra
        If jinja2 is not installed.
    """
    return render_template(
        "xec_deploy.report",
        TEMPLATE,
        figures,
        summary=summary,
        rows=_table(summary["resolution"]),
        provenance=flatten(summary["provenance"]),
    )


def render_template(
    package: str, template: str, figures: Sequence[SavedFigure], **context: Any
) -> str:
    """Render a template of a package; it may include ``page.css``, the look of all pages.

    Parameters
    ----------
    package, template
        Where the template is, and its name.
    figures
        Saved plots; the template sees each as ``figure`` with its PNG in base64 as ``data``.
    context
        What else the template sees, beside ``version`` and ``made``, the time.

    Raises
    ------
    MissingExtra
        If jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtra("jinja2", "plot", needed_for="the report") from error
    places = dict.fromkeys((package, "xec_deploy.report"))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place, ".") for place in places]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        figures=[
            {
                "figure": figure,
                "data": base64.b64encode(figure.png.read_bytes()).decode("ascii"),
            }
            for figure in figures
        ],
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **context,
    )


def _table(resolutions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the resolution table, numbers formatted to their errors."""
    rows = []
    for quantity in QUANTITIES:
        found = resolutions.get(quantity.name)
        if found is None:
            continue
        row: dict[str, Any] = {
            "name": quantity.words,
            "unit": quantity.residual_unit,
            "published": "" if quantity.published is None else f"{quantity.published:g}",
            "methods": [],
        }
        for method in ("network", "conventional"):
            if method not in found:
                continue
            figures = found[method]
            row["methods"].append(
                {
                    "name": method,
                    "n": figures["n"],
                    "excluded": figures["excluded"],
                    "sigma68": with_error(figures["sigma68"], figures["sigma68_error"]),
                    "core": with_error(figures["core_sigma"], figures["core_sigma_error"]),
                    "bias": with_error(figures["bias"], figures["bias_error"]),
                    "tail": _percent(figures["tail_fraction"]),
                }
            )
        rows.append(row)
    return rows


def with_error(value: float | None, error: float | None) -> str:
    """Format a value to two digits of its error, e.g. ``1.830 ± 0.032``; a dash for None."""
    if value is None:
        return DASH
    if error is None or error <= 0:
        return f"{value:.3g}"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 6)
    text = f"{value:.{digits}f} ± {error:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return rows of nested provenance: dotted name and text."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, str):
            rows.append((name, value))
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            rows.append((name, (" " if key == "command" else ", ").join(value)))
        else:
            rows.append((name, json.dumps(value)))
    return rows
