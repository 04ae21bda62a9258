"""Inpainters and autoencoders: references reproduced, modes that agree, maps that belong."""

import numpy as np
import pytest
import torch

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.checkpoint import load_checkpoint, load_inpainter, load_mae
from xec_train.models import (
    InpainterModelConfig,
    MAEModelConfig,
    build_inpainter,
    build_mae,
    padded_sensors,
)
from xec_train.models.research.positions import nearest_sensors, position_code

NORMALISATION = Normalisation(npho_scheme="sqrt", sentinel_time=-2.0)
SIZES = {
    "encoder_dim": 64,
    "hex_channels": 8,
    "head_channels": 16,
    "hex_head_channels": 16,
    "num_fusion_layers": 1,
}
VARIANTS = {
    "per_face": {"outer_fine_pool": (3, 3)},
    "unpooled": {},
    "split": {"outer_mode": "split"},
    "token only": {"use_local_context": False, "outer_fine_pool": (2, 2)},
    "masked attention": {"use_masked_attention": True, "outer_fine_pool": (2, 2)},
    "masked attention, split": {"use_masked_attention": True, "outer_mode": "split"},
    "cross_attention": {"head_type": "cross_attention"},
    "cross_attention, split": {"head_type": "cross_attention", "outer_mode": "split"},
}


@pytest.fixture
def inpainter(double, randomise):  # noqa: ARG001 - float64
    def inpainter(name, layout="physical", **more):
        options = {**SIZES, **VARIANTS[name], **more}
        config = InpainterModelConfig(**options)
        return randomise(build_inpainter(config, get_layout(layout), NORMALISATION))

    return inpainter


def raw(events):
    return (
        torch.from_numpy(events["npho"].astype(np.float64)),
        torch.from_numpy(events["time"].astype(np.float64)),
        torch.from_numpy(events["dead"]),
    )


@pytest.mark.parametrize("name", ["inpainter_perface", "inpainter_crossattn"])
def test_research_outputs(legacy, name, record_property):
    events = np.load(legacy / f"{name}.npz")
    npho, time, dead = raw(events)
    with torch.no_grad():
        filled = load_inpainter(legacy / f"{name}.pth").model.double().fill(npho, time, dead)
    filled, expected, flags = filled.numpy(), events["out_npho"], dead.numpy()
    np.testing.assert_array_equal(filled[~flags], expected[~flags])
    filled, expected = filled[flags], expected[flags]
    deviation = np.abs(filled - expected)
    record_property(name, float(deviation.max()))
    assert (deviation <= 1e-9 * np.maximum(1, np.abs(expected))).all()


