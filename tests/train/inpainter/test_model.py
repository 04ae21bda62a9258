"""The inpainter of arch xec: starts from the neighbours, mixes nothing up, exports."""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from xec_deploy.bundle import DeadChannelPolicy, Manifest
from xec_deploy.detector import get_layout
from xec_deploy.errors import BundleError
from xec_deploy.export.to_onnx import export_onnx
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.checkpoint import load_encoder, load_inpainter
from xec_train.checkpoint.save import save_inpainter
from xec_train.models import XecInpainterModelConfig, build_inpainter, padded_sensors

NORMALISATION = Normalisation(
    npho_scheme="sqrt", time_scale=1e-8, time_shift=0.0, sentinel_time=-2.0
)


class Filled(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, npho, time, dead):
        return self.model.fill(npho, time, dead)


def build(*, trained=True, **options):
    torch.manual_seed(3)
    config = XecInpainterModelConfig(width=8, context_width=8, **options)
    model = build_inpainter(config, get_layout("physical"), NORMALISATION)
    if trained:
        for head in (model.inner_head, model.tube_head):
            nn.init.normal_(head.output.weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def raw(simulated):
    return [
        torch.from_numpy(np.array(simulated[name][:6]))
        for name in ("npho", "relative_time", "dead")
    ]


@pytest.fixture(scope="module")
def x(raw):
    return torch.stack(normalise_arrays(*raw, NORMALISATION, torch), dim=-1)


def masks(x, share=0.1):
    return torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(1)) < share


def test_given_sensors_get_what_all_would(x):
    model, mask = build(reach=2), masks(x)
    sensors, present = padded_sensors(mask)
    with torch.no_grad():
        whole, some = model(x, mask), model(x, mask, sensors)
    assert whole.shape == (6, 4760, 1)
    assert model.predicted.all()
    found = whole[..., 0].gather(1, sensors)
    torch.testing.assert_close(some[present][:, 0], found[present], rtol=1e-4, atol=1e-4)


def test_masked_values_do_not_matter_and_events_do_not_mix(x):
    model, mask = build(), masks(x)
    other = torch.where(mask[..., None], torch.rand_like(x), x)
    with torch.no_grad():
        whole = model(x, mask)
        assert torch.equal(whole, model(other, mask))
        torch.testing.assert_close(model(x[2:3], mask[2:3]), whole[2:3], rtol=1e-4, atol=1e-4)


def test_untrained_it_is_a_mean_of_the_neighbours(raw):
    npho, time, dead = (part.clone() for part in raw)
    npho[:, :4092] = 400.0
    npho[:, 4092:] = 900.0
    dead[:] = False
    dead[:, [100, 2000, 4500]] = True
    with torch.no_grad():
        filled = build(trained=False).fill(npho, time, dead)
    torch.testing.assert_close(filled[~dead], npho[~dead])
    torch.testing.assert_close(filled[:, [100, 2000]], torch.full((6, 2), 400.0), rtol=0.01, atol=0)
    torch.testing.assert_close(filled[:, 4500], torch.full((6,), 900.0), rtol=0.01, atol=0)


@pytest.mark.parametrize("case", ["boards", "face", "everything", "dark"])
def test_extreme_events_give_finite_light(raw, case):
    npho, time, dead = (part.clone() for part in raw)
    match case:
        case "boards":
            dead[:, 1600:1760] = True
        case "face":
            dead[:, 4092:] = True
        case "everything":
            dead[:] = True
        case "dark":
            npho[:] = -5.0
    with torch.no_grad():
        filled = build().fill(npho, time, dead)
    assert filled[dead].isfinite().all()
    assert (filled[dead] >= 0).all()


def test_every_parameter_learns_from_masked_sensors_alone(x):
    model, mask = build(), masks(x)
    sensors, present = padded_sensors(mask)
    model(x, mask, sensors)[present].square().sum().backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert idle == []


def test_checkpoint(tmp_path, x):
    model, mask = build(tube_neighbours=5), masks(x)
    model.measure(model.look(x, mask).moments)
    save_inpainter(tmp_path / "inpainter.pth", model)
    loaded = load_inpainter(tmp_path / "inpainter.pth")
    assert loaded.model.config == model.config
    assert loaded.layout == "physical"
    assert loaded.assumed == ()
    with torch.no_grad():
        assert torch.equal(loaded.model(x, mask), model(x, mask))
    with pytest.raises(BundleError, match="no encoder"):
        load_encoder(tmp_path / "inpainter.pth")


@pytest.mark.slow
def test_onnx(tmp_path, raw):
    model = Filled(build()).eval()
    manifest = Manifest(
        kind="inpainter",
        name="fill",
        producer="test",
        layout="physical",
        normalisation=NORMALISATION,
        tasks={},
        dead_channels=DeadChannelPolicy(max_dead=476),
    )
    path = tmp_path / "fill.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_onnx(model, ["npho_filled"], manifest, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    nodes = {node.op_type for node in onnx.load(path).graph.node}
    assert not {name for name in nodes if name.startswith("Scatter")}
    npho, time, dead = raw
    for rows in (slice(0, 1), slice(0, 6)):
        events = {
            "npho": npho[rows].numpy(),
            "time": time[rows].numpy(),
            "dead": (dead | masks(npho[..., None]))[rows].numpy(),
        }
        (filled,) = session.run(None, events)
        with torch.no_grad():
            expected = model(*(torch.from_numpy(part) for part in events.values()))
        flags = events["dead"]
        np.testing.assert_allclose(filled[flags], expected.numpy()[flags], rtol=1e-3, atol=1e-2)
        np.testing.assert_array_equal(filled[~flags], events["npho"][~flags])
