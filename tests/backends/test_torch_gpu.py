"""What torch does on a GPU, as far as it can be seen without one."""

import numpy as np
import pytest

from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.backends.batches import BatchRunner
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.memory import OutOfDeviceMemory, shrink_until_it_fits
from xec_deploy.backends.registry import BACKENDS, present_backends
from xec_deploy.bundle import compare_with_golden, worst_difference
from xec_deploy.bundle.engine import find_graph
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import InferenceError, UsageError
from xec_deploy.gates import load_gates

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from xec_deploy.backends.torch_fixed import FixedBatch  # noqa: E402
from xec_deploy.backends.torch_graph import TorchGraph  # noqa: E402
from xec_deploy.backends.torch_precision import graph_in, products_in  # noqa: E402
from xec_deploy.backends.torch_slots import TorchSlot  # noqa: E402


class Lane:
    """A device that is the processor; recorded work writes to memory of its own."""

    def __init__(self, *, recordable=True):
        self.recordable, self.replays, self.waits = recordable, 0, 0

    def entered(self):
        return torch.inference_mode()

    def host(self, like):
        return torch.empty_like(like)

    def record(self, work):
        if not self.recordable:
            raise RuntimeError("operation not permitted when stream is capturing")
        results = [result.clone() for result in work()]

        def replay():
            self.replays += 1
            for result, new in zip(results, work(), strict=True):
                result.copy_(new)

        return replay, results

    def wait(self):
        self.waits += 1


@pytest.fixture(scope="module")
def network(bundle):
    with torch.inference_mode():
        graph = TorchGraph(bundle.graph())
        examples = graph.zeros(5)
        return FixedBatch(graph, examples), examples


@pytest.mark.parametrize("recordable", [True, False])
def test_slots_with_fixed_buffers_reproduce_the_golden_events(bundle, network, recordable):
    golden = bundle.golden
    lanes = [Lane(recordable=recordable) for _ in range(2)]
    slots = [TorchSlot(lane, *network, graphs=True, where="g.onnx") for lane in lanes]
    run = BatchRunner([slot.run for slot in slots], 5, pad=True)
    values = run((golden.npho, golden.time, golden.dead))
    names = [value.name for value in load_onnx(bundle.graph()).graph.output]
    compare_with_golden(
        bundle.manifest, golden, dict(zip(names, values, strict=True)), where="slots"
    )
    # 32 events are seven batches; each slot has tried its recording once.
    assert sum(lane.replays for lane in lanes) == (7 + 2 if recordable else 0)
    assert slots[0].device_seconds(1) > 0
    reasons = {slot.not_recorded for slot in slots}
    assert reasons == (
        {None} if recordable else {"operation not permitted when stream is capturing"}
    )


def test_a_failing_device_is_a_sentence(bundle, network):
    slot = TorchSlot(Lane(), *network, graphs=True, where="g.onnx")

    def fail():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    slot._lane.wait = fail
    golden = bundle.golden.head(5)
    with pytest.raises(InferenceError, match=r"g\.onnx: torch failed on a batch of 5.*illegal"):
        slot.run((golden.npho, golden.time, golden.dead))


