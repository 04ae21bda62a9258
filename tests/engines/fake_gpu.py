"""A GPU and a TensorRT of Python objects, strict about what the real ones do not allow.

Work queued on a stream is done when the stream is waited for, in order, with what memory then
holds; memory is limited; everything is counted until it is freed.
"""

# ruff: noqa: ARG002, N802 - the interfaces are given

import itertools
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from xec_deploy.backends.memory import OutOfDeviceMemory
from xec_deploy.engines.driver import Buffer, NotCapturable

SENSORS = 5
SCALE = np.float32(0.5)


class Allocation:
    def __init__(self, driver, size):
        self.size, self.address = size, next(driver.addresses)
        self.array = None

    def __int__(self):
        return self.address


class Stream:
    def __init__(self, driver, number):
        self.number, self.queue, self.captured = number, [], None
        self.log = []


class Recording:
    def __init__(self, stream, work, log):
        self.stream, self.work, self.log, self.freed = stream, work, log, False

    def launch(self):
        assert not self.freed
        self.stream.log.append("launch")
        self.stream.queue.extend(self.work)

    def free(self):
        self.freed = True
        self.log.append("recording")


class FakeDriver:
    """Of one GPU; ``capturable`` is how recording goes: ``yes``, ``no`` or ``wrong``."""

    def __init__(self, capacity=10**9, capturable="yes"):
        self.free, self.capturable = capacity, capturable
        self.addresses = itertools.count(256, 256)
        self.streams, self.memory_at = {}, {}
        self.log, self.alive = [], 0
        self.local = threading.local()
        self.at_synchronize = lambda: None
        self.released = False

    @contextmanager
    def current(self):
        assert not self.released
        self.local.depth = getattr(self.local, "depth", 0) + 1
        try:
            yield
        finally:
            self.local.depth -= 1

    def _inside(self):
        assert getattr(self.local, "depth", 0) > 0, "the GPU is not current in this thread"

    def track(self, thing, name):
        self.alive += 1
        weakref.finalize(thing, self._gone, name)
        return thing

    def _gone(self, name):
        assert not self.released, f"{name} outlives the GPU's context"
        self.alive -= 1
        self.log.append(name)

    def stream(self):
        self._inside()
        stream = Stream(self, len(self.streams) + 1)
        self.streams[stream.number] = weakref.ref(stream)
        return self.track(stream, "stream")

    def handle(self, stream):
        return stream.number

    def memory(self, size):
        self._inside()
        if size > self.free:
            raise OutOfDeviceMemory(f"{size} bytes of {self.free}")
        allocation = Allocation(self, size)
        self.free -= size
        self.memory_at[allocation.address] = weakref.ref(allocation)
        weakref.finalize(allocation, self._returned, size)
        return self.track(allocation, "memory")

    def _returned(self, size):
        self.free += size

    def buffer(self, shape, dtype):
        host = np.zeros(shape, dtype)
        device = self.memory(host.nbytes)
        device.array = np.full_like(host, 1)
        return Buffer(host, device)

    def upload(self, buffer, stream):
        self._inside()
        stream.log.append("upload")
        stream.queue.append(lambda: np.copyto(buffer.device.array, buffer.host))

    def download(self, buffer, stream):
        self._inside()
        stream.log.append("download")
        stream.queue.append(lambda: np.copyto(buffer.host, buffer.device.array))

    def synchronize(self, stream):
        self._inside()
        self.at_synchronize()
        while stream.queue:
            stream.queue.pop(0)()

    def record(self, stream, work):
        if self.capturable == "no":
            raise NotCapturable("operation not permitted when stream is capturing")
        stream.captured = []
        work()
        recorded, stream.captured = stream.captured, None
        if self.capturable == "wrong":
            recorded = []
        return Recording(stream, recorded, self.log)

    def at(self, address):
        return self.memory_at[address]().array

    def release(self):
        assert self.alive == 0, f"{self.alive} things left: {self.log}"
        self.released = True
        self.log.append("gpu")


