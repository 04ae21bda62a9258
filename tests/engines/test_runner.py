"""The pipeline on a GPU, on one of Python objects: order, memory, recorded graphs, errors."""

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from xec_deploy.backends import RunOptions
from xec_deploy.backends.batches import BatchRunner
from xec_deploy.engines import EngineManifest, EngineOptions
from xec_deploy.engines.driver import NotCapturable
from xec_deploy.engines.find import FoundEngine
from xec_deploy.engines.graphs import record_stream
from xec_deploy.engines.layers import LayerSummary
from xec_deploy.engines.profiles import choose_profile, next_smaller, usual_batch
from xec_deploy.engines.runner import EngineRunner
from xec_deploy.errors import BundleError, InferenceError, UsageError
from xec_deploy.tensorrt import Flavour

from .fake_gpu import SENSORS, DriverFunctions, FakeDriver, fake_tensorrt


@pytest.fixture
def start(tmp_path):
    """Start a runner on a GPU of Python objects."""

    def run(driver, *, profiles=((1, 4, 8),), options=None, **library):
        path = tmp_path / "e.engine"
        path.write_bytes(b"an engine")
        manifest = EngineManifest(
            key="k", sha256="0", bytes=9, bundle="small", graph="fp32", graph_sha256="0",
            precision="fp32", requested="fp32", flavour="tensorrt", version="10.99",
            target="sm90", host="x86_64", options=EngineOptions(profiles=profiles),
            layers=LayerSummary(layers=1, matrix={}, weights={}, other={}, source="builder"),
            build_seconds=1.0,
        )  # fmt: skip
        flavour = Flavour("tensorrt", fake_tensorrt(driver, profiles, **library))
        return EngineRunner(
            driver, flavour, FoundEngine(path, manifest), options or RunOptions("cuda")
        )

    return run


def events(count):
    random = np.random.default_rng(count)
    npho = random.uniform(0, 100, (count, SENSORS)).astype(np.float32)
    return npho, np.zeros_like(npho), random.uniform(size=npho.shape) < 0.3


def expected(npho, _, dead):
    return np.where(dead, 0, npho).sum(axis=1, keepdims=True) * np.float32(0.5)


def run_all(runner, arrays):
    return BatchRunner(runner.sessions, runner.batch, pad=True)(arrays)[0]


@pytest.mark.parametrize("capturable", ["yes", "no", "wrong"])
def test_events_come_back_in_order_with_and_without_recorded_graphs(start, capturable, caplog):
    driver = FakeDriver(capturable=capturable)
    runner = start(driver)
    arrays = events(23)
    for _ in range(2):
        np.testing.assert_array_equal(run_all(runner, arrays), expected(*arrays))
    recorded = capturable == "yes"
    assert runner.is_recorded is recorded
    assert runner.graphs.startswith("recorded" if recorded else "none: ")
    assert ("runs without CUDA graphs" in caplog.text) is not recorded
    assert runner.device_seconds(2) > 0
    (log, *_) = [stream().log for stream in driver.streams.values()]
    # A batch: three arrays there, one launch, one array back.
    last = ["upload"] * 3 + ["launch" if recorded else "execute", "download"]
    assert log[-8:] == [*last, *[last[3]] * 3]
    runner.close()


def test_three_batches_are_in_flight_at_once(start):
    driver = FakeDriver()
    runner = start(driver)
    together = threading.Barrier(3, timeout=20)
    driver.at_synchronize = together.wait
    arrays = events(12)
    # Each waits until all three are queued: with fewer slots this would time out.
    np.testing.assert_array_equal(run_all(runner, arrays), expected(*arrays))
    assert len(driver.streams) == 3
    driver.at_synchronize = lambda: None
    runner.close()


def test_what_others_live_in_is_freed_last(start):
    driver = FakeDriver()
    runner = start(driver, options=RunOptions("cuda", sessions=1))
    runner.close()
    order = [name for name in driver.log if name != "memory"]
    assert order == ["recording", "context", "stream", "engine", "runtime", "gpu"]
    assert driver.log.index("context") < driver.log.index("memory")
    assert driver.alive == 0


