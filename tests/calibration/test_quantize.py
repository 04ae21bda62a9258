"""From a bundle to a bundle with graphs of lower precision."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration import Options, quantize_bundle
from xec_deploy import open_bundle
from xec_deploy.backends import RunOptions
from xec_deploy.bundle import add_graph, shipped_bundle
from xec_deploy.bundle.onnx_file import load_onnx, state_rest
from xec_deploy.checks import run_checks
from xec_deploy.errors import CheckFailed, UsageError
from xec_deploy.gates import load_gates
from xec_deploy.parity import check_parity

OPTIONS = Options(events=80, judged=100)
BIN = Path(sys.executable).parent


def fresh(folder):
    return Path(shutil.copytree(shipped_bundle(), folder / "compact.xec"))


@pytest.fixture(scope="module")
def quantised(events_file, tmp_path_factory):
    """The shipped bundle with an int8 graph for CPUs, and what was found."""
    path = fresh(tmp_path_factory.mktemp("quantised"))
    result = quantize_bundle(open_bundle(path), "int8", [str(events_file)], OPTIONS)
    return path, result


def test_a_graph_is_added_that_passes_its_gate(quantised):
    path, result = quantised
    assert result.precision == "int8-cpu"
    assert 0 < result.choice.score.worst <= load_gates().of("int8")
    bundle = open_bundle(path)
    assert set(bundle.manifest.graphs) == {"fp32", "int8-cpu"}
    kinds = [node.op_type for node in load_onnx(bundle.graph("int8-cpu")).graph.node]
    assert kinds.count("QuantizeLinear") >= 3
    golden = bundle.golden
    outputs = bundle.run(
        golden.npho, golden.time, golden.dead, backend="onnxruntime", precision="int8"
    )
    difference = np.abs(outputs["uvwFI"] - golden.outputs["uvwFI"])
    assert 0 < difference.mean() < 0.05


def test_the_linear_anchors_stay_exact(quantised):
    """They carry the answer, the rest only corrects it: eight bits cost several sigma there."""
    _, result = quantised
    assert {"anchors.energy", "anchors.uvwFI"} <= set(result.choice.high)
    errors = {one.group: one.score.worst for one in result.choice.sensitivity}
    assert errors["anchors.energy"] > 1
    assert errors["heads.energy"] < errors["anchors.energy"] / 10


def test_ranges_are_reused_only_for_the_same_question(quantised, events_file):
    path, first = quantised
    again = quantize_bundle(open_bundle(path), "int8", [str(events_file)], OPTIONS)
    assert again.reused
    assert again.record == first.record
    assert again.choice.low == first.choice.low
    other = Options(events=81, judged=100, method="minmax")
    changed = quantize_bundle(open_bundle(path), "int8", [str(events_file)], other)
    assert not changed.reused
    assert changed.record.method == "minmax"


def test_the_rest_of_an_int8_graph(events_file, tmp_path):
    """It is in fp16 for TensorRT."""
    path = fresh(tmp_path)
    options = Options(target="tensorrt", events=80, judged=100, method="minmax")
    result = quantize_bundle(open_bundle(path), "int8", [str(events_file)], options)
    assert result.rest == "fp16"
    assert result.choice.score.worst <= load_gates().of("int8")
    types = {tensor.data_type for tensor in load_onnx(path / result.file).graph.initializer}
    assert {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8} <= types
    checked = run_checks(path, ids={"E16", "E17"}, graphs={"int8-trt"})
    assert [one.status for graph in checked.graphs for one in graph.results] == ["passed"] * 2


def test_the_rest_is_computed_as_the_graph_says(quantised, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    # All of this network in bf16 is far from its reference.
    path = Path(shutil.copytree(quantised[0], tmp_path / "bundle.xec"))
    bundle = open_bundle(path)
    bundle.backend("openvino", precision="int8")
    model = load_onnx(bundle.graph("int8-cpu"))
    state_rest(model, "bf16")
    onnx.save(model, tmp_path / "stated.onnx")
    changed = add_graph(bundle, "int8-cpu", tmp_path / "stated.onnx")
    with pytest.raises(CheckFailed, match="detector sigma"):
        changed.backend("openvino", precision="int8")
    changed.backend("onnxruntime", precision="int8")
    report = check_parity(changed, against=["openvino"], precisions=["int8"], repeats=False)
    assert not report.passed


def test_kept_groups_stay_in_float(events_file, tmp_path):
    bundle = open_bundle(fresh(tmp_path))
    with pytest.raises(UsageError, match=r"Did you mean 'shared\.0'"):
        quantize_bundle(bundle, "fp16", [str(events_file)], Options(keep=("shared0",)))
    options = Options(events=80, judged=100, keep=("shared.0", "shared.1"), method="mse")
    result = quantize_bundle(bundle, "int8", [str(events_file)], options)
    assert not any(group.startswith("shared") for group in result.choice.low)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_halves(precision, events_file, tmp_path):
    path = fresh(tmp_path)
    result = quantize_bundle(open_bundle(path), precision, [str(events_file)], OPTIONS)
    assert result.choice.score.worst <= load_gates().of(precision)
    bundle = open_bundle(path)
    assert any(node.op_type == "Cast" for node in load_onnx(bundle.graph(precision)).graph.node)
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    # Rounded where the graph says so, which was judged, and not everywhere.
    bundle.backend("openvino", precision=precision, options=RunOptions(threads=1))


def test_nothing_is_written_if_nothing_passes(events_file, tmp_path):
    path = fresh(tmp_path)
    before = (path / "manifest.json").read_bytes()
    bundle = open_bundle(path)
    groups = quantize_groups(bundle)
    keep = tuple(group for group in groups if group != "anchors.energy")
    options = Options(events=80, judged=100, keep=keep, method="minmax")
    with pytest.raises(CheckFailed, match="no part of the network can be in int8"):
        quantize_bundle(bundle, "int8", [str(events_file)], options)
    assert (path / "manifest.json").read_bytes() == before
    assert not list(path.glob("int8*"))


def quantize_groups(bundle):
    from calibration.layers import find_layers
    from calibration.simplify import prepare

    layers = find_layers(prepare(load_onnx(bundle.graph())))
    return list(dict.fromkeys(layer.group for layer in layers))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_tensorrt_rtx_builds_the_graph(precision, events_file, tmp_path):
    trt = pytest.importorskip("tensorrt_rtx")
    path = fresh(tmp_path)
    options = Options(target="tensorrt", events=80, judged=100, method="minmax")
    result = quantize_bundle(open_bundle(path), precision, [str(events_file)], options)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path / result.file)), [
        parser.get_error(index).desc() for index in range(parser.num_errors)
    ]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM80, 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(name, (1, 4760), (16, 4760), (64, 4760))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


def test_the_command(events_file, tmp_path):
    path = fresh(tmp_path)
    command = [BIN / "xec-deploy", "quantize", path, "--precision", "int8", "--data", events_file]
    more = ["--events", "80", "--judged", "100", "--method", "mse", "--json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"] == "int8-cpu.onnx"
    assert found["score"]["worst"] <= found["gate"]
    assert (path / "int8-cpu.onnx").is_file()
