"""Bound buffers of ONNX Runtime, on the processor's memory where there is no GPU."""

import ctypes
import gc
import threading

import numpy as np
import pytest

from xec_deploy.backends import RunOptions
from xec_deploy.backends.batches import BatchRunner
from xec_deploy.backends.memory import OutOfDeviceMemory
from xec_deploy.backends.onnxruntime_cpu import load_session, session_options
from xec_deploy.backends.onnxruntime_cuda import BoundSession
from xec_deploy.backends.pinned import pinned_empty
from xec_deploy.bundle import compare_with_golden
from xec_deploy.bundle.engine import find_graph
from xec_deploy.errors import InferenceError, UsageError
from xec_deploy.tensorrt.device import gpu_capability


@pytest.fixture(scope="module")
def loaded(bundle):
    return load_session(bundle.graph(), session_options(1, "fp32"), "CPUExecutionProvider")


@pytest.mark.parametrize("one_thread", [True, False])
def test_bound_buffers_reproduce_the_golden_events(bundle, loaded, one_thread):
    golden = bundle.golden
    sessions = [
        BoundSession(loaded, 5, 0, "g.onnx", one_thread=one_thread, device="cpu") for _ in "ab"
    ]
    values = BatchRunner([session.run for session in sessions], 5, pad=True)(
        (golden.npho, golden.time, golden.dead)
    )
    outputs = dict(zip(sessions[0].outputs, values, strict=True))
    assert sessions[0].inputs == ["npho", "time", "dead"]
    assert sessions[0].device_seconds(1) > 0
    compare_with_golden(bundle.manifest, golden, outputs, where="bound")


def test_a_recording_thread_stays_the_same(loaded):
    session = BoundSession(loaded, 2, 0, "g.onnx", one_thread=True, device="cpu")
    seen = set()
    inner = session._run_here

    def run(part):
        seen.add(threading.current_thread().name)
        return inner(part)

    session._run_here = run
    threads = [threading.Thread(target=session.run, args=(session.example(1),)) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.run(session.example(2))
    assert len(seen) == 1


@pytest.mark.parametrize("one_thread", [True, False])
def test_a_run_that_is_not_recorded_gives_the_same(loaded, one_thread):
    session = BoundSession(loaded, 2, 0, "g.onnx", one_thread=one_thread, device="cpu")
    example = session.example(1)
    for plain, usual in zip(session.run_plainly(example), session.run(example), strict=True):
        np.testing.assert_array_equal(plain, usual)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("[ONNXRuntimeError] : 1 : BFCArena::AllocateRawInternal Failed to allocate memory",
         OutOfDeviceMemory),
        ("[ONNXRuntimeError] : 1 : FAIL : CUBLAS failure 13", InferenceError),
    ],
)  # fmt: skip
def test_no_memory_is_told_from_other_failures(loaded, message, error):
    session = BoundSession(loaded, 2, 0, "g.onnx", device="cpu")

    def fail(*_):
        raise Exception(message)  # noqa: TRY002 - as the library does

    session._loaded = type("Session", (), {"run_with_iobinding": staticmethod(fail)})
    with pytest.raises(error, match="ONNXRuntimeError"):
        session.run(session.example(1))
    # Once it has run, a user hears of either as of any failure.
    with pytest.raises(InferenceError, match="batch of 2"):
        session.run_or_fail(session.example(1))


def test_tf32_is_made_of_the_fp32_graph_on_a_gpu_alone(bundle):
    assert find_graph(bundle, "onnxruntime", "tf32", "cuda", None) == bundle.graph()
    with pytest.raises(UsageError, match="no 'tf32' graph"):
        find_graph(bundle, "onnxruntime", "tf32", "cpu", None)


class Driver:
    """Functions of the CUDA driver, and what is registered."""

    def __init__(self, *, refuses=None):
        self.refuses, self.registered, self.depth = refuses, {}, 0

    def _code(self, name):
        return 1 if self.refuses == name else 0

    def cuInit(self, _):  # noqa: N802
        return self._code("init")

    def cuDeviceGet(self, handle, device):  # noqa: N802
        handle._obj.value = device
        return 0 if device < 2 else 101

    def cuDevicePrimaryCtxRetain(self, context, handle):  # noqa: N802
        context._obj.value = 77 + handle.value
        return 0

    def cuCtxPushCurrent_v2(self, context):  # noqa: N802
        assert context.value == 78
        self.depth += 1
        return 0

    def cuCtxPopCurrent_v2(self, _):  # noqa: N802
        self.depth -= 1
        return 0

    def cuMemHostRegister_v2(self, address, length, flags):  # noqa: N802
        assert address.value % 4096 == length.value % 4096 == 0
        assert flags.value == 1
        if self.refuses != "register":
            self.registered[address.value] = length.value
        return self._code("register")

    def cuMemHostUnregister(self, address):  # noqa: N802
        del self.registered[address.value]
        return 0


def test_pinned_memory_is_whole_pages_that_go_with_the_array():
    driver = Driver()
    array, pinned = pinned_empty((3, 4760), np.float32, 1, driver)
    assert pinned
    ((address, length),) = driver.registered.items()
    assert array.shape == (3, 4760)
    assert address == array.ctypes.data
    assert length >= array.nbytes
    array[:] = 1
    part = array[1:]
    del array
    gc.collect()
    assert driver.registered
    assert ctypes.c_float.from_address(address).value == 1
    del part
    gc.collect()
    assert not driver.registered
    assert driver.depth == 0


@pytest.mark.parametrize("refuses", ["init", "register"])
def test_memory_that_cannot_be_pinned_is_memory(refuses):
    array, pinned = pinned_empty((2, 3), np.bool_, 1, Driver(refuses=refuses))
    assert (array.shape, array.dtype, pinned) == ((2, 3), np.bool_, False)
    assert not pinned_empty((2, 3), np.bool_, 2, Driver())[1]


@pytest.mark.gpu
@pytest.mark.skipif(gpu_capability() is None, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("sessions", "graphs"), [(1, True), (1, False), (2, True)])
def test_onnxruntime_on_a_gpu_reproduces_the_golden_events(bundle, sessions, graphs):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA")
    options = RunOptions("cuda", batch=5, sessions=sessions, cuda_graphs=graphs)
    backend = bundle.backend("onnxruntime", options=options)
    golden = bundle.golden
    outputs = backend.run(golden.npho, golden.time, golden.dead)
    compare_with_golden(bundle.manifest, golden, outputs, where="onnxruntime on cuda")
