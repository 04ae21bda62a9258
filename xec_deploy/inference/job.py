"""Everything that is the same for all files of a run: engine, recipe, columns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from pydantic import ValidationError

from xec_deploy.backends import AUTO, Backend, RunOptions
from xec_deploy.backends.tuning import Tuned, tune
from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.events import Column, DeadChannels, EventFile, InputFile, dead_channels, open_events
from xec_deploy.inference.columns import result_columns
from xec_deploy.inference.conventional import CONVENTIONAL_COLUMNS, Conventional, conventional
from xec_deploy.inference.options import Options
from xec_deploy.inference.provenance import read_provenance, recipe_record
from xec_deploy.inference.selection import Selection
from xec_deploy.inference.styles import TRUTH_BRANCHES
from xec_deploy.inference.target import Target
from xec_deploy.normalisation.input_range import InputRange

__all__ = ["Job", "input_range_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What the stages share.

    Attributes
    ----------
    options
        As the user gave them, less what an unfinished run had decided already.
    bundle, backend
        What runs.
    inpainting
        How the engine's graph fills dead channels.
    recipe
        Its description for the provenance.
    open_choices
        Keys of the recipe that the user left to the program.
    dead
        Source of dead channels.
    conventional
        The reconstruction beside the network; None for none.
    columns
        Branches of the results without those kept from the input.
    selection
        Entries that are wanted.
    input_range
        What the events of the training looked like; None if the bundle does not know.
    """

    options: Options
    bundle: Bundle
    backend: Backend
    inpainting: str
    recipe: dict[str, Any]
    open_choices: frozenset[str]
    dead: DeadChannels
    conventional: Conventional | None
    columns: dict[str, Column]
    selection: Selection
    input_range: InputRange | None

    @classmethod
    def make(
        cls,
        bundle: Bundle | str | PathLike[str],
        options: Options,
        targets: Iterable[Target] = (),
    ) -> Job:
        """Load everything.

        Parameters
        ----------
        bundle
            Bundle or its path.
        options
            What the user asks for.
        targets
            Outputs; what was left unfinished there decides what the options leave open.

        Raises
        ------
        UsageError, BundleError, CheckFailed
            If it cannot be run.
        """
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        beside = conventional(
            options.reco,
            geometry=options.geometry,
            constants=options.reco_constants,
            threads=options.threads,
        )
        columns = {**result_columns(opened.manifest), **(CONVENTIONAL_COLUMNS if beside else {})}
        for name in options.keep:
            if name in columns:
                raise UsageError(
                    f"--keep {name!r}: the results have a branch of that name already",
                    fix="Leave it out of --keep.",
                )
        open_choices = {
            name
            for name, value, left in (
                ("backend", options.backend, AUTO),
                ("precision", options.precision, AUTO),
                ("batch", options.batch, None),
            )
            if value == left
        }
        decided = _decided_before(options, list(targets))
        dead = dead_channels(options.dead)
        tuned = tune(
            opened,
            decided.backend,
            # Begun in one precision or not: where it was left open, its parity must be known.
            precision=options.precision,
            options=RunOptions(
                device=decided.device,
                batch=decided.batch,
                sessions=decided.sessions,
                threads=decided.threads,
            ),
            inpaint=options.inpaint,
            within=None if decided.precision == AUTO else decided.precision,
        )
        logger.info("%s", tuned)
        engine = opened.backend(
            tuned.backend,
            precision=tuned.precision,
            options=tuned.options,
            inpaint=options.inpaint,
        )
        inpainting = opened.inpainting(options.inpaint)
        recipe = recipe_record(
            opened,
            engine,
            tuned.precision,
            dead,
            options.keep,
            choice=_choice_record(tuned),
            reco=beside.describe() if beside else None,
            inpainting=inpainting,
            form=f"{options.style} {options.format}",
        )
        return cls(
            options=replace(decided, precision=tuned.precision),
            bundle=opened,
            backend=engine,
            inpainting=inpainting,
            recipe=recipe,
            open_choices=frozenset(open_choices),
            dead=dead,
            conventional=beside,
            columns=columns,
            selection=options.selection,
            input_range=input_range_of(opened),
        )

    @property
    def choice(self) -> dict[str, Any]:
        """What a run that continues this one must run with."""
        run = self.backend.options
        return {
            "backend": self.backend.name,
            "precision": self.options.precision,
            "batch": run.batch,
            "sessions": run.sessions,
            "threads": run.threads,
        }

    def describe(self) -> dict[str, Any]:
        """Return what runs, for the summary."""
        return {
            **self.backend.describe(),
            "precision": self.options.precision,
            "choice": self.recipe["choice"],
            "dead_channels": self.dead.description,
            "inpainting": self.inpainting,
        }

    @property
    def request(self) -> int:
        """Events the engine is given at once: a batch for each session."""
        run = self.backend.options
        return (run.batch or 1) * (run.sessions or 1)

    def open(self, item: InputFile) -> EventFile:
        """Open an input.

        Raises
        ------
        InputError
            If it cannot be used.
        """
        options = self.options
        legacy = options.style == "legacy"
        return open_events(
            item,
            npho_branch=options.npho_branch,
            time_branch=options.time_branch,
            keep=options.keep,
            keep_present=TRUTH_BRANCHES if legacy else (),
            dead=self.dead,
        )

    def columns_of(self, events: EventFile) -> dict[str, Column]:
        """Return the columns of the results of a file, with the branches kept from it."""
        kept = {name: Column(dtype, None, shape) for name, (dtype, shape) in events.kept.items()}
        return {**self.columns, **kept}


def input_range_of(bundle: Bundle) -> InputRange | None:
    """Return the range of the training events that a bundle states.

    Raises
    ------
    BundleError
        If what it states is no range.
    """
    stated = bundle.manifest.training.get("input_range")
    try:
        return None if stated is None else InputRange.model_validate(stated)
    except ValidationError as error:
        raise BundleError(
            f"training.input_range: {error.errors()[0]['msg']}", where=str(bundle.path)
        ) from error


def _choice_record(tuned: Tuned) -> dict[str, Any] | None:
    """Say why a precision was taken that nobody named; None where it was named."""
    if tuned.considered is None:
        return None
    return {
        "precision": AUTO,
        "taken": str(tuned),
        "considered": [one.describe() for one in tuned.considered],
    }


def _decided_before(options: Options, targets: Sequence[Target]) -> Options:
    """Fill in what is open from what unfinished results were begun with.

    The last bit of a value may depend on engine, batch and threads, and a result is to be the one
    of an uninterrupted run.  A precision left open is also that of finished results: outputs of
    one command do not differ in it because something was recorded or measured in between.
    """
    if options.force:
        return options
    choice: Any = next(
        (
            header["choice"]
            for target in targets
            for header in target.headers()
            if isinstance(header.get("choice"), dict)
        ),
        {},
    )
    if options.precision == AUTO and "precision" not in choice:
        choice = choice | _precision_of_finished(targets)
    filled: dict[str, Any] = {}
    for name, begun in choice.items():
        asked = getattr(options, name)
        if begun is None or asked == begun:
            continue
        if asked in {None, AUTO}:
            filled[name] = begun
        elif name in {"sessions", "threads"}:
            logger.warning(
                "unfinished results were begun with %d %s and are continued so", begun, name
            )
            filled[name] = begun
    return replace(options, **filled)


def _precision_of_finished(targets: Sequence[Target]) -> dict[str, Any]:
    for target in targets:
        found = read_provenance(target.path) if target.path.is_file() else None
        if found is not None and isinstance(found.get("precision"), str):
            return {"precision": found["precision"]}
    return {}