def test_what_does_not_fit_is_run_in_a_smaller_batch_and_said(start, caplog):
    # A batch of 8 takes 3 slots of 8 x (1000 + 5 x 9 + 4) bytes.
    driver = FakeDriver(capacity=3 * 4 * 1049 + 100)
    runner = start(driver, options=RunOptions("cuda", batch=8))
    assert runner.batch == 4
    assert "no memory on the GPU for batches of 8, running 4" in caplog.text
    arrays = events(11)
    np.testing.assert_array_equal(run_all(runner, arrays), expected(*arrays))
    runner.close()


def test_a_gpu_without_memory_is_given_back_whole(start):
    driver = FakeDriver(capacity=500)
    with pytest.raises(UsageError, match=r"no memory for a batch of 1.*nvidia-smi"):
        start(driver)
    assert driver.released
    driver = FakeDriver()
    with pytest.raises(UsageError, match="no memory for a batch of 1"):
        start(driver, contexts=0)
    assert driver.released


def test_memory_missing_at_the_first_batch_is_like_any_other(start):
    driver = FakeDriver()
    with pytest.raises(UsageError, match="no memory for a batch of 1"):
        start(driver, fails="Cuda Runtime (out of memory)")
    assert driver.released


@pytest.mark.parametrize(
    ("library", "error", "message"),
    [
        (
            {"refuses": "The engine plan file is generated on an incompatible device, expecting "
                        "compute 9.0 got compute 8.0, please rebuild."},
            BundleError, r"TensorRT 10\.99 refuses.*compute 9\.0 got compute 8\.0.*--force",
        ),
        (
            {"refuses": "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed"},
            BundleError, "kSERIALIZATION_VERSION",
        ),
        ({"refuses": ""}, BundleError, None),
        ({"fails": "an illegal access"}, InferenceError, r"batch of 4 \(an illegal access\)"),
    ],
)  # fmt: skip
def test_what_the_library_says_is_passed_on(start, library, error, message):
    driver = FakeDriver()
    if message is None:
        runner = start(driver)
        runner.close()
        return
    with pytest.raises(error, match=message):
        start(driver, **library)
    assert driver.released


def test_the_profile_of_the_batch_is_taken(start):
    profiles = ((1, 1, 2), (4, 8, 16))
    assert [choose_profile(profiles, batch) for batch in (1, 2, 3, 4, 16, 17)] == [
        0, 0, None, 1, 1, None
    ]  # fmt: skip
    assert choose_profile(((1, 4, 64), (1, 32, 64)), 20) == 1
    assert usual_batch(profiles) == 8
    tried = [16]
    while (following := next_smaller(profiles, tried[-1])) is not None:
        tried.append(following)
    assert tried == [16, 8, 4, 2, 1]
    assert next_smaller(((4, 8, 16),), 6) == 4
    assert next_smaller(((4, 8, 16),), 4) is None
    for batch in (2, 8):
        runner = start(FakeDriver(), profiles=profiles, options=RunOptions("cuda", batch=batch))
        arrays = events(9)
        np.testing.assert_array_equal(run_all(runner, arrays), expected(*arrays))
        assert runner.batch == batch
        runner.close()


def test_graphs_are_recorded_only_if_wanted(start):
    driver = FakeDriver()
    runner = start(driver, options=RunOptions("cuda", cuda_graphs=False))
    assert runner.graphs == "not asked for"
    assert not runner.is_recorded
    runner.close()


def test_a_failing_driver_call_is_a_reason_not_to_record():
    calls = []
    driver = partial(DriverFunctions, calls)
    recording = record_stream(driver(), 7, lambda: calls.append("work"))
    recording.launch()
    recording.free()
    recording.free()
    assert calls == [
        "begin", "work", "end", "instantiate", "destroy graph", "launch", "destroy executable",
    ]  # fmt: skip
    for failing in ("begin", "end", "instantiate"):
        with pytest.raises(NotCapturable, match="STREAM_CAPTURE_INVALIDATED"):
            record_stream(driver(failing), 7, lambda: None)
    with pytest.raises(NotCapturable, match="the work fails"):
        record_stream(driver(), 7, lambda: (_ for _ in ()).throw(ValueError("the work fails")))
    # The capture was ended all the same.
    assert calls[-2:] == ["end", "destroy graph"]
    with pytest.raises(NotCapturable, match="no cuStreamBeginCapture"):
        record_stream(Path(), 7, lambda: None)
