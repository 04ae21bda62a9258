"""Mirrored events are events: sensors at their mirror images, truth of the mirrored photon."""

import numpy as np
import pytest
import torch

from xec_deploy.detector import uvw_to_xyz
from xec_deploy.detector.coordinates import direction_to_angles
from xec_deploy.detector.geometry import design_geometry
from xec_train.data import RawBatch
from xec_train.data.mirror import mirror, mirror_images, random_mirror


@pytest.fixture(scope="module")
def batch(simulated):
    events = {name: torch.from_numpy(values[:40]) for name, values in simulated.items()}
    return RawBatch(
        events["npho"],
        events["relative_time"],
        events["dead"],
        {
            "energy": events["energyTruth"][:, None],
            "uvwFI": events["uvwTruth"],
            "angle": events["emiAng"],
            "angleVec": events["emiVec"],
        },
    )


@pytest.mark.parametrize(("way", "signs"), [(0, [1, 1]), (1, [-1, 1]), (2, [1, -1]), (3, [-1, -1])])
def test_sensors_and_truth_move_together(batch, way, signs):
    mirrored = mirror(batch, torch.full((len(batch),), way))
    position = design_geometry().position
    flip = np.array([1, signs[1], signs[0]])
    np.testing.assert_allclose(position[mirror_images()[way].numpy()], position * flip, atol=0.01)
    # The light stays where the photon is: both moved by the same mirror.
    for before, after in ((batch, mirrored), (mirrored, batch)):
        light = torch.where(before.dead, 0.0, before.npho.clamp(0, 1e6)).numpy()
        moved = torch.where(after.dead, 0.0, after.npho.clamp(0, 1e6)).numpy()
        np.testing.assert_allclose(moved @ position, (light @ position) * flip, rtol=2e-2, atol=50)
    uvw = mirrored.targets["uvwFI"].numpy()
    expected = uvw_to_xyz(batch.targets["uvwFI"].numpy()) * flip
    np.testing.assert_allclose(uvw_to_xyz(uvw), expected, atol=1e-4)
    direction = mirrored.targets["angleVec"].numpy()
    np.testing.assert_allclose(direction, batch.targets["angleVec"].numpy() * flip, atol=1e-6)
    angles = direction_to_angles(direction)
    np.testing.assert_allclose(mirrored.targets["angle"].numpy(), angles, atol=1e-3)
    assert torch.equal(mirrored.targets["energy"], batch.targets["energy"])


def test_twice_is_not_at_all(batch):
    way = torch.arange(len(batch)) % 4
    again = mirror(mirror(batch, way), way)
    for name in ("npho", "time", "dead"):
        assert torch.equal(getattr(again, name).nan_to_num(), getattr(batch, name).nan_to_num())
    for task, target in batch.targets.items():
        torch.testing.assert_close(again.targets[task], target)


def test_all_four_occur_and_the_generator_decides(batch):
    first, again = (random_mirror(batch, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.dead, again.dead)
    kinds = {
        tuple(row)
        for row in (first.targets["uvwFI"][:, :2] * batch.targets["uvwFI"][:, :2])
        .sign()
        .int()
        .tolist()
    }
    assert kinds == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
