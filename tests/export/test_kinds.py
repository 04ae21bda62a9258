"""Bundles of every kind of checkpoint, of an inpainter ahead of a regressor, and in parts."""

import numpy as np
import onnxruntime
import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle import write_bundle
from xec_deploy.cpp import Model
from xec_deploy.errors import UsageError
from xec_deploy.export.golden import golden_events

pytestmark = pytest.mark.slow

INPAINTERS = ("inpainter_perface", "inpainter_crossattn")
ALLOWED = 1e-4
"""Of the spread of an output over the events."""


def expected_of(reference, name):
    with np.load(reference / "legacy" / f"{name}.npz") as archive:
        return dict(archive)


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def raw(events):
    return {"npho": events.npho, "time": events.time, "dead": events.dead}


def test_encoder_of_a_masked_autoencoder_gives_its_tokens(exported, reference):
    bundle, events = exported("mae_finegrid"), expected_of(reference, "mae_finegrid")
    assert (bundle.manifest.kind, bundle.manifest.output_names) == ("encoder", ("tokens",))
    tokens = bundle.run(events["npho"], events["time"], events["dead"])["tokens"]
    assert tokens.shape == (16, 6, 128)
    truth = events["tokens"]
    assert (np.abs(tokens - truth).max(axis=0) / truth.std(axis=0)).max() < ALLOWED
    with pytest.raises(Exception, match="encoder"):
        Model(bundle.path)


@pytest.mark.parametrize("name", INPAINTERS)
def test_inpainters_fill_what_is_unusable_and_nothing_else(exported, reference, name):
    bundle, events = exported(name), expected_of(reference, name)
    assert bundle.manifest.kind == "inpainter"
    npho, dead = events["npho"], events["dead"]
    filled = bundle.run(npho, events["time"], dead)["npho_filled"]
    assert filled.shape == npho.shape
    assert filled.dtype == np.float32
    with np.errstate(invalid="ignore"):
        invalid = ~np.isfinite(npho) | (npho > 9e9)
    usable = ~dead & ~invalid
    np.testing.assert_array_equal(filled[usable].view(np.uint32), npho[usable].view(np.uint32))
    assert np.isfinite(filled[invalid]).all()
    truth = events["out_npho"]
    error = np.abs(filled - truth)[dead]
    assert error.max() / truth[dead].std() < ALLOWED


def test_cpp_fills_with_the_same_graph(exported):
    bundle = exported("inpainter_crossattn")
    model = Model(bundle.path)
    assert model.inpaints
    event = bundle.golden.head(2)
    expected = bundle.run(event.npho, event.time, event.dead, backend="onnxruntime")["npho_filled"]
    filled = model.inpaint(event.npho[1], event.time[1], event.dead[1])
    np.testing.assert_allclose(filled, expected[1], rtol=1e-4, atol=1e-2)


def test_whole_events_give_the_bits_of_the_regressor_alone(fused):
    clean = golden_events().select(np.array([0, 29, 30, 31]))
    assert not clean.dead.any()
    with_inpainter, alone = (
        session_of(path).run(None, raw(clean))
        for path in (fused.graph(), fused.graph(inpaint="none"))
    )
    for one, other in zip(with_inpainter, alone, strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


def test_parts_in_a_row_are_the_whole(fused):
    events = fused.golden.head(8)
    whole = fused.run(events.npho, events.time, events.dead, backend="onnxruntime")
    (filled,) = session_of(fused.part("inpainter")).run(None, raw(events))
    with np.errstate(invalid="ignore"):
        unusable = events.dead | ~np.isfinite(events.npho) | (events.npho > 9e9)
    np.testing.assert_array_equal(filled[~unusable], events.npho[~unusable])
    time = np.where(unusable, np.float32(1e10), events.time)
    inputs = {"npho": filled, "time": time, "dead": np.zeros_like(events.dead)}
    by_parts = session_of(fused.part("regressor")).run(None, inputs)
    for name, value in zip(whole, by_parts, strict=True):
        np.testing.assert_allclose(value, whole[name], rtol=1e-5, err_msg=name)
    (x,) = session_of(fused.part("normalisation")).run(None, inputs)
    expected = fused.manifest.normalisation.apply(filled, time)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    energy, uvw = session_of(fused.part("network")).run(None, {"input": x})
    np.testing.assert_allclose(uvw, whole["uvwFI"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(energy[:, :1]), whole["energy"], rtol=1e-4)


def test_parts_are_models_of_their_own(fused):
    inpainter = open_bundle(fused.part("inpainter"))
    assert inpainter.manifest.kind == "inpainter"
    assert inpainter.manifest.normalisation.npho_scheme == "linear"
    assert Model(inpainter.path).inpaints
    regressor = open_bundle(fused.part("regressor"))
    assert regressor.manifest.inpainter is None
    assert regressor.inpainting() == "none"
    assert (fused.inpainting(), fused.manifest.dead_channels.method) == ("model", "inpainted")
    assert set(Model(fused.path).units) == {"energy", "energy_sigma", *"uvwxyz"}


def test_dead_channels_are_treated_as_asked(fused):
    events = fused.golden.select(np.arange(11, 15))
    ways = ("model", "none", "solid-angle", "neighbours")
    energies = [
        fused.backend("onnxruntime", inpaint=way).run(events.npho, events.time, events.dead)
        for way in ways
    ]
    for one, other in zip(energies[1:], energies[:-1], strict=True):
        assert not np.array_equal(one["uvwFI"], other["uvwFI"])


def test_callers_that_normalise_themselves(fused, tmp_path):
    # What --io legacy writes is the part "network" of other exports.
    manifest = fused.manifest.of_part("network")
    clean = fused.golden.select(np.array([0, 29, 30, 31]))
    graph = tmp_path / "fp32.onnx"
    graph.write_bytes(fused.part("network").read_bytes())
    legacy = write_bundle(tmp_path / "legacy.xec", manifest, {"fp32": graph}, clean)
    assert legacy.manifest.graph_outputs == ("output_energy", "output_uvwFI")
    ports = [port.name for port in session_of(legacy.file()).get_outputs()]
    assert ports == list(legacy.manifest.graph_outputs)
    events = fused.golden.head(8)
    expected = fused.backend("onnxruntime", inpaint="none").run(
        events.npho, events.time, events.dead
    )
    values = legacy.run(events.npho, events.time, events.dead, backend="onnxruntime")
    assert list(values) == ["energy", "energy_sigma", "uvwFI"]
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
    with pytest.raises(Exception, match="'legacy' inputs"):
        Model(legacy.file())
    with pytest.raises(UsageError, match="does not keep the part 'regressor'"):
        legacy.part("regressor")
