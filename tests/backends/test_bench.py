"""``xec-deploy bench``: rates, the ceiling, where the time goes, the stages of an inference."""

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.backends import RunOptions, present_backends
from xec_deploy.backends.measure import sample_events
from xec_deploy.bench import run_benchmark
from xec_deploy.bench.products import matrix_flops, product_ceiling
from xec_deploy.bench.profile import class_of
from xec_deploy.cli.bench import bench
from xec_deploy.errors import MissingExtra, UsageError
from xec_deploy.simulation import SimulationConfig, write_simulation

CPU_ENGINES = [name for name in present_backends() if name != "torch"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def report(bundle, cache, tmp_path_factory):
    del cache
    data = tmp_path_factory.mktemp("bench") / "events.root"
    write_simulation(data, SimulationConfig(seed=4), 60)
    return run_benchmark(bundle, data=[str(data)], seconds=0.0)


def test_every_engine_has_rates_and_the_best_has_a_share_of_the_ceiling(report):
    assert [item.backend for item in report.engines if item.precision == "fp32"] == CPU_ENGINES
    for engine in report.engines:
        # bf16 misses its gate, which does not make it slow.
        assert (engine.error is None) == (engine.precision == "fp32")
        assert {1, 8, 16, 32} <= {item.batch for item in engine.measurements}
        assert engine.best.events_per_s == max(item.events_per_s for item in engine.measurements)
        assert engine.ceiling_share == pytest.approx(
            engine.best.events_per_s * report.mflop / 1e3 / engine.ceiling_gflops, abs=0.002
        )
        assert sum(item.share for item in engine.op_classes) == pytest.approx(1, abs=0.01)
        assert "matrix products" in {item.name for item in engine.op_classes}
    assert report.fastest.precision == "fp32"


def test_an_inference_has_stages(report):
    assert {"read", "infer", "write", "total"} <= report.stages.keys()
    assert report.stages["events"] == 60
    assert report.stages["events_per_s"] > 0


def test_the_report_is_json(report):
    again = json.loads(json.dumps(report.to_dict()))
    assert again["bundle"]["name"] == "compact"
    assert again["engines"][0]["measurements"][0]["events_per_s"] > 0


@pytest.mark.usefixtures("cache")
def test_command_prints_a_table_or_json(bundle):
    options = [str(bundle.path), "--backend", "onnxruntime", "--seconds", "0"]
    shown = CliRunner().invoke(bench, options, catch_exceptions=False)
    assert shown.exit_code == 0
    for words in ("events/s", "GFLOP/s", "MFLOP an event", "matrix products"):
        assert words in shown.stdout
    found = CliRunner().invoke(bench, [*options, "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["engines"][0]["backend"] == "onnxruntime"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"backends": ["openvin"]}, UsageError, "openvino"),
        ({"backends": ["onnxruntime"], "precisions": ["bf16"]}, UsageError, "graphs: fp32"),
    ],
)
def test_what_cannot_be_measured_is_an_error(bundle, options, kind, message):
    pytest.importorskip("openvino")
    with pytest.raises(kind, match=message):
        run_benchmark(bundle, seconds=0.0, **options)


@pytest.mark.usefixtures("cache")
def test_exit_code_4_where_no_engine_passes(bundle):
    pytest.importorskip("openvino")
    options = [str(bundle.path), "--precision", "bf16", "--seconds", "0"]
    shown = CliRunner().invoke(bench, options, catch_exceptions=False, standalone_mode=False)
    assert shown.return_value == 4
    assert "golden events are not reproduced" in shown.stdout
    assert "GFLOP/s" in shown.stdout


@pytest.mark.usefixtures("cache")
def test_an_absent_engine_is_an_error_that_names_the_extra(bundle, without):
    without("openvino")
    with pytest.raises(MissingExtra, match=r"\[openvino\]"):
        run_benchmark(bundle, backends=["openvino"], seconds=0.0)


def test_flops_are_counted_by_hand(tmp_path):
    """A product, a Gemm and a grouped convolution of known sizes."""
    random = np.random.default_rng(0)

    def weight(name, *shape):
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["npho", "a"], ["x"]),
            helper.make_node("Gemm", ["x", "b"], ["y"], transB=1),
            helper.make_node("Reshape", ["y", "shape"], ["image"]),
            helper.make_node("Conv", ["image", "c"], ["z"], group=2),
            helper.make_node("Reshape", ["z", "flat"], ["energy"]),
        ],
        "counted",
        [helper.make_tensor_value_info("npho", TensorProto.FLOAT, ["batch", 4760])],
        [helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch", 16])],
        [
            weight("a", 4760, 8),
            weight("b", 32, 8),
            weight("c", 4, 1, 3, 3),
            numpy_helper.from_array(np.array([-1, 2, 4, 4]), "shape"),
            numpy_helper.from_array(np.array([0, -1]), "flat"),
        ],
    )
    path = tmp_path / "counted.onnx"
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), path)
    events = (np.zeros((2, 4760), np.float32), np.zeros((2, 4760), np.float32), None)
    expected = 2 * (4760 * 8 + 8 * 32 + 4 * 2 * 2 * 9)
    assert matrix_flops(path, (events[0], events[1], events[0] > 0)) == expected


def test_flops_do_not_depend_on_the_events(bundle):
    events = sample_events(bundle, 4)
    assert matrix_flops(bundle.graph(), events) == matrix_flops(
        bundle.graph(), tuple(array[2:] for array in events)
    )


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_ceiling_is_a_rate(name):
    assert product_ceiling(name, RunOptions(sessions=1, threads=1), 0.0) > 1


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("FusedMatMul", "matrix products"),
        ("FullyConnected", "matrix products"),
        ("BiasGelu", "activations"),
        ("SkipLayerNormalization", "normalisation"),
        ("MVN", "normalisation"),
        ("ReduceSum", "reductions and pooling"),
        ("NhwcFusedConv", "convolutions"),
        ("Convert", "layout and copies"),
        ("ReorderInput", "layout and copies"),
        ("QuickGelu", "activations"),
        ("Mystery", "other"),
    ],
)
def test_joined_operators_have_a_class(operator, expected):
    assert class_of(operator) == expected
