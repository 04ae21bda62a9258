"""Repositories as Triton reads them: configurations by its own schema, files where they belong."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from xec_deploy.bundle import Bundle, open_bundle, shipped_bundle
from xec_deploy.cli.main import cli
from xec_deploy.engines.layers import LayerSummary
from xec_deploy.engines.manifest import (
    EngineManifest,
    EngineOptions,
    engine_key,
    manifest_path,
)
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.triton import DEFAULTS, Serving, write_repository
from xec_deploy.triton.config import onnx_tensors

CPU = DEFAULTS["cpu"]
NUMPY = {"TYPE_FP32": np.float32, "TYPE_BOOL": np.bool_}


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shipped_bundle())


def config_of(folder):
    """Parse a configuration with Triton's schema, which refuses unknown fields and values."""
    config = text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())
    assert config.name == folder.name
    assert all(size <= config.max_batch_size for size in preferred(config))
    return config


def preferred(config):
    return list(config.dynamic_batching.preferred_batch_size)


def test_configuration_by_the_schema(bundle, tmp_path):
    (model,) = write_repository(bundle, tmp_path, serving=CPU)
    assert (model.name, model.version, model.is_new) == ("compact", 1, True)
    config = config_of(tmp_path / "compact")
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 64
    inputs = {t.name: (DataType.Name(t.data_type), list(t.dims)) for t in config.input}
    assert inputs == {
        "npho": ("TYPE_FP32", [4760]),
        "time": ("TYPE_FP32", [4760]),
        "dead": ("TYPE_BOOL", [4760]),
    }
    outputs = {t.name: list(t.dims) for t in config.output}
    assert outputs == {"angle": [2], "energy": [1], "timing": [1], "uvwFI": [3]}
    assert preferred(config) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    (group,) = config.instance_group
    assert (group.kind, group.count) == (ModelInstanceGroup.KIND_CPU, 2)
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.version_policy.latest.num_versions == 1


def test_gpu(bundle, tmp_path):
    serving = Serving("cuda", max_batch=512, preferred_batches=(256, 64, 64), instances=3)
    write_repository(bundle, tmp_path, serving=serving)
    config = config_of(tmp_path / "compact")
    (group,) = config.instance_group
    assert (group.kind, group.count) == (ModelInstanceGroup.KIND_GPU, 3)
    assert preferred(config) == [64, 256]
    assert not config.parameters


def test_served_file_does_what_the_configuration_says(bundle, tmp_path):
    """Run warm-up requests as the server makes them, on the file that it would load."""
    (model,) = write_repository(bundle, tmp_path, serving=CPU)
    config = config_of(tmp_path / "compact")
    session = onnxruntime.InferenceSession(
        model.folder / config.default_model_filename, providers=["CPUExecutionProvider"]
    )
    sizes = []
    for request in config.model_warmup:
        feed = {}
        for name, tensor in request.inputs.items():
            data = (tmp_path / "compact" / "warmup" / tensor.input_data_file).read_bytes()
            one = np.frombuffer(data, NUMPY[DataType.Name(tensor.data_type)])
            feed[name] = np.tile(one.reshape(1, *tensor.dims), (request.batch_size, 1))
        for tensor, value in zip(config.output, session.run(None, feed), strict=True):
            assert value.shape == (request.batch_size, *tensor.dims)
            expected = bundle.golden.outputs[tensor.name][0]
            np.testing.assert_allclose(value[-1], expected, rtol=1e-3, atol=1e-3)
        sizes.append(request.batch_size)
    assert sizes == [1, 8, 16, 64]


def test_manifest_lies_beside(bundle, tmp_path):
    (model,) = write_repository(bundle, tmp_path, serving=CPU)
    record = json.loads((model.folder / "manifest.json").read_text())
    assert record["served"]["bundle"] == bundle.identity
    assert record["served"]["sha256"] == bundle.manifest.graphs["fp32"].sha256
    assert record["manifest"]["tasks"]["energy"]["outputs"][0]["unit"] == "GeV"


