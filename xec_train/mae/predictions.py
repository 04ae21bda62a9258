"""Predicted sensors of validation events, as a ROOT file to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.events import Column, ResultWriter
from xec_deploy.normalisation import normalise_arrays
from xec_train.config import MaeConfig
from xec_train.data import EventStream, RawBatch
from xec_train.mae.masks import MaskOfEvents
from xec_train.models import XEC_MAE

__all__ = ["write_predictions"]

MOST_EVENTS: Final = 1000
SEED: Final = 1


def write_predictions(config: MaeConfig, model: XEC_MAE, path: Path) -> None:
    """Write the first validation events with what was hidden of them and what was predicted.

    Branches: ``run``, ``event``, ``npho`` [photons], ``mask`` (4760 each), ``npho_predicted``
    [photons], and with times ``relative_time`` and ``time_predicted`` [s].  Predictions are of all
    sensors; those that are not masked were seen.
    """
    device = next(model.parameters()).device
    timed = "time" in model.config.predict_channels
    columns = {
        "run": Column("i4"),
        "event": Column("i4"),
        "npho": Column("f4", "photons", (N_SENSORS,)),
        "mask": Column("?", None, (N_SENSORS,), "hidden from the network"),
        "npho_predicted": Column("f4", "photons", (N_SENSORS,)),
    }
    if timed:
        columns["relative_time"] = Column("f4", "s", (N_SENSORS,))
        columns["time_predicted"] = Column("f4", "s", (N_SENSORS,))
    events = min(config.data.val_events or MOST_EVENTS, MOST_EVENTS)
    stream = EventStream(
        config.data.val_path,
        config.data,
        (),
        shuffle=False,
        max_events=events,
        rank=0,
        world=1,
    )
    generator = torch.Generator(device).manual_seed(SEED)
    draw = MaskOfEvents.of_config(config)
    with ResultWriter(path, columns) as writer:
        for batch in stream:
            writer.extend(_rows(batch.to(device), model, draw, generator, timed=timed))
        writer.commit()


def _rows(
    batch: RawBatch,
    model: XEC_MAE,
    draw: MaskOfEvents,
    generator: torch.Generator,
    *,
    timed: bool,
) -> dict[str, np.ndarray]:
    normalisation = model.normalisation
    channels = normalise_arrays(batch.npho, batch.time, batch.dead, normalisation, torch)
    x = torch.stack(channels, dim=-1)
    valid, with_time = x[..., 0] != normalisation.sentinel_npho, x[..., 1]
    with_time = with_time != normalisation.sentinel_time
    with torch.no_grad():
        mask = draw(batch, valid, with_time, generator)
        predicted = model(x, mask)
    assert batch.run is not None  # noqa: S101 - streams fill them
    assert batch.event is not None  # noqa: S101
    rows = {
        "run": batch.run,
        "event": batch.event,
        "npho": batch.npho,
        "mask": mask,
        "npho_predicted": normalisation.inverse(predicted[..., 0], torch),
    }
    if timed:
        rows["relative_time"] = batch.time
        rows["time_predicted"] = normalisation.inverse_time(predicted[..., 1])
    return {name: values.cpu().numpy() for name, values in rows.items()}
