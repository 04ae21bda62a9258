"""Names, colours and marks of methods in plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xec_deploy.report.style import CONVENTIONAL, INK, MUTED, NETWORK, hide
from xec_train.evaluation.methods import SIMPLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LIMIT_STYLE", "PUBLISHED_STYLE", "Look", "legend", "looks_of", "words_of"]

NETWORK_COLOURS: Final = (NETWORK, "#009E73", "#CC79A7", "#56B4E9", "#6A3D9A", "#8C6D31")
NETWORK_MARKS: Final = "oP^vX*"
WORDS: Final = {
    SIMPLE: "simple conventional",
    "fit": "position fit",
    "fit_raw": "position fit, uncorrected",
}
LIMIT_STYLE: Final[Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (1, 1.5))}
PUBLISHED_STYLE: Final[Any] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3))}


@dataclass(frozen=True)
class Look:
    """How a method is drawn and what the legend calls it."""

    colour: str
    mark: str
    words: str


def words_of(method: str) -> str:
    """Return what people call a method."""
    return WORDS.get(method, method)


def looks_of(networks: Sequence[str], conventional: Sequence[str]) -> dict[str, Look]:
    """Give every method a look; colours repeat after six networks, marks do not match then."""
    fixed = {SIMPLE: (CONVENTIONAL, "s"), "fit": ("#E69F00", "D"), "fit_raw": (MUTED, "d")}
    found = {}
    for index, name in enumerate(networks):
        colour = NETWORK_COLOURS[index % len(NETWORK_COLOURS)]
        mark = NETWORK_MARKS[(index + index // len(NETWORK_COLOURS)) % len(NETWORK_MARKS)]
        found[name] = Look(colour, mark, name)
    for name in conventional:
        found[name] = Look(*fixed[name], words_of(name))
    return found


def legend(
    panels: Sequence[Axes],
    looks: Sequence[Look],
    *,
    lines: bool = False,
    limit: bool = False,
    published: bool = False,
) -> None:
    """Use the first of the empty panels for the legend: it never covers data."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    for axes in panels:
        hide(axes)
    handles = []
    for look in looks:
        style: dict[str, Any] = (
            {"linewidth": 2.0} if lines else {"linestyle": "none", "marker": look.mark}
        )
        handles.append(Line2D([], [], color=look.colour, label=look.words, **style))
    if limit:
        handles.append(Line2D([], [], label="limit of the simulation", **LIMIT_STYLE))
    if published:
        handles.append(Line2D([], [], label="published, 52.8 MeV", **PUBLISHED_STYLE))
    panels[0].legend(handles=handles, loc="center left", fontsize=9, labelspacing=0.9)
