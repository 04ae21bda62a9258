"""The project's own architecture: what it sees, that it sees everything, and nothing dead."""

import numpy as np
import pytest
import torch

from xec_deploy.detector import constants as c
from xec_deploy.normalisation import Normalisation
from xec_train.models import XecModelConfig, build_regressor
from xec_train.models.xec import N_MOMENTS
from xec_train.models.xec.fovea import FoveatedView, inner_axes
from xec_train.models.xec.light import FilledLight, sum_3x3

SCHEMES = {
    "sqrt": Normalisation(npho_scheme="sqrt", npho_scale=1000.0, npho_scale2=1.0, time_scale=1e-8),
    "log1p": Normalisation(),
    "linear": Normalisation(npho_scheme="linear", npho_scale=5000.0, sentinel_time=-10.0),
}


@pytest.fixture(scope="module")
def raw(simulated):
    return tuple(
        torch.from_numpy(simulated[name][:12].astype(dtype))
        for name, dtype in (("npho", float), ("relative_time", float), ("dead", bool))
    )


def normalised(raw, normalisation):
    return torch.from_numpy(normalisation.apply(*(part.numpy() for part in raw)))


def network(normalisation=SCHEMES["sqrt"], **options):
    torch.manual_seed(1)
    config = XecModelConfig(width=32, head_width=16, **options)
    return build_regressor(config, None, normalisation).double().eval()


def test_filled_light_keeps_the_live_and_fills_the_dead_from_around(raw):
    light = FilledLight(SCHEMES["sqrt"]).double()
    npho, time, dead = raw
    dead = dead.clone()
    board = 40 * c.INNER_COLUMNS + 20
    dead[:, board : board + 16] = True
    filled = light(normalised((npho, time, dead), SCHEMES["sqrt"]))
    inner = filled.inner.flatten(1)
    live = ~dead
    expected = npho.clamp_min(0.0) / 1000
    torch.testing.assert_close(inner[live[:, :4092]], expected[:, :4092][live[:, :4092]])
    torch.testing.assert_close(filled.pmt[live[:, 4092:]], expected[:, 4092:][live[:, 4092:]])
    image = expected[:, :4092].reshape(-1, 93, 44)
    alive = live[:, :4092].reshape(-1, 93, 44).double()
    total, count = sum_3x3(image * alive), sum_3x3(alive)
    near = count.flatten(1)[:, board + 5] > 0
    mean = (total / count.clamp_min(1)).flatten(1)[:, board + 5]
    torch.testing.assert_close(inner[near, board + 5], mean[near])
    assert (filled.measured[dead] == 0).all()


def test_moments_are_of_photons_and_nanoseconds_whatever_the_normalisation(raw):
    views = [
        network(normalisation).backbone.view(normalised(raw, normalisation))
        for normalisation in SCHEMES.values()
    ]
    for view in views[1:]:
        # Negative counts are cut off by the square root only.
        torch.testing.assert_close(view[:, :6], views[0][:, :6], rtol=0.02, atol=0.01)
        torch.testing.assert_close(view[:, 24:27], views[0][:, 24:27], rtol=1e-3, atol=2e-2)


def test_the_centre_is_where_the_photon_converted(simulated, raw):
    view = network().backbone.view
    light = view.light(normalised(raw, SCHEMES["sqrt"]))
    _, centre = view.moments(light, torch.full((len(raw[0]), 4760), -1.0).double())
    distance = np.abs(centre.numpy() - simulated["uvwTruth"][:12, :2])
    assert np.median(distance) < 1.0


def test_a_view_moves_with_the_light():
    view = FoveatedView(6, 1.2, 1.2).double()
    u, v = (axis.double() for axis in inner_axes())

    def spot(centre):
        image = torch.exp(-((u - centre[0]) ** 2 + (v[:, None] - centre[1]) ** 2) / (2 * 4.0**2))
        return image[None], torch.ones_like(image)[None], torch.tensor([centre]).double()

    first, live = view(*spot([0.3, 1.1]))
    moved, _ = view(*spot([-5.4, 20.2]))
    # Sensors are samples: between them the sharpest kernels are off by two percent of the peak.
    torch.testing.assert_close(first, moved, atol=0.03, rtol=0)
    torch.testing.assert_close(live, torch.ones_like(live), atol=1e-9, rtol=0)
    assert first.argmax() == view.points**2 // 2
    torch.testing.assert_close(first, first.flip(1), atol=0.03, rtol=0)


def test_every_live_sensor_is_seen_and_no_dead_one(raw):
    look = network().backbone.view
    npho, time, dead = (part[0] for part in raw)
    chosen = torch.randperm(4760, generator=torch.Generator().manual_seed(2))[:300]
    brighter = npho.repeat(len(chosen), 1)
    brighter[torch.arange(len(chosen)), chosen] += 700.0
    events = brighter, time.expand_as(brighter), dead.expand_as(brighter)
    before = look(normalised((npho[None], time[None], dead[None]), SCHEMES["sqrt"]))
    change = (look(normalised(events, SCHEMES["sqrt"])) - before).abs().amax(dim=1)
    assert (change[~dead[chosen]] > 1e-4).all()
    assert (change[dead[chosen]] < 1e-12).all()


def test_events_do_not_mix_and_channels_without_light_are_harmless(raw):
    model = network(nll_tasks=("energy",))
    x = normalised(raw, SCHEMES["sqrt"])
    with torch.no_grad():
        together, alone = model(x), model(x[3:4])
        nothing = model(torch.full((1, 4760, 2), -1.0, dtype=torch.float64))
    assert together["energy"].shape == (12, 2)
    for task, values in together.items():
        torch.testing.assert_close(values[3:4], alone[task])
        assert nothing[task].isfinite().all()


def test_only_the_heads_in_use_exist():
    model = network(active_tasks=("timing",))
    assert list(model.heads) == ["timing"]
    assert model.anchors["timing"].in_features == N_MOMENTS
