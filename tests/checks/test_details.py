"""What single checks look at beyond their first example."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from xec_deploy.bundle import shipped_bundle
from xec_deploy.checks import run_checks
from xec_deploy.checks.structure import SOURCE_PATH
from xec_deploy.errors import BundleError, UsageError


@pytest.fixture
def found(graphs, tmp_path):
    """Messages of one check on one graph."""

    def run(check_id, made, name="small"):
        (graph,) = run_checks(graphs.save(made, tmp_path, name), [check_id]).graphs
        return [finding.message for finding in graph.result(check_id).findings]

    return run


def test_private_domains_and_functions_are_named(graphs, found):
    made = graphs.through(graphs.node("Gelu", ["sum"], ["changed"], domain="com.microsoft"))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    made.functions.append(
        helper.make_function(
            "local", "Twice", ["x"], ["y"], [graphs.node("Add", ["x", "x"], ["y"])],
            [helper.make_opsetid("", 20)],
        )
    )  # fmt: skip
    messages = found("E03", made)
    assert any("imports the domain 'com.microsoft'" in message for message in messages)
    assert any("is of domain 'com.microsoft'" in message for message in messages)
    assert any("'Twice'" in message for message in messages)


def test_a_graph_without_a_manifest_is_told_apart(graphs, found):
    assert found("E05", graphs.model(described=False)) == [
        "the metadata has no valid manifest ('xec.manifest')"
    ]


def test_types_and_shapes_of_the_interface(graphs, found):
    given = [
        graphs.value("npho", TensorProto.DOUBLE),
        graphs.value("time", shape=("batch", 4092)),
        graphs.value("dead", TensorProto.BOOL, ("batch", 4760, 1)),
    ]
    nodes = [graphs.node("ReduceSum", ["time", "one"], ["energy"], keepdims=1)]
    messages = found("E05", graphs.model(nodes, given=given))
    assert messages == [
        "is DOUBLE, the contract has FLOAT",
        "has shape (batch, 4092), the contract has (batch, 4760)",
        "has shape (batch, 4760, 1), the contract has (batch, 4760)",
    ]


def test_each_kind_of_graph_has_its_own_outputs(graphs, found):
    nodes = [graphs.node("Where", ["dead", "zero", "npho"], ["npho_filled"])]
    filler = graphs.model(nodes, given=graphs.inputs(), results=[graphs.value("npho_filled")])
    assert "output 'energy' is missing" in found("E05", filler)
    described = graphs.manifest(kind="inpainter", tasks={})
    filler.metadata_props[0].value = described.model_dump_json()
    assert found("E05", filler) == []
    legacy = graphs.model(
        [
            graphs.node("ReduceSum", ["input", "axes"], ["flat"], keepdims=0),
            graphs.node("Unsqueeze", ["flat", "one"], ["output_energy"]),
        ],
        [graphs.constant("axes", np.int64([1, 2]))],
        given=[graphs.value("input", shape=("batch", 4760, 2))],
        results=[graphs.value("output_energy", shape=("batch", 1))],
    )
    legacy.metadata_props[0].value = graphs.manifest(io="legacy").model_dump_json()
    assert found("E05", legacy) == []


def test_batches_of_different_names(graphs, found):
    given = graphs.inputs()
    given[1] = graphs.value("time", shape=("events", 4760))
    assert "different names" in found("E06", graphs.model(list(graphs.model().graph.node),
                                                          given=given))[0]  # fmt: skip


def test_operators_inside_branches_are_seen(graphs, found):
    def branch(operator):
        node = helper.make_node(operator, ["sum"], ["result"], f"inner_{operator}")
        return helper.make_graph([node], operator, [], [graphs.value("result", shape=None)])

    made = graphs.through(
        graphs.node("If", ["bright"], ["changed"],
                    then_branch=branch("Relu"), else_branch=branch("Det"))
    )  # fmt: skip
    graphs.with_constants(made, bright=np.bool_(True))
    messages = found("E09", made)
    assert any("control flow" in message for message in messages)
    assert any("no kernel" in message for message in messages)


def test_an_operator_nobody_tried_is_refused(graphs, found):
    made = graphs.through(graphs.node("StringNormalizer", ["sum"], ["changed"]))
    assert "not on the list" in found("E09", made)[0]


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("weights.bin", "in another file"),
        ("../weights.bin", "outside the bundle"),
        ("/etc/passwd", "outside the bundle"),
        (r"C:\weights.bin", "outside the bundle"),
        (r"..\weights.bin", "outside the bundle"),
    ],
)
def test_where_external_data_lies(graphs, found, location, where):
    made = graphs.with_constants(graphs.model(), outside=np.ones(3, np.float32))
    tensor = made.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    assert where in found("E14", made)[0]


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ('File "model.py", line 3', True),
        ("lib/models/regressor.py:202", True),
        ("/home/someone/model", True),
        (r"C:\Users\someone", True),
        ("/backbone/stem/stem.0/Conv", False),
        ("node_linear_3", False),
        ("a ratio of npho/time", False),
    ],
)
def test_what_counts_as_a_source_path(text, is_path):
    assert bool(SOURCE_PATH.search(text)) is is_path


def test_a_graph_named_fp16_must_have_halves(graphs, found):
    assert "no 16-bit tensor" in found("E16", graphs.model(), "fp16")[0]
    half = graphs.through(
        graphs.node("Cast", ["sum"], ["half"], to=TensorProto.FLOAT16),
        graphs.node("Relu", ["half"], ["kept"]),
        graphs.node("Cast", ["kept"], ["changed"], to=TensorProto.FLOAT),
    )
    assert found("E16", half, "fp16") == []


def quantised(graphs, *, element=np.int8, point=0, step=0.1, weight=None, axis=1):
    """Activations and the weight of a MatMul through Q/DQ pairs."""
    weight = np.float32([[0.5, 0.25]]) if weight is None else np.float32(weight)
    made = graphs.through(
        graphs.node("QuantizeLinear", ["sum", "step", "point"], ["q"], "q_sum"),
        graphs.node("DequantizeLinear", ["q", "step", "point"], ["x"], "dq_sum"),
        graphs.node("DequantizeLinear", ["w", "steps", "points"], ["y"], "dq_w", axis=axis),
        graphs.node("MatMul", ["x", "y"], ["z"], "product"),
        graphs.node("ReduceSum", ["z", "one"], ["changed"], "join", keepdims=1),
    )
    return graphs.with_constants(
        made,
        step=np.float32(step),
        point=element(point),
        w=np.ones((1, 2), np.int8),
        steps=np.resize(weight, made_length := (2 if axis == 1 else 1)),
        points=np.zeros(made_length, np.int8),
    )


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({}, "int8-trt", None),
        ({"element": np.uint8, "point": 128}, "int8-cpu", None),
        ({"element": np.uint8, "point": 128}, "int8-trt", "is uint8"),
        ({"point": 5}, "int8-cpu", "zero point 5"),
        ({"step": 0.0}, "int8-trt", "finite and positive"),
        ({"step": np.nan}, "int8-cpu", "finite and positive"),
        ({"axis": 0}, "int8-trt", "MatMul 'product' needs them along its output axis 1"),
    ],
)
def test_pairs_of_both_targets(graphs, found, change, name, message):
    messages = found("E17", quantised(graphs, **change), name)
    if message is None:
        assert messages == []
    else:
        assert any(message in text for text in messages), messages


def test_quantised_biases_and_missing_pairs(graphs, found):
    made = graphs.through(
        graphs.node("DequantizeLinear", ["bias", "step"], ["b"], "dq_bias"),
        graphs.node("Add", ["sum", "b"], ["changed"]),
    )
    graphs.with_constants(made, bias=np.int32([7]), step=np.float32(0.1))
    assert any("int32" in message for message in found("E17", made, "int8-trt"))
    assert found("E17", made, "int8-cpu") == []
    assert "no Q/DQ pair" in found("E17", graphs.model(), "int8-cpu")[0]


def test_scales_that_do_not_fit_their_tensor(graphs, found):
    made = quantised(graphs)
    for tensor in made.graph.initializer:
        if tensor.name in {"steps", "points"}:
            array = np.ones(3, np.float32) if tensor.name == "steps" else np.zeros(3, np.int8)
            tensor.CopyFrom(graphs.constant(tensor.name, array))
    assert any("3 scales for the 2 channels" in message for message in found("E17", made))


def test_shape_arithmetic_is_no_index_arithmetic(graphs, found):
    made = graphs.through(
        graphs.node("Shape", ["sum"], ["shape"]),
        graphs.node("Mul", ["shape", "one"], ["same"]),
        graphs.node("Reshape", ["sum", "same"], ["changed"]),
    )
    assert found("W18", made) == []


def test_events_that_leak_into_their_neighbours(graphs, found):
    made = graphs.through(
        graphs.node("ReduceMean", ["sum", "first"], ["mean"], "mean", keepdims=1),
        graphs.node("Sub", ["sum", "mean"], ["changed"]),
    )
    graphs.with_constants(made, first=np.int64([0]))
    messages = found("E19", made)
    assert len(messages) == 3
    assert "batches of 1 and 64 differ by" in messages[0]
    assert "detector sigma" in messages[0]


class ScatteringHexConv(torch.nn.Module):
    """A convolution on the hexagonal faces as the research code has it: sums by scattering."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.weight = torch.nn.Parameter(torch.rand(7, 8, generator=random))
        self.register_buffer("source", torch.randint(0, 73, (431,), generator=random))
        self.register_buffer("destination", torch.randint(0, 73, (431,), generator=random))
        self.register_buffer("kind", torch.randint(0, 7, (431,), generator=random))

    def forward(self, x):
        message = x[:, self.source] * self.weight[self.kind]
        index = self.destination[None, :, None].expand(x.shape[0], -1, x.shape[2])
        return torch.zeros_like(x).scatter_add(1, index, message)


