"""The types an engine computes in, from lists of layers as TensorRT writes them."""

import pytest

from xec_deploy.engines import summarise_layers
from xec_deploy.engines.layers import proof_of


def tensor(name, sizes, kind, described="Datatype: {}, Format: (Linear) Row major linear format"):
    dimensions = ",".join(map(str, sizes))
    return f"{{ Name: {name}, Dimensions: [{dimensions}], {described.format(kind)} }}"


def layer(name, kind, inputs, constants=()):
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(inputs)}], "
        f"Constants: [ {', '.join(constants)}], Outputs: [ {tensor('y', (-1, 8), 'Float')}], "
        "TacticName: , StreamId: 0, Metadata: [ONNX Layer: a][ONNX Layer: b]"
    )


def listed(*layers):
    return "\n".join(["Layers:", *layers, "", "I/O Tensors:", " Name: x, IOMode: Input"])


CAST = layer("__myl_Cast_1", "kgen", [tensor("x", (-1, 64), "Float")])


def product(kind, name="mm_2", layer_type="gemm"):
    return layer(
        name,
        layer_type,
        [tensor("x", (-1, 64), kind)],
        [tensor("w", (64, 8), kind), tensor("alpha", (1,), "Float")],
    )


def test_matrix_layers_are_counted_by_the_type_they_multiply():
    fused = product("Float", "__myl_FcAddDivErf_3", "runtime_fusion")
    summary = summarise_layers(listed(CAST, product("Int8"), product("Half"), fused), "builder")
    assert summary.layers == 4
    assert summary.matrix == {"fp16": 1, "fp32": 1, "int8": 1}
    assert summary.weights == {"fp16": 512, "fp32": 512, "int8": 512}
    assert summary.share("int8") == pytest.approx(1 / 3)
    assert summary.other == {"fp32": 1}
    assert summary.source == "builder"


def test_descriptions_of_version_10_are_read():
    spelling = "Format/Datatype: Row major linear FP16 format"
    line = layer("conv1 + relu1", "CaskConvolution", [tensor("x", (1, 3, 9, 9), "", spelling)])
    described = 'ParameterType: Convolution, Weights: {"Type": "Half", "Count": 9408}, TacticName'
    summary = summarise_layers(line.replace("TacticName", described), "inspector")
    assert summary.matrix == {"fp16": 1}
    assert summary.weights == {"fp16": 9408}
    pooled = layer("pool1", "CaskPooling", [tensor("x", (1, 3, 9, 9), "", spelling)])
    assert summarise_layers(pooled, "inspector").other == {"fp16": 1}


@pytest.mark.parametrize(
    ("layers", "precision", "problem"),
    [
        ([CAST, product("Float")], "fp32", None),
        ([CAST, product("Half")], "fp32", "layers in fp16 in an fp32 engine"),
        ([CAST, product("Half"), product("Float")], "fp16", None),
        ([CAST, product("Float")], "fp16", "no matrix layer computes in fp16"),
        ([CAST, product("BFloat16")], "bf16", None),
        ([CAST, product("Half")], "int8", "no matrix layer computes in int8"),
        ([], "fp32", "no layer states its type"),
        ([layer("q", "kgen", [tensor("x", (-1, 64), "Int8")])], "fp32", "layers in int8"),
    ],
)
def test_an_engine_is_in_its_precision_or_not(layers, precision, problem):
    found = proof_of(summarise_layers(listed(*layers), "builder"), precision)
    if problem is None:
        assert found is None
    else:
        assert problem in found
