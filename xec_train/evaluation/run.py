"""An evaluation from beginning to end: estimates, figures, files."""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xec_deploy import __version__
from xec_deploy.errors import InputError, UsageError
from xec_deploy.normalisation import Normalisation
from xec_deploy.physics.conventional import ConventionalConstants
from xec_deploy.report.style import SavedFigure, plot_style
from xec_deploy.simulation import SimulationConfig
from xec_deploy.whole_file import write_whole
from xec_train.data import RawBatch
from xec_train.evaluation.config import EvaluationConfig
from xec_train.evaluation.correction import PositionCorrection
from xec_train.evaluation.methods import (
    SIMPLE,
    BundleNetwork,
    Method,
    SimpleConventional,
    TorchNetwork,
)
from xec_train.evaluation.page import render_evaluation
from xec_train.evaluation.plots import draw_plots
from xec_train.evaluation.positions import FIT, FIT_RAW, PositionFitMethod, with_corrected_fit
from xec_train.evaluation.predictions import prediction_columns, write_csv, write_root
from xec_train.evaluation.sample import Sample, collect
from xec_train.evaluation.summary import Summary, plain, summarise
from xec_train.evaluation.throughput import Throughput, measure_throughput
from xec_train.models import TaskName

__all__ = ["Calibration", "Evaluation", "evaluate_model", "evaluate_networks"]

logger = logging.getLogger(__name__)
Network = TorchNetwork | BundleNetwork
CALIBRATION_NOTE = (
    "The simple conventional estimates have the constants that come with the package, fitted on "
    "10,000 other events of the project's simulation."
)


@dataclass(frozen=True)
class Calibration:
    """Constants of the conventional methods, fitted on other events; None for the defaults."""

    constants: ConventionalConstants | None = None
    correction: PositionCorrection | None = None


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes
    ----------
    directory
        Where everything is.
    page
        The self-contained ``index.html``.
    metrics_file, summary
        ``metrics.json``, and the figures in it.
    predictions
        ROOT file of each network.
    figures
        The plots, as PNG and PDF.
    """

    directory: Path
    page: Path
    metrics_file: Path
    summary: Summary
    predictions: Mapping[str, Path]
    figures: tuple[SavedFigure, ...]


def evaluate_model(
    model: nn.Module,
    normalisation: Normalisation,
    log_transform: tuple[TaskName, ...],
    stream: Iterable[RawBatch],
    directory: str | PathLike[str],
    *,
    name: str = "network",
    device: torch.device | None = None,
    config: EvaluationConfig | None = None,
    simulation: SimulationConfig | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluate a regressor on events with truth, e.g. at the end of its training.

    Parameters
    ----------
    model
        From normalised events (batch, 4760, 2) to ``{task: (batch, outputs)}``, with a ``config``
        that knows ``active_tasks`` and ``nll_tasks``.  It is put in eval mode on the device.
    normalisation, log_transform
        As it was trained.
    stream
        Raw events with truth, unshuffled for predictions in the order of the files.
    directory
        Where predictions, metrics, plots and page go; made if absent.
    name
        How tables and plots call it.
    device
        Where it runs; None for where its parameters are.
    config, simulation
        See :func:`evaluate_networks`.
    provenance
        What to record beside the network: checkpoint, configuration.

    Raises
    ------
    InputError
        If there are no events.
    """
    place = next(model.parameters()).device if device is None else device
    network = TorchNetwork.of(name, model, normalisation, log_transform, device=place)
    return evaluate_networks(
        [network], stream, directory, config=config, simulation=simulation, provenance=provenance
    )