@pytest.fixture
def retrained(tmp_path):
    """A lone ONNX file with the same tensors and other weights."""
    return _changed(tmp_path, lambda graph: graph.initializer[0].CopyFrom(_halved(graph)))


def _halved(graph):
    first = graph.initializer[0]
    return onnx.numpy_helper.from_array(
        (onnx.numpy_helper.to_array(first) / 2).astype(onnx.numpy_helper.to_array(first).dtype),
        first.name,
    )


def _changed(folder, change):
    proto = onnx.load(shipped_bundle() / "fp32.onnx")
    change(proto.graph)
    path = folder / "changed.onnx"
    onnx.save(proto, path)
    return open_bundle(path)


def test_versions(bundle, retrained, tmp_path):
    repository = tmp_path / "models"
    write_repository(bundle, repository, serving=CPU)
    (again,) = write_repository(bundle, repository, serving=CPU)
    assert (again.version, again.is_new) == (1, False)
    # A lone file has no golden events to warm up with: that is another configuration.
    with pytest.raises(UsageError, match="--replace-config"):
        write_repository(retrained, repository, serving=CPU)
    (new,) = write_repository(retrained, repository, serving=CPU, replace_config=True)
    assert (new.version, new.is_new) == (2, True)
    (back,) = write_repository(bundle, repository, serving=CPU, version=7, replace_config=True)
    assert (back.version, back.is_new) == (7, True)
    with pytest.raises(UsageError, match="version 2 is there already"):
        write_repository(bundle, repository, serving=CPU, version=2)
    names = sorted(path.name for path in (repository / "compact").iterdir())
    assert names == ["1", "2", "7", "config.pbtxt", "warmup"]


def test_configuration_edited_by_hand_is_not_lost(bundle, tmp_path):
    write_repository(bundle, tmp_path, serving=CPU)
    path = tmp_path / "compact" / "config.pbtxt"
    edited = path.read_text().replace("max_batch_size: 64", "max_batch_size: 16")
    path.write_text(edited)
    with pytest.raises(UsageError, match="edited by hand"):
        write_repository(bundle, tmp_path, serving=CPU)
    assert path.read_text() == edited
    write_repository(bundle, tmp_path, serving=CPU, replace_config=True)
    assert config_of(tmp_path / "compact").max_batch_size == 64


def test_callers_keep_their_tensors(bundle, tmp_path):
    write_repository(bundle, tmp_path / "models", serving=CPU)
    other = _changed(tmp_path, lambda graph: graph.output.pop())
    with pytest.raises(UsageError, match="other inputs or outputs"):
        write_repository(other, tmp_path / "models", serving=CPU, replace_config=True)
    write_repository(other, tmp_path / "models", serving=CPU, name="without-uvw")
    assert len(config_of(tmp_path / "models" / "without-uvw").output) == 3


def test_graphs_that_cannot_be_served(tmp_path):
    def fix_batch(graph):
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16

    path = _changed(tmp_path, fix_batch).path
    with pytest.raises(BundleError, match="no batch axis"):
        onnx_tensors(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_batch": 4}, "preferred batch of 8"),
        ({"instances": 0}, "--instances 0"),
        ({"queue_delay_us": -1}, "--queue-delay -1"),
    ],
)
def test_impossible_serving(changes, message):
    with pytest.raises(UsageError, match=message):
        Serving(**changes)


def test_names(bundle, tmp_path):
    with pytest.raises(UsageError, match="cannot be the name"):
        write_repository(bundle, tmp_path, serving=CPU, name="../elsewhere")
    with pytest.raises(UsageError, match="cannot be written"):
        write_repository(bundle, tmp_path / "file" / "x", serving=CPU, name=_file(tmp_path))


def _file(folder):
    (folder / "file").write_text("")
    return "model"


