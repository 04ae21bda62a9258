"""Predictions of hidden sensors as ROOT, a row for each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Generator, nn

from xec_deploy.detector.geometry import design_geometry
from xec_deploy.events import Column, ResultWriter
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.data import RawBatch
from xec_train.data.masking import MaskSampler
from xec_train.models import padded_sensors

__all__ = ["write_predictions"]

COLUMNS: Final = {
    "event_idx": Column("i4", description="place of the event in the sample"),
    "run_number": Column("i8"),
    "event_number": Column("i8"),
    "sensor_id": Column("i4"),
    "face": Column("i4", description="0 inner, 1 outer, 2 upstream, 3 downstream, 4 top, 5 bottom"),
    "truth_npho": Column("f4", "photons"),
    "pred_npho": Column("f4", "photons"),
    "error_npho": Column("f4", "photons", description="prediction minus truth"),
}
TIME_COLUMNS: Final = {
    "truth_time": Column("f4", "s", description="NaN where not valid"),
    "pred_time": Column("f4", "s"),
    "error_time": Column("f4", "s", description="prediction minus truth"),
}


@torch.inference_mode()
def write_predictions(
    path: Path,
    model: nn.Module,
    normalisation: Normalisation,
    sampler: MaskSampler,
    stream: Iterable[RawBatch],
    *,
    device: torch.device,
    timed: bool,
    seed: int,
) -> None:
    """Hide sensors of a stream of events, predict them, and write tree ``tree``.

    ``timed`` says that times are predicted too, ``seed`` chooses the sensors.
    """
    face = design_geometry().face
    n = normalisation
    generator = Generator(device)
    generator.manual_seed(seed)
    columns = COLUMNS | (TIME_COLUMNS if timed else {})
    done = 0
    training = model.training
    model.eval()
    with ResultWriter(path, columns, tree="tree", title="hidden sensors") as writer:
        for raw in stream:
            batch = raw.to(device)
            npho, time = normalise_arrays(batch.npho, batch.time, batch.dead, n, torch)
            mask = sampler(
                npho != n.sentinel_npho,
                npho=batch.npho,
                time_valid=time != n.sentinel_time,
                generator=generator,
            )
            sensors, present = padded_sensors(mask)
            prediction = model(torch.stack([npho, time], dim=-1), mask, sensors)[present]
            row = torch.arange(len(raw), device=device)[:, None].expand_as(sensors)[present].cpu()
            ids = sensors[present].cpu().numpy()
            truth = batch.npho.gather(1, sensors)[present]
            photons = n.inverse(prediction[:, 0], torch)
            values = {
                "event_idx": done + row.numpy(),
                "run_number": _numbers(raw.run, row),
                "event_number": _numbers(raw.event, row),
                "sensor_id": ids,
                "face": face[ids],
                "truth_npho": truth.cpu().numpy(),
                "pred_npho": photons.cpu().numpy(),
                "error_npho": (photons - truth).cpu().numpy(),
            }
            if timed:
                valid = time.gather(1, sensors)[present] != n.sentinel_time
                true = torch.where(valid, batch.time.gather(1, sensors)[present], torch.nan)
                found = n.inverse_time(prediction[:, 1])
                values |= {
                    "truth_time": true.cpu().numpy(),
                    "pred_time": found.cpu().numpy(),
                    "error_time": (found - true).cpu().numpy(),
                }
            writer.extend(values)
            done += len(raw)
        writer.commit()
    model.train(training)


def _numbers(values: torch.Tensor | None, row: torch.Tensor) -> np.ndarray:
    return np.full(len(row), -1) if values is None else values.cpu()[row].numpy()