@pytest.mark.filterwarnings("ignore")
def test_tensorrt_refuses_the_hexagonal_convolution_of_the_research_exporter(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "research.onnx"
    torch.onnx.export(
        ScatteringHexConv().eval(),
        (torch.zeros(2, 73, 8),),
        path,
        input_names=["input"],
        output_names=["output"],
        opset_version=20,
        dynamo=True,
        dynamic_shapes=[{0: torch.export.Dim("batch")}],
        external_data=False,
        verbose=False,
    )
    (graph,) = run_checks(path).graphs
    (refused,) = graph.result("E20").findings
    assert refused.operator == "ScatterElements"
    assert refused.node == "node_scatter_add"
    assert "Unsupported reduction type" in refused.message
    # And what else is wrong with it: the order of the sums, the interface, the call stacks.
    failed = {result.id for result in graph.results if result.status == "failed"}
    assert failed == {"E05", "E09", "E15", "E20"}


def test_without_tensorrt_the_parser_is_skipped_and_the_extra_named(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    (graph,) = run_checks(shipped_bundle(), ["E20"]).graphs
    assert graph.result("E20").status == "skipped"
    assert "xec-deploy[rtx]" in graph.result("E20").skipped
    assert graph.passed


def test_a_wrong_canonical_hash_is_found(tmp_path):
    copy = shutil.copytree(shipped_bundle(), tmp_path / "copy.xec")
    content = json.loads((copy / "manifest.json").read_text())
    content["graphs"]["fp32"]["canonical_sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(content))
    report = run_checks(copy, ["E21"])
    assert not report.passed
    ((graph, result),) = report.errors
    assert graph.file == "fp32.onnx"
    assert "recorded 0000" in result.findings[0].message


def test_checks_after_an_invalid_graph_are_skipped_with_the_reason(graphs, tmp_path):
    made = graphs.through(graphs.node("Relu", ["nowhere"], ["changed"]))
    (graph,) = run_checks(graphs.save(made, tmp_path)).graphs
    assert graph.result("E01").status == "failed"
    assert "E01" in (graph.result("E08").skipped or "E01")
    assert graph.result("E03").status == "passed"


def test_unknown_ids_and_graphs_name_the_valid_ones(tmp_path):
    with pytest.raises(UsageError, match=r"'E99'.*E20"):
        run_checks(shipped_bundle(), ["E99"])
    with pytest.raises(UsageError, match=r"'fp61'.*fp32"):
        run_checks(shipped_bundle(), graphs=["fp61"])
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    with pytest.raises(BundleError, match="not an ONNX file"):
        run_checks(text)
