"""Evaluation of checkpoints on files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xec_deploy.errors import InputError
from xec_deploy.events import InputFile, expand_inputs, find_truth, open_events
from xec_deploy.physics.calibration import LabelledEvents, calibrate
from xec_deploy.simulation import SimulationConfig
from xec_train.config import DataConfig
from xec_train.data import EventStream
from xec_train.evaluation.config import EvaluationConfig
from xec_train.evaluation.correction import fit_correction
from xec_train.evaluation.limits import simulation_of
from xec_train.evaluation.methods import BundleNetwork, TorchNetwork, open_network
from xec_train.evaluation.positions import SCALE, PositionFitMethod
from xec_train.evaluation.run import Calibration, Evaluation, evaluate_networks
from xec_train.models import TASK_DIMENSIONS, TaskName

__all__ = ["calibrate_conventional", "evaluate_files"]

AXIS_TASKS: tuple[TaskName, ...] = ("energy", "uvwFI")
"""Their truth is what resolutions are shown against, whatever the networks give."""


def evaluate_files(
    checkpoints: Sequence[str],
    data: Sequence[str],
    directory: str | PathLike[str],
    *,
    config: EvaluationConfig | None = None,
    calibration_data: Sequence[str] = (),
    simulation: SimulationConfig | None = None,
    device: str = "cpu",
    progress: Callable[[int], Any] | None = None,
) -> Evaluation:
    """Evaluate checkpoints, bundles or ONNX files on ROOT files with truth.

    Parameters
    ----------
    checkpoints
        Named in tables by the stem of the file, preceded by its folder where stems repeat.
    data
        Files, globs or run lists, as for ``infer``.
    directory, config, progress
        See :func:`~xec_train.evaluation.evaluate_networks`.
    calibration_data
        Other events, on which the constants of the conventional methods are fitted first.
    simulation
        Parameters of the simulation for the limits; None for those in the files' provenance.
    device
        A torch device.

    Raises
    ------
    BundleError
        If a checkpoint cannot be used.
    InputError
        If a file cannot be used or has no truth of what the networks give.
    """
    settings = config or EvaluationConfig()
    place = torch.device(device)
    names = _names(checkpoints)
    networks = [
        open_network(path, device=place, name=name)
        for path, name in zip(checkpoints, names, strict=True)
    ]
    inputs = expand_inputs(list(data), tree=settings.tree_name)
    stream = _stream(inputs, data, _tasks_of(networks), settings)
    if simulation is None:
        simulation, note = simulation_of([item.path for item in inputs])
    else:
        note = "The simulation parameters are those that were given."
    calibration = (
        calibrate_conventional(calibration_data, settings) if calibration_data else Calibration()
    )
    truth = ", ".join(stream.tasks)
    notes = [f"Truth of {truth} is taken from {_listed([item.path for item in inputs])}.", note]
    if calibration_data:
        notes.append(
            f"The conventional methods are calibrated on {_listed(list(calibration_data))}."
        )
    return evaluate_networks(
        networks,
        stream,
        directory,
        config=settings,
        simulation=simulation,
        calibration=calibration,
        notes=notes,
        expected=stream.num_events,
        provenance={
            "inputs": [item.path for item in inputs],
            "calibration_inputs": list(calibration_data),
            "simulation": None if simulation is None else simulation.model_dump(mode="json"),
        },
        progress=progress,
    )


def calibrate_conventional(data: Sequence[str], config: EvaluationConfig) -> Calibration:
    """Fit the constants of the conventional methods on events with truth, in one pass.

    Raises
    ------
    InputError
        If the files cannot be used or hold too few events.
    """
    inputs = expand_inputs(list(data), tree=config.tree_name)
    tasks: tuple[TaskName, ...] = ("energy", "timing", "uvwFI")
    stream = _stream(inputs, data, tasks, config)
    if missing := [task for task in tasks if task not in stream.tasks]:
        raise InputError(
            f"no truth branch for {missing[0]!r}, which the calibration needs",
            where=", ".join(data),
            fix="Calibrate on files with the truth of energy, timing and position.",
        )
    fit = PositionFitMethod() if config.against == "conventional" else None
    fitted: list[tuple[np.ndarray[Any, Any], ...]] = []

    def labelled() -> Iterator[LabelledEvents]:
        done = 0
        for raw in stream:
            batch = raw
            if config.calibration_events is not None:
                batch = raw.take(slice(max(config.calibration_events - done, 0)))
            if len(batch) == 0:
                return
            done += len(batch)
            uvw = batch.targets["uvwFI"].numpy()
            if fit is not None:
                values = fit.estimate(batch).values
                fitted.append((np.stack([values[x] for x in "uvw"], axis=1), values[SCALE], uvw))
            yield LabelledEvents(
                npho=batch.npho.numpy(),
                time=batch.time.numpy(),
                dead=batch.dead.numpy(),
                energy=batch.targets["energy"][:, 0].numpy(),
                timing=batch.targets["timing"][:, 0].numpy(),
                uvw=uvw,
            )

    constants = calibrate(labelled(), origin={"files": list(data)})
    if not fitted:
        return Calibration(constants)
    columns = [np.concatenate(part) for part in zip(*fitted, strict=True)]
    return Calibration(constants, fit_correction(*columns))


def _stream(
    inputs: Sequence[InputFile],
    paths: Sequence[str],
    wanted: Sequence[TaskName],
    config: EvaluationConfig,
) -> EventStream:
    """Stream the files, with the truth all of them have of the wanted tasks."""
    tasks = list(wanted)
    for item in inputs:
        with open_events(
            item, npho_branch=config.npho_branch, time_branch=config.time_branch
        ) as events:
            found = {*find_truth(events.names), *config.truth}
        tasks = [task for task in tasks if task in found]
        if not tasks:
            raise InputError(
                f"no truth of {', '.join(wanted)}",
                where=item.path,
                fix="Evaluate on files with truth; 'truth' of --config names their branches.",
            )
    data = DataConfig(
        train_path=tuple(paths),
        val_path=tuple(paths),
        tree_name=config.tree_name,
        npho_branch=config.npho_branch,
        time_branch=config.time_branch,
        truth=config.truth,
        dead=config.dead,
        batch_size=config.batch_size,
        chunksize=max(config.batch_size, 1000),
    )
    return EventStream(tuple(paths), data, tasks, shuffle=False)


def _tasks_of(networks: Sequence[TorchNetwork | BundleNetwork]) -> list[TaskName]:
    """Return the tasks whose truth is of use, in the fixed order."""
    given: set[str] = set(AXIS_TASKS)
    for network in networks:
        if isinstance(network, TorchNetwork):
            given |= set(network.module.model.config.active_tasks)
        else:
            given |= set(network.bundle.manifest.tasks)
    return [task for task in TASK_DIMENSIONS if task in given]


def _names(paths: Sequence[str]) -> list[str]:
    """Name each file by its stem, or by folder and stem where stems repeat."""
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{Path(path).resolve().parent.name}_{Path(path).stem}" for path in paths]


def _listed(paths: Sequence[str]) -> str:
    """Join paths, the middle of a long list left out."""
    if len(paths) <= 3:
        return ", ".join(paths)
    return f"{paths[0]}, {paths[1]} .. {paths[-1]} ({len(paths)} files)"
