"""Write a small bundle that fills dead channels: ``make_inpainter.py OUT.xec``.

Dead channels get the mean of the live ones, so that a test can compute what to expect.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from xec_deploy.bundle import DeadChannelPolicy, GoldenEvents, Manifest, write_bundle
from xec_deploy.detector import N_SENSORS
from xec_deploy.normalisation import Normalisation

MANIFEST = Manifest(
    kind="inpainter",
    name="mean",
    producer="test",
    layout="physical",
    normalisation=Normalisation(npho_scheme="linear", npho_scale=1.0),
    tasks={},
    dead_channels=DeadChannelPolicy(max_dead=N_SENSORS - 1),
)


def graph() -> onnx.ModelProto:
    """Return the graph: npho, time, dead -> npho_filled."""

    def port(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", N_SENSORS])

    nodes = [
        helper.make_node("Cast", ["dead"], ["dead_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "dead_float"], ["live"]),
        helper.make_node("Where", ["dead", "zero", "npho"], ["live_npho"]),
        helper.make_node("ReduceSum", ["live_npho", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceSum", ["live", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Where", ["dead", "mean", "npho"], ["npho_filled"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "mean",
            [
                port("npho", TensorProto.FLOAT),
                port("time", TensorProto.FLOAT),
                port("dead", TensorProto.BOOL),
            ],
            [port("npho_filled", TensorProto.FLOAT)],
            [
                helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
                helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "xec.manifest", MANIFEST.without_hashes().model_dump_json()
    return model


def golden() -> GoldenEvents:
    """Return eight events and what the graph makes of them."""
    random = np.random.default_rng(1)
    npho = random.exponential(300, (8, N_SENSORS)).astype(np.float32)
    time = random.normal(5e-8, 2e-8, npho.shape).astype(np.float32)
    dead = random.random(npho.shape) < 0.05
    mean = np.where(dead, 0, npho).sum(axis=1, dtype=np.float64) / (~dead).sum(axis=1)
    filled = np.where(dead, mean[:, None], npho.astype(np.float64))
    return GoldenEvents(npho, time, dead, {"npho_filled": filled})


def main(output: str) -> None:
    """Write the bundle."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "fp32.onnx"
        onnx.save(graph(), path)
        write_bundle(Path(output), MANIFEST, {"fp32": path}, golden())


if __name__ == "__main__":
    main(sys.argv[1])
