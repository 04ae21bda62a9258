"""The network through the C++ library: numbers, refusals, threads, and a program outside Python."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle import FP32_GATE, shipped_bundle, worst_difference
from xec_deploy.bundle.onnx_file import file_hash, load_onnx
from xec_deploy.cpp import Model
from xec_deploy.detector import N_SENSORS
from xec_deploy.errors import BundleError, CheckFailed, UsageError
from xec_deploy.events import EventBatch
from xec_deploy.inference.columns import evaluate, result_columns

ROOT = Path(__file__).parents[2]
TOOLS = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
RUNTIME = Path(onnxruntime.__file__).parent / "capi"


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shipped_bundle())


@pytest.fixture(scope="module")
def model():
    return Model(shipped_bundle())


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory):
    """A bundle that fills dead channels with the mean of the live ones."""
    path = tmp_path_factory.mktemp("inpainter") / "mean.xec"
    runpy.run_path(str(Path(__file__).with_name("make_inpainter.py")))["main"](str(path))
    return path


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped bundle to spoil."""
    return shutil.copytree(shipped_bundle(), tmp_path / "copy.xec")


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def correct_hash(folder, name):
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    graphs["fp32"]["sha256"] = file_hash(folder / name)
    edit_manifest(folder, graphs=graphs)


def test_all_golden_events_are_within_the_fp32_gate(bundle, model):
    golden = bundle.golden
    outputs = model.run(golden.npho, golden.time, golden.dead)
    worst = worst_difference(bundle.manifest, golden.outputs, outputs)
    assert set(worst) == set(bundle.manifest.output_names)
    assert max(worst.values()) < FP32_GATE


def test_the_same_numbers_as_the_python_engine(bundle, model):
    golden = bundle.golden
    outputs = model.run(golden.npho, golden.time, golden.dead)
    expected = bundle.run(golden.npho, golden.time, golden.dead)
    reference = {name: values.astype(np.float64) for name, values in expected.items()}
    assert max(worst_difference(bundle.manifest, reference, outputs).values()) < FP32_GATE
    assert {name: values.shape for name, values in outputs.items()} == {
        name: values.shape for name, values in expected.items()
    }


def test_named_values_and_status_are_those_of_infer(bundle, model):
    golden = bundle.golden
    npho, dead = golden.npho.copy(), golden.dead.copy()
    npho[0] = np.nan
    dead[1, : bundle.manifest.dead_channels.max_dead + 1] = True
    everything = dead | ~(np.isfinite(npho) & (npho <= 9e9))
    numbers = np.arange(len(npho))
    readable = np.ones(len(npho), bool)
    batch = EventBatch(0, numbers, numbers, npho, golden.time, everything, readable)
    expected = evaluate(bundle.manifest, bundle.backend(), batch)
    values = model.evaluate(npho, golden.time, dead)
    assert values["status"].tolist() == expected["status"].tolist()
    columns = result_columns(bundle.manifest)
    assert model.units == {name: columns[name].unit for name in columns if name in model.units}
    assert list(model.units) == [name for name in columns if name in model.units]
    assert model.units["energy"] == "GeV"
    for name in model.units:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-4, atol=1e-4)


def test_threads_share_a_model_and_get_the_same_bits(bundle, model):
    golden = bundle.golden
    alone = model.run(golden.npho, golden.time, golden.dead)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: model.run(golden.npho, golden.time, golden.dead), range(8))
        )
    for outputs in results:
        for name, values in alone.items():
            assert outputs[name].tobytes() == values.tobytes()


def test_one_event_a_common_mask_and_other_layouts(bundle, model):
    golden = bundle.golden.head(4)
    mask = golden.dead[1]
    expected = model.run(golden.npho, golden.time, np.tile(mask, (4, 1)))
    for npho in (np.asfortranarray(golden.npho), golden.npho.astype(">f4"),
                 golden.npho.astype(np.float64)):  # fmt: skip
        outputs = model.run(npho, golden.time, mask)
        for name, values in expected.items():
            np.testing.assert_array_equal(outputs[name], values)
    single = model.run(golden.npho[2], golden.time[2], mask)
    assert single["uvwFI"].shape == (1, 3)
    nothing = model.run(golden.npho[:0], golden.time[:0])
    assert nothing["energy"].shape == (0, 1)


def test_no_dead_channels_is_a_mask_of_false(bundle, model):
    golden = bundle.golden.head(3)
    expected = model.run(golden.npho, golden.time, np.zeros(golden.npho.shape, bool))
    for name, values in model.run(golden.npho, golden.time).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"npho": np.zeros((2, 4092), np.float32)}, r"npho has shape \(2, 4092\)"),
        ({"npho": np.zeros((2, N_SENSORS), np.int32)}, "npho has type int32"),
        ({"time": np.zeros((3, N_SENSORS), np.float32)}, "time has"),
        ({"dead": np.zeros((3, N_SENSORS), bool)}, r"dead has shape \(3, 4760\)"),
        ({"dead": [1, 2, 3]}, "dead has type int64"),
    ],
)
def test_wrong_arrays_are_a_sentence(model, change, message):
    arguments = {
        "npho": np.zeros((2, N_SENSORS), np.float32),
        "time": np.zeros((2, N_SENSORS), np.float32),
        "dead": None,
    }
    with pytest.raises(UsageError, match=message):
        model.run(**(arguments | change))


def test_filled_channels(inpainter):
    model = Model(inpainter)
    assert model.inpaints
    golden = open_bundle(inpainter).golden
    for npho, time, dead, expected in zip(
        golden.npho, golden.time, golden.dead, golden.outputs["npho_filled"], strict=True
    ):
        filled = model.inpaint(npho, time, dead)
        np.testing.assert_array_equal(filled[~dead], npho[~dead])
        np.testing.assert_allclose(filled, expected, rtol=1e-5)
    with pytest.raises(UsageError, match="one is filled at a time"):
        model.inpaint(golden.npho, golden.time, golden.dead)