def test_no_memory_is_told_from_other_failures(network):
    lane = Lane()

    def host(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    lane.host = host
    with pytest.raises(OutOfDeviceMemory):
        TorchSlot(lane, *network, graphs=True, where="g.onnx")


def test_a_batch_that_does_not_fit_is_halved_and_said(caplog):
    tried = []

    def make(batch):
        tried.append(batch)
        if batch > 40:
            raise OutOfDeviceMemory
        return f"buffers for {batch}"

    def smaller(batch):
        return batch // 2 or None

    assert shrink_until_it_fits(make, 256, smaller, where="e") == ("buffers for 32", 32)
    assert tried == [256, 128, 64, 32]
    assert "no memory on the GPU for batches of 256, running 32" in caplog.text
    with pytest.raises(UsageError, match="no memory for a batch of 64"):
        shrink_until_it_fits(make, 256, lambda n: n // 2 if n > 64 else None, where="e")


class OnDeviceOnly(TorchDispatchMode):
    """Refuses what a CUDA graph may not hold: copies from the host, and mixed devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves((args, kwargs or {}, result))
        devices = {
            item.device.type for item in leaves if isinstance(item, torch.Tensor) and item.ndim
        }
        # Python reads shapes, which are of the host; nothing may be of both.
        assert len(devices) < 2, f"{func} mixes devices"
        return result


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_batch_neither_waits_for_the_device_nor_copies_to_it(bundle, precision):
    """Tensors without values stand for a GPU's: who asks for a value is refused."""
    with torch.inference_mode():
        model = graph_in(load_onnx(bundle.graph()), precision)
        graph = TorchGraph(bundle.graph(), model=model, device="meta")
        examples = graph.zeros(3)
        network = FixedBatch(graph, examples)
        with OnDeviceOnly():
            results = network(*examples)
    assert [tuple(result.shape) for result in results] == [
        (3, {"energy": 1, "angle": 2, "timing": 1, "uvwFI": 3}[name]) for name in graph.outputs
    ]
    assert 0 < len(network.steps) < len(graph.steps)


@pytest.mark.parametrize(("precision", "limit"), [("bf16", 1.0), ("fp16", 0.08)])
def test_sixteen_bits_cost_accuracy_that_is_measured(bundle, precision, limit):
    golden = bundle.golden
    options = RunOptions(batch=16, threads=1, precision=precision)
    backend = create_backend("torch", bundle.graph(), options)
    assert backend.describe()["arithmetic"] == precision
    found = backend.run(golden.npho, golden.time, golden.dead)
    exact = create_backend("torch", bundle.graph(), RunOptions(batch=16, threads=1))
    reference = exact.run(golden.npho, golden.time, golden.dead)
    assert all(values.dtype == np.float32 for values in found.values())
    assert any(not np.array_equal(found[name], reference[name]) for name in found)
    worst = max(worst_difference(bundle.manifest, golden.outputs, found).values())
    assert load_gates().of("fp32") < worst < limit


def test_precisions_that_are_none_and_those_of_a_gpu(bundle):
    with pytest.raises(UsageError, match=r"does not compute in 'fp64'.*fp32"):
        create_backend("torch", bundle.graph(), RunOptions(precision="fp64"))
    with pytest.raises(UsageError, match="a CPU has no TF32"):
        create_backend("torch", bundle.graph(), RunOptions(precision="tf32"))
    assert find_graph(bundle, "torch", "bf16", "cuda:1", None) == bundle.graph()
    with pytest.raises(UsageError, match="no 'tf32' graph"):
        find_graph(bundle, "torch", "tf32", "cpu", None)
    assert load_gates().of("tf32") == load_gates().of("fp16")


def test_products_are_set_back():
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv

    def settings():
        return (
            matmul.fp32_precision,
            convolution.fp32_precision,
            matmul.allow_fp16_reduced_precision_reduction,
        )

    before = settings()
    for precision, kind in (("fp32", "ieee"), ("bf16", "ieee"), ("tf32", "tf32")):
        with products_in(precision):
            assert settings() == (kind, kind, False)
        assert settings() == before
    # The older interface, which others use, may still be asked.
    assert matmul.allow_tf32 in {True, False}


def test_devices_have_numbers():
    assert str(parse_device("cuda:1")) == "cuda:1"
    assert (parse_device("cuda").kind, parse_device("cuda:3").index) == ("cuda", 3)
    assert present_backends("cuda:1") == present_backends("cuda")
    for wrong in ("cuda:", "cuda:x", "gpu", "cpu:1"):
        with pytest.raises(UsageError, match="cuda:1"):
            parse_device(wrong)


def test_auto_considers_torch_on_a_gpu_alone():
    assert BACKENDS["torch"].candidate_on == ("cuda",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_torch_says_so(bundle):
    with pytest.raises(UsageError, match=r"no CUDA device 1.*nvidia-smi"):
        bundle.backend("torch", options=RunOptions("cuda:1"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("graphs", [True, False])
def test_torch_on_a_gpu_reproduces_the_golden_events(bundle, graphs):
    options = RunOptions("cuda", batch=5, cuda_graphs=graphs)
    backend = bundle.backend("torch", options=options)
    golden = bundle.golden
    outputs = backend.run(golden.npho, golden.time, golden.dead)
    compare_with_golden(bundle.manifest, golden, outputs, where="torch on cuda")
    assert backend.describe()["cuda_graphs"] == ("recorded" if graphs else "not asked for")
