"""Every check fails the graph it protects from, says where, and passes a good one."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from xec_deploy.bundle import shipped_bundle
from xec_deploy.checks import CHECKS, run_checks, static_checks

FLOAT = TensorProto.FLOAT


def invalid(graphs):
    return graphs.through(graphs.node("Relu", ["nowhere"], ["changed"]))


def untyped(graphs):
    # Of a domain that inference knows nothing of.
    made = graphs.through(graphs.node("Mystery", ["sum"], ["changed"], domain="private"))
    made.opset_import.append(helper.make_opsetid("private", 1))
    return made


def old_operators(graphs):
    return graphs.model(opset=17)


def new_format(graphs):
    return graphs.model(ir=11)


def normalised_input(graphs):
    """What a user sees who exports a research regressor by hand."""
    nodes = [
        graphs.node("ReduceSum", ["input", "axes"], ["flat"], keepdims=0),
        graphs.node("Unsqueeze", ["flat", "one"], ["output_energy"]),
    ]
    return graphs.model(
        nodes,
        [graphs.constant("axes", np.int64([1, 2]))],
        given=[graphs.value("input", shape=("batch", 4760, 2))],
        results=[graphs.value("output_energy", shape=("batch", 1))],
        described=False,
    )


def frozen_batch(graphs):
    given = [graphs.value(v.name, v.type.tensor_type.elem_type, (2, 4760)) for v in graphs.inputs()]
    return graphs.model(list(graphs.model().graph.node), given=given)


def free_width(graphs):
    given = [
        graphs.value(v.name, v.type.tensor_type.elem_type, ("batch", "width"))
        for v in graphs.inputs()
    ]
    return graphs.model(list(graphs.model().graph.node), given=given)


def float64(graphs):
    return graphs.through(
        graphs.node("Cast", ["sum"], ["double"], to=TensorProto.DOUBLE),
        graphs.node("Cast", ["double"], ["changed"], "back", to=FLOAT),
    )


def data_dependent(graphs):
    return graphs.through(
        graphs.node("NonZero", ["sum"], ["found"]),
        graphs.node("Cast", ["found"], ["numbers"], "cast", to=FLOAT),
        graphs.node("ReduceMean", ["numbers"], ["mean"], "mean", keepdims=0),
        graphs.node("Add", ["sum", "mean"], ["changed"], "add"),
    )


def training_mode(graphs):
    one = np.ones(1, np.float32)
    made = graphs.through(
        graphs.node("BatchNormalization", ["sum", "g", "b", "m", "v"], ["changed", "m2", "v2"],
             training_mode=1),
    )  # fmt: skip
    return graphs.with_constants(made, g=one, b=one, m=one, v=one)


def unfolded(graphs):
    made = graphs.through(
        graphs.node("Add", ["one_half", "one_half"], ["whole"]),
        graphs.node("Mul", ["sum", "whole"], ["changed"], "mul"),
    )
    return graphs.with_constants(made, one_half=np.float32(0.5))


def infinite(graphs):
    made = graphs.through(graphs.node("Mul", ["sum", "spoilt"], ["changed"]))
    return graphs.with_constants(made, spoilt=np.float32([np.inf]))


def stored_twice(graphs):
    made = graphs.through(
        graphs.node("MatMul", ["live", "first"], ["a"]),
        graphs.node("MatMul", ["live", "second"], ["b"]),
        graphs.node("Add", ["a", "b"], ["changed"]),
    )
    return graphs.with_constants(
        made, first=np.ones((4760, 1), np.float32), second=np.ones((4760, 1), np.float32)
    )


def external(graphs):
    made = graphs.through(graphs.node("Mul", ["sum", "outside"], ["changed"]))
    made.graph.initializer.append(graphs.constant("outside", np.float32([1])))
    tensor = made.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    return made


def source_path(graphs):
    made = graphs.model()
    made.graph.node[0].metadata_props.add(
        key="pkg.torch.onnx.stack_trace", value='File "/home/user/lib/model.py", line 3, in forward'
    )
    return made


def half_sum(graphs):
    return graphs.through(
        graphs.node("Cast", ["live"], ["half"], "down", to=TensorProto.FLOAT16),
        graphs.node("ReduceSum", ["half", "one"], ["half_sum"]),
        graphs.node("Cast", ["half_sum"], ["changed"], "up", to=FLOAT),
    )


def shifted_zero(graphs):
    made = graphs.through(
        graphs.node("QuantizeLinear", ["sum", "step", "point"], ["q"]),
        graphs.node("DequantizeLinear", ["q", "step", "point"], ["changed"]),
    )
    return graphs.with_constants(made, step=np.float32(0.1), point=np.int8(3))


def index_arithmetic(graphs):
    return graphs.through(
        graphs.node("ArgMax", ["live"], ["brightest"], axis=1),
        graphs.node("Cast", ["brightest"], ["number"], "cast", to=FLOAT),
        graphs.node("Add", ["sum", "number"], ["changed"], "add"),
    )


def baked_batch(graphs):
    made = graphs.through(graphs.node("Reshape", ["sum", "two"], ["changed"]))
    return graphs.with_constants(made, two=np.int64([2, 1]))


def scattered(graphs):
    made = graphs.through(
        graphs.node(
            "ScatterElements", ["live", "where", "live"], ["spread"], axis=1, reduction="add"
        ),
        graphs.node("ReduceSum", ["spread", "one"], ["changed"], "again", keepdims=1),
    )
    return graphs.with_constants(made, where=np.zeros((1, 4760), np.int64))


FAILING = {
    "E01": (invalid, "nowhere"),
    "E02": (untyped, "no inferred type"),
    "E03": (old_operators, "operator set 17"),
    "E04": (new_format, "IR version 11"),
    "E05": (normalised_input, "'npho' is missing"),
    "E06": (frozen_batch, "frozen at 2"),
    "E07": (free_width, "axis 1 is dynamic"),
    "E08": (float64, "float64"),
    "E09": (data_dependent, "depends on the data"),
    "E10": (training_mode, "training mode"),
    "E11": (unfolded, "could be a constant"),
    "E12": (infinite, "1 of 1 values are not finite"),
    "W13": (stored_twice, "stored 2 times"),
    "E14": (external, "outside the bundle"),
    "E15": (source_path, "model.py"),
    "E16": (half_sum, "FLOAT16"),
    "E17": (shifted_zero, "zero point 3"),
    "W18": (index_arithmetic, "int64"),
    "E19": (baked_batch, "batch of"),
    "E20": (scattered, "reduction"),
}


def test_all_checks_are_there_and_the_list_below_has_them_all():
    assert list(CHECKS) == [
        *("E01", "E02", "E03", "E04", "E05", "E06", "E07", "E08", "E09", "E10", "E11", "E12"),
        *("W13", "E14", "E15", "E16", "E17", "W18", "E19", "E20", "E21"),
    ]
    assert set(FAILING) | {"E21"} == set(CHECKS)
    assert set(CHECKS) - set(static_checks()) == {"E19", "E20"}


@pytest.fixture(scope="module")
def shipped():
    return run_checks(shipped_bundle())


@pytest.fixture(scope="module")
def small(tmp_path_factory, graphs):
    return run_checks(graphs.save(graphs.model(), tmp_path_factory.mktemp("good")))


@pytest.mark.parametrize("check_id", CHECKS)
def test_good_graphs_pass(shipped, small, check_id):
    if check_id == "E20":
        pytest.importorskip("tensorrt_rtx")
    for report in (shipped, small):
        (graph,) = report.graphs
        result = graph.result(check_id)
        assert not result.findings
        assert result.status in ({"passed"} if check_id not in {"E16", "E17", "E21"} else
                                 {"passed", "skipped"})  # fmt: skip
    assert shipped.passed
    assert small.passed


@pytest.mark.parametrize("check_id", FAILING)
def test_the_graph_it_protects_from_fails(tmp_path, graphs, check_id):
    if check_id == "E20":
        pytest.importorskip("tensorrt_rtx")
    build, message = FAILING[check_id]
    (graph,) = run_checks(graphs.save(build(graphs), tmp_path), [check_id]).graphs
    (result,) = graph.results
    assert result.status == ("failed" if check_id.startswith("E") else "warned")
    assert any(message in finding.message for finding in result.findings), result.findings
