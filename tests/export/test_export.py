"""Research checkpoints become bundles that agree with their float64 outputs."""

import shutil

import numpy as np
import onnx
import pytest
import torch

from xec_deploy.bundle import shipped_bundle
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import CheckFailed, UsageError
from xec_deploy.export import export_bundle
from xec_deploy.export.graph import DeployedRegressor
from xec_train.checkpoint import load_regressor

CASES = {
    "regressor_finegrid": {"angle": 2, "energy": 1, "timing": 1, "uvwFI": 3},
    "regressor_split": {"energy": 1, "uvwFI": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_raw_events_give_the_reference_outputs(exported, reference, name):
    with np.load(reference / "legacy" / f"{name}.npz") as archive:
        expected = dict(archive)
    outputs = exported(name).run(expected["npho"], expected["time"], expected["dead"])
    for task, width in CASES[name].items():
        truth = expected[f"out_{task}"]
        spread = truth[:, :width].std(axis=0)
        error = np.abs(outputs[task] - truth[:, :width]).max(axis=0) / spread
        assert error.max() < 1e-4, f"{task}: {error}"
    if name == "regressor_split":
        sigma = np.exp(0.5 * expected["out_energy"][:, 1:])
        np.testing.assert_allclose(outputs["energy_sigma"], sigma, rtol=1e-5)


@pytest.mark.slow
def test_graph_holds_no_paths_and_no_float64(exported):
    for name in CASES:
        bundle = exported(name)
        model = load_onnx(bundle.graph())
        assert all(t.data_type != onnx.TensorProto.DOUBLE for t in model.graph.initializer)
        # Without the weights, whose bytes may spell anything.
        del model.graph.initializer[:]
        assert b".py" not in model.SerializeToString()
        assert (model.ir_version, model.opset_import[0].version) == (10, 20)
        assert len(model.opset_import) == 1
        assert not model.functions


@pytest.mark.slow
def test_same_checkpoint_gives_the_same_bytes(exported, reference, tmp_path):
    name = "regressor_split"
    again = export_bundle(reference / "legacy" / f"{name}.pth", tmp_path / f"{name}.xec")
    first = exported(name)
    for file in ("fp32.onnx", "golden.npz", "manifest.json"):
        assert (again.path / file).read_bytes() == (first.path / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_tensorrt_rtx_parses_and_builds_the_graph(exported, name):
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(exported(name).graph())), [
        parser.get_error(index).desc() for index in range(parser.num_errors)
    ]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM80, 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        profile.set_shape(network.get_input(index).name, (1, 4760), (16, 4760), (64, 4760))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 1e6


def test_log_transform_is_undone_with_its_sigma(reference):
    path = reference / "legacy" / "regressor_split.pth"
    plain = load_regressor(path)
    logarithmic = load_regressor(path, log_transform=("energy",))
    events = [torch.rand(2, 4760) * 500, torch.rand(2, 4760) * 1e-8, torch.rand(2, 4760) < 0.02]
    with torch.no_grad():
        raw, raw_sigma, _ = DeployedRegressor(plain.model, plain.normalisation)(*events)
        value, sigma, _ = DeployedRegressor(
            logarithmic.model, logarithmic.normalisation, logarithmic.log_transform
        )(*events)
    torch.testing.assert_close(value, raw.exp())
    torch.testing.assert_close(sigma, raw.exp() * raw_sigma)


def test_output_must_be_a_bundle_name_and_never_replaces_a_folder(reference, tmp_path):
    path = reference / "legacy" / "regressor_split.pth"
    with pytest.raises(UsageError, match=r"\.xec"):
        export_bundle(path, tmp_path / "name")
    taken = tmp_path / "data.xec"
    taken.mkdir()
    (taken / "precious.txt").write_text("keep")
    with pytest.raises(UsageError, match="not a bundle"):
        export_bundle(path, taken)
    assert (taken / "precious.txt").read_text() == "keep"


def test_options_that_make_no_sense_are_refused(reference, tmp_path):
    path = reference / "legacy" / "regressor_split.pth"
    with pytest.raises(UsageError, match=r"'angle'.*not trained for"):
        export_bundle(path, tmp_path / "a.xec", log_transform=("angle",))
    with pytest.raises(UsageError, match="max_dead"):
        export_bundle(path, tmp_path / "a.xec", max_dead=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_graph_that_fails_does_not_replace_a_bundle(reference, tmp_path, monkeypatch):
    target = shutil.copytree(shipped_bundle(), tmp_path / "a.xec")
    before = (target / "manifest.json").read_bytes()
    # The real path with a gate that nothing passes.
    monkeypatch.setattr("xec_deploy.export.export.FP32_GATE", 0.0)
    with pytest.raises(CheckFailed):
        export_bundle(reference / "legacy" / "regressor_split.pth", target)
    assert (target / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.xec"]
