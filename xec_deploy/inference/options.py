"""What a caller asks for, as plain values that travel to other processes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Final, Literal, get_args

from xec_deploy.backends import AUTO
from xec_deploy.errors import UsageError, nearest
from xec_deploy.inference.selection import Selection, parse_entries, parse_runs

__all__ = ["FORMATS", "STYLES", "Format", "Options", "Style"]

Style = Literal["xec", "legacy"]
Format = Literal["ttree", "rntuple"]
STYLES: Final[tuple[str, ...]] = get_args(Style)
FORMATS: Final[tuple[str, ...]] = get_args(Format)


@dataclass(frozen=True)
class Options:
    """Options of `infer`, where they are explained; None leaves a choice open."""

    backend: str = AUTO
    device: str = "cpu"
    precision: str = "fp32"
    batch: int | None = None
    sessions: int | None = None
    threads: int | None = None
    tree: str | None = None
    npho_branch: str | None = None
    time_branch: str | None = None
    dead: str | None = None
    inpaint: str | None = None
    keep: tuple[str, ...] = ()
    entries: str | None = None
    runs: str | None = None
    reco: str = "none"
    geometry: str | PathLike[str] | None = None
    reco_constants: str | PathLike[str] | None = None
    style: str = "xec"
    format: str = "ttree"
    force: bool = False
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before anything is opened."""
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} events", fix="Pass --batch 1 or more.")
        for option, value, valid in (
            ("style", self.style, STYLES),
            ("format", self.format, FORMATS),
        ):
            if value not in valid:
                raise UsageError(f"--{option} {value!r}", fix=nearest(value, valid))
        _ = self.selection

    @classmethod
    def of(cls, values: dict[str, Any]) -> Options:
        """Make options from keyword arguments.

        Raises
        ------
        UsageError
            If there is no option of that name.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise UsageError(f"no option {name!r}", fix=nearest(name, names))
        return cls(**{**values, "keep": tuple(values.get("keep", ()))})

    @property
    def selection(self) -> Selection:
        """The entries that are wanted."""
        return Selection(
            None if self.entries is None else parse_entries(self.entries),
            None if self.runs is None else parse_runs(self.runs),
        )