def test_command(tmp_path):
    arguments = [
        *("triton", str(shipped_bundle()), "-o", str(tmp_path), "--name", "gamma"),
        *("--max-batch", "128", "--preferred-batch", "32", "--preferred-batch", "128"),
        *("--queue-delay", "500", "--instances", "4", "--versions", "2"),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "model gamma, version 1" in result.stdout
    config = config_of(tmp_path / "gamma")
    assert config.max_batch_size == 128
    assert preferred(config) == [32, 128]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.instance_group[0].count == 4
    assert config.version_policy.latest.num_versions == 2
    again = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "kept, it is the same file" in again.stdout


def test_parts_of_the_graph_are_models_too(bundle, tmp_path):
    parts = {"regressor": bundle.manifest.graphs["fp32"]}
    whole = Bundle(bundle.path, bundle.manifest.model_copy(update={"parts": parts}), bundle.golden)
    models = write_repository(whole, tmp_path, serving=CPU)
    assert [model.name for model in models] == ["compact", "compact_regressor"]
    for model in models:
        assert len(config_of(tmp_path / model.name).output) == 4


def test_channels_filled_ahead_of_the_network(bundle, tmp_path):
    (model,) = write_repository(bundle, tmp_path, serving=CPU, inpaint="neighbours")
    assert json.loads((model.folder / "manifest.json").read_text())["served"]["inpaint"] == (
        "neighbours"
    )
    with pytest.raises(UsageError, match="no 'fp16' graph"):
        write_repository(bundle, tmp_path, serving=CPU, precision="fp16")


@pytest.fixture
def with_engines(bundle):
    """Return a function that lists engines in the bundle, whose files are any bytes."""

    def add(folder, **engines):
        copy = folder / "engines.xec"
        shutil.copytree(bundle.path, copy)
        (copy / "engines").mkdir()
        listed = {}
        for name, (target, batch) in engines.items():
            file = copy / "engines" / f"{name}.engine"
            file.write_bytes(name.encode())
            keyed = {
                "graph_sha256": "0", "flavour": "tensorrt", "version": "10.14", "target": target,
                "host": "x86_64", "options": EngineOptions(profiles=(batch,)),
            }  # fmt: skip
            manifest = EngineManifest(
                key=engine_key(**keyed), sha256=hashlib.sha256(name.encode()).hexdigest(),
                bytes=len(name), bundle="compact", graph="fp32", precision="fp32",
                requested="fp32", build_seconds=1.0, **keyed,
                layers=LayerSummary(layers=0, matrix={}, weights={}, other={}, source="builder"),
            )  # fmt: skip
            manifest_path(file).write_text(manifest.model_dump_json())
            listed[file.name] = manifest.model_dump(mode="json", include={*LISTED})
        record = bundle.manifest.model_copy(update={"engines": listed})
        return Bundle(copy, record, bundle.golden)

    return add


LISTED = ("key", "sha256", "graph", "precision", "flavour", "version", "target", "options")


def test_engine_of_the_bundle(with_engines, tmp_path):
    made = with_engines(tmp_path, one=("sm80", (1, 64, 256)), two=("sm90", (8, 64, 256)))
    cuda = DEFAULTS["cuda"]
    options = {"serving": cuda, "engine": "tensorrt"}
    with pytest.raises(UsageError, match="Choose one with --target"):
        write_repository(made, tmp_path / "models", **options)
    (model,) = write_repository(made, tmp_path / "models", target="sm80", **options)
    config = config_of(model.folder.parent)
    assert config.backend == "tensorrt"
    assert config.default_model_filename == "model.plan"
    # The server's batches end where the engine's do.
    assert (config.max_batch_size, preferred(config)) == (256, [64, 256])
    assert config.instance_group[0].kind == ModelInstanceGroup.KIND_GPU
    assert (model.folder / "model.plan").read_bytes() == b"one"
    with pytest.raises(UsageError, match="8 events or more"):
        write_repository(made, tmp_path / "models", target="sm90", **options)
    with pytest.raises(UsageError, match="no fp16 engine of TensorRT for sm80"):
        write_repository(made, tmp_path / "x", precision="fp16", target="sm80", **options)
    (made.path / "engines" / "one.engine").write_bytes(b"changed")
    with pytest.raises(BundleError, match="its hash differs"):
        write_repository(made, tmp_path / "x", target="sm80", **options)