def evaluate_networks(
    networks: Sequence[Network],
    stream: Iterable[RawBatch],
    directory: str | PathLike[str],
    *,
    config: EvaluationConfig | None = None,
    simulation: SimulationConfig | None = None,
    calibration: Calibration | None = None,
    notes: Sequence[str] = (),
    expected: int | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Evaluation:
    """Evaluate networks, and conventional methods beside them, on one stream of events.

    Writes ``metrics.json``, ``predictions_<network>.root`` (and ``.csv``), plots and
    ``index.html``.

    Parameters
    ----------
    networks
        With distinct names.
    stream
        Raw events with truth.
    directory
        Where to write; made if absent, files of the same name are replaced.
    config
        Settings.
    simulation
        Parameters of the simulation the events are from, for the limits.
    calibration
        Constants of the conventional methods from other events.
    notes, provenance
        Sentences and values to record.
    expected
        Events there are; those the stream left out are counted and said.
    progress
        Called with the number of events of each batch.

    Raises
    ------
    InputError
        If there are no events, or a file cannot be written.
    MissingExtra
        If matplotlib or jinja2 is not installed.
    UsageError
        If there is no network or two have one name.
    """
    if not networks:
        raise UsageError("there is no network to evaluate")
    settings, constants = config or EvaluationConfig(), calibration or Calibration()
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    started = _now()
    names = [network.name for network in networks]
    methods: list[Method] = [*networks, *_conventional(settings, constants)]
    with plot_style():  # fails before the work if there can be no plots
        batches = iter(stream)
        first = next(batches, None)
        speeds = {} if first is None else _speeds(networks, first, settings)
        sample = collect(
            chain([] if first is None else [first], batches),
            methods,
            dead_fractions=settings.dead_fractions,
            pattern=settings.dead_pattern,
            simulation=simulation,
            max_events=settings.max_events,
            progress=progress,
        )
        said = list(notes)
        if expected is not None and len(sample) < min(expected, settings.max_events or expected):
            missing = min(expected, settings.max_events or expected) - len(sample)
            said.append(f"{missing:,} events were left out: unreadable or without finite truth.")
        compared = [method.name for method in methods if method.name == SIMPLE]
        if compared and constants.constants is None:
            said.append(CALIBRATION_NOTE)
        if any(method.name == FIT_RAW for method in methods) and "u" in sample.truth:
            try:
                sample, note = with_corrected_fit(sample, constants.correction)
                compared.append(FIT)
            except InputError as error:  # a small sample is still worth the rest
                note = f"The position fit is not corrected: {error}"
            said.append(note)
        summary = summarise(sample, names, compared, settings)
        record = {
            "program": "xec-train evaluate",
            "version": __version__,
            "command": sys.argv,
            "started": started,
            "finished": _now(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "config": settings.model_dump(mode="json"),
            "networks": {network.name: network.describe() for network in networks},
            "conventional": {
                method.name: method.describe() for method in methods if method.kind != "network"
            },
            **(provenance or {}),
        }
        predictions = _write_predictions(sample, names, compared, target, record, csv=settings.csv)
        metrics_file = target / "metrics.json"
        content = {
            **summary.to_dict(),
            "throughput": plain(speeds),
            "notes": said,
            "position_correction": plain(constants.correction),
            "provenance": record,
        }
        metrics = json.dumps(plain(content), indent=1, allow_nan=False) + "\n"
        write_whole(metrics_file, metrics.encode())
        figures = draw_plots(sample, summary, names, compared, speeds, target)
        page = target / "index.html"
        text = render_evaluation(
            summary,
            figures,
            networks={network.name: network.describe() for network in networks},
            speeds=speeds,
            mean_dead=float(np.mean(sample.base.n_dead)),
            notes=said,
            provenance=record,
        )
        write_whole(page, text.encode())
    logger.info("evaluation in %s", page)
    return Evaluation(target, page, metrics_file, summary, predictions, tuple(figures))


def _conventional(config: EvaluationConfig, calibration: Calibration) -> Iterator[Method]:
    if config.against != "none":
        yield SimpleConventional(calibration.constants)
    if config.against == "conventional":
        yield PositionFitMethod()


def _speeds(
    networks: Sequence[Network], batch: RawBatch, config: EvaluationConfig
) -> dict[str, Throughput]:
    if config.throughput_seconds <= 0:
        return {}
    return {
        network.name: measure_throughput(network, batch, seconds=config.throughput_seconds)
        for network in networks
    }


def _write_predictions(
    sample: Sample,
    networks: Sequence[str],
    conventional: Sequence[str],
    directory: Path,
    provenance: Mapping[str, Any],
    *,
    csv: bool,
) -> dict[str, Path]:
    written = {}
    for network in networks:
        columns, rows = prediction_columns(sample, network, conventional)
        path = directory / f"predictions_{network}.root"
        write_root(path, columns, rows, {"network": network, **provenance})
        if csv:
            write_csv(path.with_suffix(".csv"), columns, rows)
        written[network] = path
    return written


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
