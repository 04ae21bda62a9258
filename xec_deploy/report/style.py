"""The look of all plots: one palette, one type size, light grids, no global state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xec_deploy.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CONVENTIONAL",
    "INK",
    "MUTED",
    "NETWORK",
    "SavedFigure",
    "hide",
    "new_figure",
    "plot_style",
    "save",
]

NETWORK: Final = "#0072B2"
CONVENTIONAL: Final = "#D55E00"
INK: Final = "#1f2328"
MUTED: Final = "#8a9099"
"""Blue and vermilion of M. Okabe and K. Ito's palette, told apart by every colour vision."""

STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#57606a",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.5,
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "mathtext.fontset": "dejavusans",
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "figure.dpi": 100,
}
PNG_DPI: Final = 160


@dataclass(frozen=True)
class SavedFigure:
    """A plot as files: name, what it shows, and where."""

    name: str
    title: str
    caption: str
    png: Path
    pdf: Path


@contextmanager
def plot_style() -> Iterator[None]:
    """Use the style for what is drawn inside, without changing matplotlib's global state.

    Raises
    ------
    MissingExtra
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot", needed_for="the report") from error
    with mpl.rc_context(STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure [inch] drawn by Agg, with axes laid out so that nothing overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def hide(axes: Axes) -> None:
    """Leave the place of an axes empty."""
    axes.set_axis_off()


def save(figure: Figure, directory: Path, name: str, *, title: str, caption: str) -> SavedFigure:
    """Write PNG and PDF, without dates, so that equal plots are equal files."""
    png, pdf = directory / f"{name}.png", directory / f"{name}.pdf"
    figure.savefig(png, dpi=PNG_DPI, metadata={"Software": None})
    figure.set_layout_engine("none")  # laid out once, the second file has the same places
    figure.savefig(pdf, dpi=300, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return SavedFigure(name, title, caption, png, pdf)