class Context:
    def __init__(self, driver, engine):
        self.driver, self.engine = driver, engine
        self.shapes, self.addresses, self.has_memory, self.ran = {}, {}, False, False
        self.profile = None

    def set_optimization_profile_async(self, index, handle):
        self.profile = index
        return 0 <= index < len(self.engine.profiles)

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.profiles[self.profile]
        self.shapes[name] = shape
        return low <= shape[0] <= high

    def update_device_memory_size_for_shapes(self):
        return 1000 * self.shapes["npho"][0]

    def set_device_memory(self, address, size):
        assert size >= self.update_device_memory_size_for_shapes()
        self.has_memory = True

    def get_tensor_shape(self, name):
        return self.shapes["npho"] if name != "energy" else (self.shapes["npho"][0], 1)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        assert self.has_memory
        stream = self.driver.streams[handle]()
        if self.engine.fails:
            self.engine.logger.log(SimpleNamespace(name="ERROR"), self.engine.fails)
            return False
        if stream.captured is not None:
            assert self.ran, "the first batch allocates, which cannot be recorded"
            stream.captured.append(self._compute)
            return True
        self.ran = True
        stream.log.append("execute")
        stream.queue.append(self._compute)
        return True

    def _compute(self):
        npho, dead = (self.driver.at(self.addresses[name]) for name in ("npho", "dead"))
        live = np.where(dead, np.float32(0), npho)
        self.driver.at(self.addresses["energy"])[:] = live.sum(axis=1, keepdims=True) * SCALE


class Engine:
    def __init__(self, driver, logger, profiles, contexts):
        self.driver, self.logger, self.profiles = driver, logger, profiles
        self.contexts, self.fails = contexts, None
        self.num_io_tensors = 4

    def get_tensor_name(self, index):
        return ("npho", "time", "dead", "energy")[index]

    def get_tensor_mode(self, name):
        return "output" if name == "energy" else "input"

    def get_tensor_dtype(self, name):
        return "bool" if name == "dead" else "float"

    def get_tensor_shape(self, name):
        return (-1, 1) if name == "energy" else (-1, SENSORS)

    def create_execution_context(self, strategy):
        assert strategy == "user"
        if self.contexts is not None and self.contexts <= 0:
            self.logger.log(SimpleNamespace(name="ERROR"), "OutOfMemory: no context")
            return None
        return self.driver.track(Context(self.driver, self), "context")


def fake_tensorrt(driver, profiles, *, refuses=None, fails=None, contexts=None):
    """Return a module with the part of TensorRT's Python API that the runner uses."""

    class Runtime:
        def __init__(self, logger):
            self.logger = logger
            driver.track(self, "runtime")

        def deserialize_cuda_engine(self, content):
            if refuses:
                self.logger.log(SimpleNamespace(name="ERROR"), refuses)
                return None
            engine = Engine(driver, self.logger, profiles, contexts)
            engine.fails = fails
            return driver.track(engine, "engine")

    class Logger:
        pass

    return SimpleNamespaceHashable(
        __version__="10.99",
        ILogger=Logger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="input"),
        DataType=SimpleNamespace(FLOAT="float", HALF="half", BOOL="bool"),
        ExecutionContextAllocationStrategy=SimpleNamespace(STATIC="static", USER_MANAGED="user"),
        IExecutionContext=Context,
    )


class SimpleNamespaceHashable(SimpleNamespace):
    __hash__ = object.__hash__


class DriverFunctions:
    """Functions of the CUDA driver, which note that they were called."""

    def _note(self, name):
        self.calls.append(name)
        return self.code if name == self.failing else 0

    def __init__(self, calls, failing=None):
        self.calls, self.failing, self.code = calls, failing, 901

    def cuStreamBeginCapture_v2(self, stream, mode):
        assert (stream.value, mode.value) == (7, 1)
        return self._note("begin")

    def cuStreamEndCapture(self, stream, graph):
        graph._obj.value = 11
        return self._note("end")

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):
        assert (graph.value, flags.value) == (11, 0)
        executable._obj.value = 13
        return self._note("instantiate")

    def cuGraphLaunch(self, executable, stream):
        assert (executable.value, stream.value) == (13, 7)
        return self._note("launch")

    def cuGraphExecDestroy(self, executable):
        return self._note("destroy executable")

    def cuGraphDestroy(self, graph):
        return self._note("destroy graph")

    def cuGetErrorName(self, code, name):
        name._obj.value = b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
        return 0
