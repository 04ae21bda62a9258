"""A simulated file and results made of its truth, as ``infer`` would write them."""

import numpy as np
import pytest

from xec_deploy.detector import uvw_to_xyz
from xec_deploy.events import Column, ResultWriter, open_events
from xec_deploy.simulation import SimulationConfig, write_simulation

UNITS = {
    "energy": "GeV",
    "theta": "deg",
    "phi": "deg",
    "timing": "ns",
    "u": "cm",
    "v": "cm",
    "w": "cm",
    "x": "cm",
    "y": "cm",
    "z": "cm",
    "energy_sigma": "GeV",
    "energy_conv": "GeV",
    "u_conv": "cm",
    "v_conv": "cm",
    "w_conv": "cm",
}
TRUTH = ("energyTruth", "timeTruth", "uvwTruth", "emiAng")
N_EVENTS = 260


@pytest.fixture(scope="session")
def events_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.root"
    write_simulation(path, SimulationConfig(seed=5), N_EVENTS, threads=1)
    return path


@pytest.fixture(scope="session")
def rows(events_file):
    """Results of the simulated events: truth with known errors, one value missing."""
    random = np.random.default_rng(9)
    with open_events(events_file, keep=TRUTH) as file:
        batch = next(file.batches(N_EVENTS))
    truth = batch.extra
    uvw = truth["uvwTruth"] + random.normal(0, (0.2, 0.25, 0.4), (N_EVENTS, 3))
    angle = truth["emiAng"] + random.normal(0, 0.2, (N_EVENTS, 2))
    energy = truth["energyTruth"] * (1 + 0.015 * random.standard_normal(N_EVENTS))
    energy[3] = np.nan
    xyz = uvw_to_xyz(uvw)
    return {
        "run": batch.run,
        "event": batch.event,
        "status": np.where(np.isnan(energy), 2, 1),
        "n_dead": batch.dead.sum(axis=1),
        "n_inpainted": batch.dead.sum(axis=1),
        "energy": energy,
        "theta": angle[:, 0],
        "phi": angle[:, 1],
        "timing": truth["timeTruth"] + 0.06 * random.standard_normal(N_EVENTS),
        **dict(zip("uvw", uvw.T, strict=True)),
        **dict(zip("xyz", xyz.T, strict=True)),
        "energy_conv": energy * (1 + 0.01 * random.standard_normal(N_EVENTS)),
        **{f"{axis}_conv": column + 0.1 for axis, column in zip("uvw", uvw.T, strict=True)},
        "energy_sigma": 0.015 * truth["energyTruth"],
        **{name: truth[name] for name in TRUTH},
    }


@pytest.fixture(scope="session")
def provenance(events_file):
    return {
        "input": {"path": str(events_file), "tree": "tree", "entries": N_EVENTS},
        "bundle": {"path": "/models/<b>compact</b>.xec", "sha256": "ab" * 32},
        "command": ["xec-deploy", "infer", "compact.xec", "events.root", "-o", "out.root"],
        "started": "2025-11-23T01:00:00+00:00",
        "finished": "2025-11-23T01:00:02+00:00",
    }


@pytest.fixture
def write_results(tmp_path, rows, provenance):
    """Write chosen result columns of the events; returns the path."""

    def write(names=None, *, origin=provenance, select=slice(None), name="out.root"):
        usual = [column for column in rows if column not in TRUTH and "_conv" not in column]
        chosen = usual if names is None else names
        columns = {
            column: Column("f4", UNITS.get(column), np.shape(rows[column])[1:])
            if column in UNITS or column in TRUTH
            else Column("i4")
            for column in chosen
        }
        path = tmp_path / name
        with ResultWriter(path, columns) as writer:
            writer.extend({column: rows[column][select] for column in chosen})
            writer.commit(origin)
        return path

    return write
