"""Opening a bundle proves that its files belong together and that the engine reproduces them."""

import json
import shutil

import numpy as np
import onnx
import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle import FP32_GATE, shipped_bundle, worst_difference
from xec_deploy.bundle.onnx_file import (
    canonical_hash,
    clear_metadata,
    file_hash,
    load_onnx,
    state_rest,
)
from xec_deploy.bundle.opening import write_bundle
from xec_deploy.errors import BundleError, CheckFailed, UsageError


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped bundle to spoil."""
    return shutil.copytree(shipped_bundle(), tmp_path / "copy.xec")


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shipped_bundle())


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_shipped_bundle_is_small_and_reproduces_all_golden_events(bundle):
    size = sum(file.stat().st_size for file in bundle.path.rglob("*"))
    assert size <= 12e6
    outputs = bundle.run(bundle.golden.npho, bundle.golden.time, bundle.golden.dead)
    worst = worst_difference(bundle.manifest, bundle.golden.outputs, outputs)
    assert set(worst) == {"angle", "energy", "timing", "uvwFI"}
    assert max(worst.values()) < FP32_GATE


def test_interface_is_the_contracts(bundle):
    graph = load_onnx(bundle.graph()).graph
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    assert list(inputs) == ["npho", "time", "dead"]
    kinds = [tensor.elem_type for tensor in inputs.values()]
    assert kinds == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL]
    widths = {}
    batches = set()
    for value in [*graph.input, *graph.output]:
        batch, width = value.type.tensor_type.shape.dim
        batches.add(batch.dim_param)
        widths[value.name] = width.dim_value
    assert len(batches) == 1
    assert batches != {""}
    assert widths == {
        "npho": 4760, "time": 4760, "dead": 4760, "angle": 2, "energy": 1, "timing": 1, "uvwFI": 3,
    }  # fmt: skip


def test_lone_onnx_file_knows_its_model(bundle):
    lone = open_bundle(bundle.graph())
    assert lone.manifest == bundle.manifest.without_hashes()
    event = bundle.golden.head(1)
    alone = lone.run(event.npho, event.time, event.dead)
    together = bundle.run(event.npho, event.time, event.dead)
    for name, values in together.items():
        np.testing.assert_array_equal(alone[name], values)


def test_results_do_not_depend_on_the_rest_of_the_batch(bundle):
    golden = bundle.golden
    together = bundle.run(golden.npho, golden.time, golden.dead)
    for size in (1, 2, 7):
        parts = [
            bundle.run(
                golden.npho[i : i + size], golden.time[i : i + size], golden.dead[i : i + size]
            )
            for i in range(0, len(golden), size)
        ]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in together}
        reference = {name: values.astype(np.float64) for name, values in together.items()}
        assert max(worst_difference(bundle.manifest, reference, outputs).values()) < FP32_GATE


def test_one_event_without_batch_axis(bundle):
    golden = bundle.golden
    single = bundle.run(golden.npho[0], golden.time[0], golden.dead[0])
    assert single["uvwFI"].shape == (1, 3)


def test_values_in_dead_channels_do_not_matter(bundle):
    golden = bundle.golden.head(4)
    npho, time = golden.npho.copy(), golden.time.copy()
    npho[golden.dead], time[golden.dead] = 12345.0, 0.0
    clean = bundle.run(golden.npho, golden.time, golden.dead)
    changed = bundle.run(npho, time, golden.dead)
    for name, values in clean.items():
        np.testing.assert_array_equal(changed[name], values)


@pytest.mark.parametrize("shape", [(2, 4092), (2, 4760, 1), (0,)])
def test_wrong_shape_is_an_error_that_says_so(bundle, shape):
    with pytest.raises(UsageError, match="expected"):
        bundle.run(np.zeros(shape), np.zeros(shape))


def test_changed_graph_is_refused(copy):
    path = copy / "fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"'fp32.onnx' is not the file"):
        open_bundle(copy)


def test_exchanged_weights_with_corrected_hash_fail_the_golden_events(copy):
    path = copy / "fp32.onnx"
    model = load_onnx(path)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and "anchors" in weight.name:
            values = np.frombuffer(weight.raw_data, np.float32) * np.float32(1.01)
            weight.raw_data = values.tobytes()
    path.write_bytes(model.SerializeToString(deterministic=True))
    graphs = json.loads((copy / "manifest.json").read_text())["graphs"]
    graphs["fp32"]["sha256"] = file_hash(path)
    edit_manifest(copy, graphs=graphs)
    with pytest.raises(CheckFailed, match="golden events are not reproduced"):
        open_bundle(copy).run(np.zeros((1, 4760)), np.zeros((1, 4760)))


def test_edited_normalisation_is_refused(copy):
    content = json.loads((copy / "manifest.json").read_text())
    content["normalisation"]["npho_scale"] = 20000.0
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="disagrees with the metadata"):
        open_bundle(copy)


def test_unknown_manifest_key_is_refused(copy):
    edit_manifest(copy, surprise=1)
    with pytest.raises(BundleError, match="surprise"):
        open_bundle(copy)


def test_manifest_cannot_point_outside_the_bundle(copy, tmp_path):
    shutil.move(copy / "fp32.onnx", tmp_path / "fp32.onnx")
    graphs = json.loads((copy / "manifest.json").read_text())["graphs"]
    graphs["fp32"]["file"] = "../fp32.onnx"
    edit_manifest(copy, graphs=graphs)
    with pytest.raises(BundleError, match="lacks"):
        open_bundle(copy)


@pytest.mark.parametrize("victim", ["manifest.json", "golden.npz", "fp32.onnx"])
def test_missing_file_is_named(copy, victim):
    (copy / victim).unlink()
    with pytest.raises(BundleError, match=victim):
        open_bundle(copy)


def test_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        open_bundle(tmp_path / "absent.xec")
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    with pytest.raises(BundleError, match="not an ONNX file"):
        open_bundle(text)


def test_onnx_without_manifest_is_refused(bundle, tmp_path):
    model = load_onnx(bundle.graph())
    del model.metadata_props[:]
    path = tmp_path / "bare.onnx"
    onnx.save(model, path)
    with pytest.raises(BundleError, match="no manifest"):
        open_bundle(path)


def test_canonical_hash_ignores_notes_but_not_weights(bundle):
    model = load_onnx(bundle.graph())
    original = canonical_hash(model)
    model.doc_string = "a note"
    model.graph.node[0].doc_string = "another"
    assert canonical_hash(model) == original
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[::-1]
    assert canonical_hash(model) != original


def test_what_a_graph_says_of_its_rest_is_part_of_it(bundle):
    model = load_onnx(bundle.graph())
    original = canonical_hash(model)
    state_rest(model, "bf16")
    stated = canonical_hash(model)
    assert stated != original
    clear_metadata(model)
    assert canonical_hash(model) == stated


def test_unknown_backend_precision_and_device_name_the_valid_ones(bundle):
    with pytest.raises(UsageError, match="onnxruntime"):
        bundle.backend("onnxruntme")
    with pytest.raises(UsageError, match="fp32"):
        bundle.graph("fp61")


def test_writing_a_bundle_leaves_no_part_folder_and_opens(bundle, tmp_path):
    target = tmp_path / "again.xec"
    again = write_bundle(
        target, bundle.manifest.without_hashes(), {"fp32": bundle.graph()}, bundle.golden
    )
    assert again.manifest.graphs == bundle.manifest.graphs
    assert [path.name for path in tmp_path.iterdir()] == ["again.xec"]


def test_a_lone_onnx_file_has_no_other_precision(bundle):
    lone = open_bundle(bundle.graph())
    with pytest.raises(UsageError, match="'int8'"):
        lone.backend(precision="int8")
    assert lone.identity == bundle.identity


def test_identity_tells_policies_apart(bundle):
    policy = bundle.manifest.dead_channels.model_copy(update={"max_dead": 7})
    other = bundle.manifest.model_copy(update={"dead_channels": policy})
    changed = type(bundle)(bundle.path, other, bundle.golden)
    assert changed.identity["fp32_sha256"] == bundle.identity["fp32_sha256"]
    assert changed.identity != bundle.identity


def test_dead_flags_of_another_shape_are_refused(bundle):
    events = bundle.golden.head(2)
    with pytest.raises(UsageError, match="dead has shape"):
        bundle.run(events.npho, events.time, events.dead[:, :100])


def test_a_bundle_that_cannot_be_written_leaves_nothing(bundle, tmp_path):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "a.xec"
    with pytest.raises(UsageError, match="cannot be written"):
        write_bundle(target, bundle.manifest, {"fp32": bundle.graph()}, bundle.golden)
    blocked = tmp_path / "b.xec"
    blocked.symlink_to(bundle.path)
    with pytest.raises(UsageError, match="cannot be written"):
        write_bundle(blocked, bundle.manifest, {"fp32": bundle.graph()}, bundle.golden)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "b.xec"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{"])
def test_a_manifest_that_is_no_json_is_a_sentence(copy, content):
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(copy)


def test_damaged_golden_events_are_a_sentence(copy):
    golden = copy / "golden.npz"
    golden.write_bytes(golden.read_bytes()[:2000])
    with pytest.raises(BundleError, match="golden"):
        open_bundle(copy, verify=False)
