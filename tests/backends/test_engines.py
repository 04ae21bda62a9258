"""Every engine gives the same physics, however a request is cut into batches."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.backends import RunOptions, create_backend, present_backends
from xec_deploy.backends.batches import BatchRunner
from xec_deploy.bundle import compare_with_golden
from xec_deploy.errors import BundleError, CheckFailed, MissingExtra, UsageError, XecError


@pytest.mark.parametrize("name", present_backends())
def test_golden_events_in_batches_on_several_sessions(bundle, name):
    golden = bundle.golden
    options = RunOptions(batch=5, sessions=2, threads=1)
    backend = create_backend(name, bundle.graph(), options)
    outputs = backend.run(golden.npho, golden.time, golden.dead)
    compare_with_golden(bundle.manifest, golden, outputs, where=name)
    described = backend.describe()
    assert (described["name"], described["batch"], described["sessions"]) == (name, 5, 2)
    assert described["version"]
    # The same batches on one session, one after the other: the same bits.
    alone = create_backend(name, bundle.graph(), RunOptions(batch=5, sessions=1, threads=1))
    for first in range(0, len(golden), 5):
        rows = slice(first, first + 5)
        part = alone.run(golden.npho[rows], golden.time[rows], golden.dead[rows])
        for task, values in part.items():
            np.testing.assert_array_equal(values, outputs[task][rows])


@pytest.mark.parametrize("name", present_backends())
def test_no_events_give_no_rows(bundle, name):
    backend = create_backend(name, bundle.graph(), RunOptions(batch=2, threads=1))
    nothing = np.zeros((0, 4760), np.float32)
    outputs = backend.run(nothing, nothing, nothing.astype(bool))
    assert {task: values.shape for task, values in outputs.items()} == {
        "angle": (0, 2), "energy": (0, 1), "timing": (0, 1), "uvwFI": (0, 3),
    }  # fmt: skip


@pytest.mark.parametrize("name", present_backends())
def test_a_graph_that_is_none_is_refused(tmp_path, name):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=f"{name} cannot|not an ONNX file") as error:
        create_backend(name, path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("axis", "keep"), [(2, 0), (1, 0), (2, 1)])
def test_openvino_scales_sums_along_the_right_axis(tmp_path, axis, keep):
    """Its CPU plugin joins a reduction with a product of one constant an element."""
    pytest.importorskip("openvino")
    random = np.random.default_rng(3)
    scale = random.normal(size=(93, 44)[2 - axis]).astype(np.float32)
    shaped = scale.reshape((-1, 1) if axis == 2 else (1, -1)) if keep else scale
    path = tmp_path / "sums.onnx"
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["npho", "shape"], ["map"]),
            helper.make_node("ReduceSum", ["map", "axes"], ["sum"], keepdims=keep),
            helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
            helper.make_node("Reshape", ["scaled", "flat"], ["energy"]),
        ],
        "sums",
        [helper.make_tensor_value_info("npho", TensorProto.FLOAT, ["batch", 4092])],
        [helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch", len(scale)])],
        [
            numpy_helper.from_array(np.array([-1, 93, 44]), "shape"),
            numpy_helper.from_array(np.array([axis]), "axes"),
            numpy_helper.from_array(np.array([0, -1]), "flat"),
            numpy_helper.from_array(shaped, "scale"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), path)
    events = random.normal(size=(4, 4092)).astype(np.float32)
    backend = create_backend("openvino", path, RunOptions(batch=4, threads=1))
    found = backend.run(events, events, events > 0)["energy"]
    expected = events.reshape(4, 93, 44).sum(axis=axis) * scale
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_openvino_computes_in_bf16_where_asked_to(bundle):
    pytest.importorskip("openvino")
    golden = bundle.golden.head(4)
    outputs = {}
    for precision in ("fp32", "bf16"):
        options = RunOptions(batch=4, threads=1, precision=precision)
        backend = create_backend("openvino", bundle.graph(), options)
        outputs[precision] = backend.run(golden.npho, golden.time, golden.dead)["energy"]
        assert backend.describe()["arithmetic"] in {"f32", "bf16"}
    if backend.describe()["arithmetic"] == "bf16":
        assert not np.array_equal(outputs["fp32"], outputs["bf16"])


def test_an_engine_that_misses_the_gate_of_its_precision_is_refused(bundle):
    """The compact model has sums over 4760 channels, for which bf16 is too coarse."""
    pytest.importorskip("openvino")
    with pytest.raises(CheckFailed, match="golden events are not reproduced") as error:
        bundle.backend("openvino", precision="bf16", options=RunOptions(threads=1))
    assert "openvino (bf16)" in str(error.value)


def test_a_precision_the_engine_cannot_make_names_one_that_can(bundle):
    with pytest.raises(UsageError, match="--backend openvino"):
        bundle.backend("onnxruntime", precision="bf16")


def test_an_absent_engine_names_its_extra(bundle, without):
    without("openvino")
    with pytest.raises(MissingExtra, match=r"xec-deploy\[openvino\]"):
        bundle.backend("openvino")
    assert "openvino" not in present_backends()


def test_cuda_without_a_cuda_build_names_its_extra(bundle):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(MissingExtra, match=r"xec-deploy\[gpu\]"):
        bundle.backend("onnxruntime", options=RunOptions(device="cuda"))


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("onnxruntime", "tpu", "cpu, cuda"),
        ("openvino", "cuda", "Valid: cpu"),
        ("openvin", "cpu", "openvino"),
    ],
)
def test_unknown_names_say_what_there_is(bundle, name, device, message):
    with pytest.raises(UsageError, match=message):
        bundle.backend(name, options=RunOptions(device=device))


@pytest.mark.parametrize("option", ["batch", "sessions", "threads"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(UsageError, match=option):
        RunOptions(**{option: 0})


def test_batches_keep_the_order_and_the_last_is_filled_up():
    seen = []

    def session(part):
        seen.append(len(part[0]))
        return [part[0] * 2]

    events = np.arange(10.0).reshape(10, 1)
    np.testing.assert_array_equal(BatchRunner([session], 4)((events,))[0], events * 2)
    assert seen == [4, 4, 2]
    seen.clear()
    padded = BatchRunner([session, session, session], 4, pad=True)
    np.testing.assert_array_equal(padded((events,))[0], events * 2)
    assert seen == [4, 4, 4]


def test_an_error_in_a_session_reaches_the_caller_and_the_next_request_works():
    def session(part):
        if part[0].min() < 0:
            raise XecError("no")
        return [part[0]]

    runner = BatchRunner([session, session], 1)
    with pytest.raises(XecError, match="no"):
        runner((np.array([[1.0], [-1.0], [2.0], [3.0]]),))
    np.testing.assert_array_equal(runner((np.ones((3, 1)),))[0], np.ones((3, 1)))


DROPPED_BY_A_THREAD = """
import os, signal, threading
from xec_deploy.backends import RunOptions
from xec_deploy.backends.openvino_cpu import OpenVinoBackend
from xec_deploy.bundle import open_bundle, shipped_bundle
held = [OpenVinoBackend(open_bundle(shipped_bundle()).graph(), RunOptions(threads=1))]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_a_thread_has_dropped_openvino():
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    done = subprocess.run(
        [sys.executable, "-c", DROPPED_BY_A_THREAD], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