def test_a_regressor_does_not_fill(bundle, model):
    event = bundle.golden.head(1)
    assert not model.inpaints
    with pytest.raises(UsageError, match="does not fill dead channels"):
        model.inpaint(event.npho[0], event.time[0], event.dead[0])


def test_a_lone_file_knows_its_model(bundle, model):
    lone = Model(bundle.graph())
    assert lone.units == model.units
    event = bundle.golden.head(2)
    for name, values in model.run(event.npho, event.time, event.dead).items():
        np.testing.assert_array_equal(lone.run(event.npho, event.time, event.dead)[name], values)


def test_changed_graph_is_refused(copy):
    path = copy / "fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"'fp32.onnx' is not the file"):
        Model(copy)


def test_exchanged_weights_with_corrected_hash_fail_the_golden_events(copy):
    path = copy / "fp32.onnx"
    model = load_onnx(path)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) == 2:
            values = np.frombuffer(weight.raw_data, np.float32) * np.float32(1.05)
            weight.raw_data = values.tobytes()
    path.write_bytes(model.SerializeToString(deterministic=True))
    correct_hash(copy, path.name)
    with pytest.raises(CheckFailed, match="golden events are not reproduced"):
        Model(copy)


def test_edited_manifest_is_refused(copy):
    content = json.loads((copy / "manifest.json").read_text())
    content["normalisation"]["npho_scale"] = 12345.0
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="disagrees with the metadata"):
        Model(copy)


def test_a_graph_without_its_manifest_or_interface_is_refused(bundle, copy, tmp_path):
    model = load_onnx(bundle.graph())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(BundleError, match="no manifest in its metadata"):
        Model(tmp_path / "bare.onnx")
    model = load_onnx(bundle.graph())
    model.graph.input[0].name = "photons"
    for node in model.graph.node:
        node.input[:] = ["photons" if name == "npho" else name for name in node.input]
    onnx.save(model, copy / "fp32.onnx")
    correct_hash(copy, "fp32.onnx")
    with pytest.raises(BundleError, match="the graph has no 'npho'"):
        Model(copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp61"}, "no 'fp61' graph"),
        ({"threads": 0}, "threads is 0"),
        ({"batch": 0}, "a batch of 0"),
    ],
)
def test_wrong_options_are_a_sentence(options, message):
    with pytest.raises(UsageError, match=message):
        Model(shipped_bundle(), **options)


def test_no_such_bundle(tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        Model(tmp_path / "absent.xec")
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Model(tmp_path)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Model(tmp_path / "text.onnx")


def test_the_runtime_library_is_the_one_named(tmp_path, monkeypatch):
    library = next(RUNTIME.glob("libonnxruntime.so*"))
    assert str(library) in Model(shipped_bundle(), runtime=library).runtime
    monkeypatch.setenv("XEC_ONNXRUNTIME", str(tmp_path))
    with pytest.raises(BundleError, match="the environment variable XEC_ONNXRUNTIME"):
        Model(shipped_bundle())
    with pytest.raises(BundleError, match=r"this folder has no libonnxruntime\.so"):
        Model(shipped_bundle(), runtime=tmp_path)


def build(folder, source, *options):
    for command in (
        ["cmake", "-S", source, "-B", folder, "-G", "Ninja", *options],
        ["cmake", "--build", folder],
    ):
        environment = os.environ | {"PATH": TOOLS}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example program, built against the installed package as an analyzer would be."""
    folder = tmp_path_factory.mktemp("package")
    build(folder / "library", ROOT, f"-DPython_EXECUTABLE={sys.executable}",
          "-DCMAKE_DISABLE_FIND_PACKAGE_pybind11=ON")  # fmt: skip
    subprocess.run(
        [shutil.which("cmake", path=TOOLS), "--install", folder / "library",
         "--prefix", folder / "installed"],
        capture_output=True,
        check=True,
    )  # fmt: skip
    project = shutil.copytree(ROOT / "cpp_bridge" / "examples", folder / "project")
    build(folder / "build", project, f"-DCMAKE_PREFIX_PATH={folder / 'installed'}")
    return folder / "build" / "reconstruct"


def reconstruct(program, *arguments, **variables):
    return subprocess.run(
        [program, *map(str, arguments)], env=variables, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_example_program_outside_python(example, bundle, inpainter):
    done = reconstruct(example, shipped_bundle(), XEC_ONNXRUNTIME=str(RUNTIME))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    energy = {row[0]: float(row[2]) for row in rows if row and row[0].isdigit()}
    expected = bundle.golden.outputs["energy"][:, 0]
    assert len(energy) == len(expected)
    np.testing.assert_allclose(list(energy.values()), expected, atol=1e-5)
    filled = reconstruct(example, inpainter, 2, XEC_ONNXRUNTIME=str(RUNTIME))
    assert "photons filled in" in filled.stdout


@pytest.mark.slow
def test_example_program_finds_the_wheel_or_says_what_is_missing(example, tmp_path):
    done = reconstruct(example, shipped_bundle(), 1, VIRTUAL_ENV=sys.prefix)
    assert done.returncode == 0, done.stderr
    done = reconstruct(example, shipped_bundle(), 1, XEC_ONNXRUNTIME=str(tmp_path))
    assert done.returncode == 2
    assert "XEC_ONNXRUNTIME" in done.stderr
    done = reconstruct(example, tmp_path / "absent.xec", XEC_ONNXRUNTIME=str(RUNTIME))
    assert "no such bundle" in done.stderr