def test_research_tokens(legacy):
    events = np.load(legacy / "mae_finegrid.npz")
    loaded = load_mae(legacy / "mae_finegrid.pth")
    x = torch.stack(normalise_arrays(*raw(events), loaded.normalisation, torch), -1)
    with torch.no_grad():
        tokens = loaded.model.double().encoder(x).numpy()
    np.testing.assert_allclose(tokens, events["tokens"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_given_sensors_get_what_all_would(inpainter, name):
    model = inpainter(name, predict_channels=("npho", "time"))
    x, mask = torch.rand(3, 4760, 2), torch.rand(3, 4760) < torch.tensor([[0.02], [0.0], [0.1]])
    sensors, present = padded_sensors(mask)
    with torch.no_grad():
        whole, some = model(x, mask), model(x, mask, sensors)
    assert whole.shape == (3, 4760, 2)
    assert some.shape == (*sensors.shape, 2)
    event = torch.arange(3).unsqueeze(1).expand_as(sensors)
    torch.testing.assert_close(some[present], whole[event, sensors][present], rtol=0, atol=1e-12)
    assert present.sum() == mask.sum()


@pytest.mark.parametrize("name", VARIANTS)
def test_masked_values_do_not_matter_and_events_do_not_mix(inpainter, name):
    model = inpainter(name)
    x, mask = torch.rand(2, 4760, 2), torch.rand(2, 4760) < 0.1
    other = torch.where(mask.unsqueeze(-1), torch.rand_like(x), x)
    with torch.no_grad():
        whole = model(x, mask)
        assert torch.equal(whole, model(other, mask))
        torch.testing.assert_close(model(x[1:], mask[1:]), whole[1:], rtol=0, atol=1e-12)
        assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_learns_from_masked_sensors_alone(inpainter, name):
    # Four channels: over fewer, a LayerNorm leaves nothing of the input.
    model = inpainter(name, encoder_dim=128)
    x, mask = torch.rand(2, 4760, 2), torch.rand(2, 4760) < 0.1
    sensors, present = padded_sensors(mask)
    model(x, mask, sensors)[present].square().sum().backward()
    idle = [
        parameter
        for parameter, value in model.named_parameters()
        if value.grad is None or not value.grad.abs().max() > 0
    ]
    # A shift of all logits, or of all keys, changes no softmax.
    shifts = ("attn_weight.bias", "attn_weight.0.bias", "k_proj.bias")
    assert [name for name in idle if not name.endswith(shifts)] == []


@pytest.mark.parametrize("name", ["per_face", "split", "cross_attention"])
def test_fill(inpainter, name):
    model = inpainter(name)
    npho, time = torch.rand(2, 4760) * 1000, torch.rand(2, 4760) * 1e-8
    dead = torch.rand(2, 4760) < 0.1
    dead[:, 4742] = True
    npho[0, 10], npho[1, 11] = torch.nan, 1e10
    with torch.no_grad():
        filled = model.fill(npho, time, dead)
    replaced = dead & model.predicted
    torch.testing.assert_close(filled[~replaced], npho[~replaced], equal_nan=True)
    assert (filled[replaced] >= 0).all()
    assert (filled[replaced] != npho[replaced]).all()
    missing = 18 if name == "split" else 0
    assert (~model.predicted).sum() == missing


def test_maps_are_those_of_research_checkpoints(legacy):
    layout, normalisation = get_layout("research"), Normalisation()
    config = InpainterModelConfig(encoder_dim=128, outer_fine_pool=(3, 3))
    built = build_inpainter(config, layout, normalisation).state_dict()
    stored = load_inpainter(legacy / "inpainter_perface.pth").model.state_dict()
    maps = [name for name, tensor in stored.items() if not tensor.is_floating_point()]
    assert len(maps) == 14
    for name in maps:
        assert torch.equal(built[name], stored[name]), name


def test_geometry_is_that_of_research_checkpoints(legacy):
    model = load_inpainter(legacy / "inpainter_crossattn.pth").model
    stored = model.cross_attn_head
    # The file the neighbours were computed from: six significant digits.
    position = np.array([[float(f"{v:.6g}") for v in row] for row in stored.sensor_positions])
    np.testing.assert_array_equal(nearest_sensors(position, 16), stored.knn_indices.numpy())
    code = position_code(position, 96)
    torch.testing.assert_close(code, stored.pos_embed, rtol=0, atol=1e-6)
    # The design differs from it by rounding, by which only equally near sensors change places.
    config = InpainterModelConfig(encoder_dim=64, head_type="cross_attention")
    built = build_inpainter(config, get_layout("research"), Normalisation()).cross_attn_head
    assert (built.sensor_positions - stored.sensor_positions).abs().max() < 1e-3
    assert torch.equal(built.face_ids, stored.face_ids)
    assert torch.equal(built.token_face_ids_map, stored.token_face_ids_map)
    place = stored.sensor_positions
    ours, theirs = (
        (place[head.knn_indices] - place.unsqueeze(1)).norm(dim=2) for head in (built, stored)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)


@pytest.fixture
def mae(double, randomise):  # noqa: ARG001 - float64
    def mae(layout="physical", **more):
        sizes = {"encoder_dim": 128, "hex_channels": 8, "decoder_dim": 16, "num_fusion_layers": 1}
        config = MAEModelConfig(**sizes, **more)
        return randomise(build_mae(config, get_layout(layout), NORMALISATION))

    return mae


@pytest.mark.parametrize("channels", [("npho",), ("npho", "time")])
@pytest.mark.parametrize(
    ("layout", "options", "missing"),
    [
        ("physical", {"outer_fine_pool": (3, 3)}, 0),
        ("physical", {}, 0),
        ("research", {"outer_fine_pool": (2, 2)}, 12),
        ("physical", {"outer_mode": "split"}, 18),
    ],
)
def test_autoencoder(mae, layout, options, missing, channels):
    model = mae(layout, **options, predict_channels=channels)
    x, mask = torch.rand(2, 4760, 2), torch.rand(2, 4760) < 0.6
    mask[:, 4092:4308] = mask[:, 4742:] = False  # see the masked encoder for the outer face
    other = torch.where(mask.unsqueeze(-1), torch.rand_like(x), x)
    with torch.no_grad():
        whole = model(x, mask)
        assert whole.shape == (2, 4760, len(channels))
        assert torch.equal(whole, model(other, mask))
        torch.testing.assert_close(model(x[1:], mask[1:]), whole[1:], rtol=0, atol=1e-12)
    assert (~model.predicted).sum() == missing
    assert (whole[:, ~model.predicted] == 0).all()
    assert (whole[:, model.predicted] != 0).all()
    faces = model.decode(torch.randn(2, len(model.encoder.tokens), 128))
    assert faces["inner"].shape == (2, len(channels), 93, 44)
    assert faces["top"].shape == (2, 73, len(channels))


def test_a_perfect_picture_is_read_back(mae):
    # What the encoder sees of an event, decoded without error, is the event.
    model = mae(predict_channels=("npho", "time"))
    x = torch.rand(2, 4760, 2)
    faces = {face: model.encoder.face(face, x) for face in model.encoder.tokens}
    torch.testing.assert_close(model.sensors(faces), x, rtol=0, atol=1e-12)


def test_invalid_sensors_are_hidden_and_untimed_ones_are_not(mae):
    model = mae()
    x, mask = torch.rand(1, 4760, 2), torch.zeros(1, 4760, dtype=torch.bool)
    dead, untimed = x.clone(), x.clone()
    dead[0, 100] = torch.tensor([NORMALISATION.sentinel_npho, NORMALISATION.sentinel_time])
    untimed[0, 100, 1] = NORMALISATION.sentinel_time
    hidden = mask.clone()
    hidden[0, 100] = True
    with torch.no_grad():
        assert torch.equal(model(dead, mask), model(x, hidden))
        assert not torch.equal(model(untimed, mask), model(x, hidden))


def test_every_kind_of_research_checkpoint_is_recognised(legacy):
    kinds = {path.stem: type(load_checkpoint(path)).__name__ for path in legacy.glob("*.pth")}
    assert kinds == {
        "inpainter_crossattn": "InpainterCheckpoint",
        "inpainter_perface": "InpainterCheckpoint",
        "mae_finegrid": "MAECheckpoint",
        "regressor_finegrid": "RegressorCheckpoint",
        "regressor_split": "RegressorCheckpoint",
    }
