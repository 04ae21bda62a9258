"""Engines are built with the real library, for GPUs that are not here."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from xec_deploy.bundle import open_bundle
from xec_deploy.engines import (
    EngineOptions,
    build_engine,
    describe_engine,
    read_engine_manifest,
)
from xec_deploy.engines.target import choose_target
from xec_deploy.errors import BundleError, CheckFailed, MissingExtra, UsageError
from xec_deploy.tensorrt import load_flavour

pytest.importorskip("tensorrt_rtx")

BIN = Path(sys.executable).parent / "xec-deploy"
SMALL = EngineOptions(profiles=((1, 4, 8),))


def files(bundle):
    return sorted(path.name for path in (bundle.path / "engines").iterdir())


@pytest.fixture(scope="module")
def engines(make_bundle, tmp_path_factory):
    """A bundle with an engine of every precision, and those."""
    precisions = ("fp32", "fp16", "bf16", "int8-trt")
    bundle = make_bundle(tmp_path_factory.mktemp("engines"), precisions)
    phases = []
    built = {
        precision: build_engine(
            bundle,
            precision,
            target="sm80",
            options=SMALL,
            progress=lambda phase, done, steps: phases.append((phase, done, steps)),
        )
        for precision in ("fp32", "fp16", "bf16", "int8")
    }
    return bundle, built, phases


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_an_engine_computes_in_the_precision_asked_for(engines, precision):
    bundle, built, _ = engines
    engine = built[precision]
    manifest = read_engine_manifest(engine.path)
    assert manifest == engine.manifest
    assert manifest.precision == manifest.requested == precision
    assert not engine.fallbacks
    # The first product in the precision, the head in fp32.
    assert manifest.layers.matrix == ({"fp32": 2} if precision == "fp32" else
                                      {precision: 1, "fp32": 1})  # fmt: skip
    assert manifest.layers.weights[precision] >= 4760 * 32
    assert manifest.bytes == engine.path.stat().st_size > 1e5
    assert (manifest.flavour, manifest.target) == ("rtx", "sm80")
    assert (
        f"complete, of the bundle's {manifest.graph} graph" == describe_engine(engine.path)["state"]
    )
    listed = open_bundle(bundle.path).manifest.engines[engine.path.name]
    assert (listed["precision"], listed["target"]) == (precision, "sm80")


def test_only_engines_and_their_manifests_are_left(engines):
    bundle, built, phases = engines
    names = {engine.path.name for engine in built.values()}
    assert set(files(bundle)) == names | {f"{name}.json" for name in names}
    assert ("Building engine", 0) in {(phase, done) for phase, done, _ in phases}
    assert all(0 <= done <= steps for _, done, steps in phases)


def test_an_engine_is_used_again_only_if_everything_is_the_same(engines):
    bundle, built, _ = engines
    first = built["fp32"]
    again = build_engine(bundle, "fp32", target="sm80", options=SMALL)
    assert again.reused
    assert again.path == first.path
    other = build_engine(bundle, "fp32", target="sm86", options=SMALL)
    assert not other.reused
    assert other.path != first.path
    content = other.path.read_bytes()
    other.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="not the file its manifest describes"):
        read_engine_manifest(other.path)
    assert not build_engine(bundle, "fp32", target="sm86", options=SMALL).reused
    read_engine_manifest(other.path)


def scaled(model):
    (weight,) = [t for t in model.graph.initializer if t.name == "second"]
    weight.CopyFrom(numpy_helper.from_array(np.full((32, 1), 2e-3, np.float32), "second"))


def test_an_engine_of_another_graph_is_stale(engines, make_bundle, tmp_path):
    _, built, _ = engines
    other = make_bundle(tmp_path, change={"fp32": scaled})
    (other.path / "engines").mkdir()
    name = built["fp32"].path.name
    for suffix in ("", ".json"):
        source = built["fp32"].path.with_name(name + suffix)
        (other.path / "engines" / source.name).write_bytes(source.read_bytes())
    moved = other.path / "engines" / name
    assert describe_engine(moved)["state"] == "stale: the bundle's fp32 graph is another"
    rebuilt = build_engine(other, "fp32", target="sm80", options=SMALL)
    assert not rebuilt.reused
    assert rebuilt.path != moved


def elementwise_only(model):
    """Quantise what is added, not what is multiplied: no int8 product is left."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weight = constants["first"].astype(np.float32) * constants["steps"]
    kept = [t for t in graph.initializer if t.name not in {"first", "steps", "points"}]
    del graph.initializer[:]
    graph.initializer.extend([*kept, numpy_helper.from_array(weight, "first")])
    nodes = [n for n in graph.node if n.name != "dq_w"]
    for node in nodes:
        if node.name == "product":
            node.input[:] = ["live", "first"]
        if node.name == "q":
            node.input[0] = "hidden"
        if node.name == "relu":
            node.input[0] = "x"
    order = ["mask", "product", "q", "dq", "relu", "head"]
    del graph.node[:]
    graph.node.extend(sorted(nodes, key=lambda n: order.index(n.name)))


def test_a_precision_that_does_not_come_out_gives_way_and_is_named(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, ("fp32", "int8-trt"), {"int8-trt": elementwise_only})
    with pytest.raises(CheckFailed, match="no matrix layer computes in int8"):
        build_engine(bundle, "int8", target="sm80", options=SMALL, fallback=False)
    built = build_engine(bundle, "int8", target="sm80", options=SMALL)
    assert built.manifest.precision == "fp32"
    assert built.manifest.requested == "int8"
    assert [part.precision for part in built.fallbacks] == ["int8", "fp16"]
    assert "no matrix layer computes in int8" in built.fallbacks[0].reason
    assert "no such graph" in built.fallbacks[1].reason
    assert read_engine_manifest(built.path).fallbacks == built.fallbacks
    assert files(bundle) == [built.path.name, f"{built.path.name}.json"]


def test_a_library_that_crashes_is_a_reason_and_not_the_end(make_bundle, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path)
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr("xec_deploy.engines.process.WORKER", ("-c", crash))
    with pytest.raises(CheckFailed, match=r"no engine could be built.*ended by signal 11"):
        build_engine(bundle, "fp32", target="sm80", options=SMALL)
    monkeypatch.setattr("xec_deploy.engines.process.WORKER", ("-c", "raise ValueError('odd')"))
    with pytest.raises(RuntimeError, match="odd"):
        build_engine(bundle, "fp32", target="sm80", options=SMALL)
    assert files(bundle) == []


def test_what_check_refuses_is_refused_before_building(make_bundle, tmp_path):
    def sum_in_half(model):
        nodes = list(model.graph.node)
        (up,) = [n for n in nodes if n.name == "up"]
        up.input[0] = "logged"
        at = nodes.index(up)
        nodes.insert(at, helper.make_node("Exp", ["half_hidden"], ["logged"], "exponential"))
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    bundle = make_bundle(tmp_path, ("fp32", "fp16"), {"fp16": sum_in_half})
    with pytest.raises(CheckFailed, match=r"fp16\.onnx fails check E16 at Exp 'exponential'"):
        build_engine(bundle, "fp16", target="sm80", options=SMALL)
    assert not (bundle.path / "engines").exists()


def test_a_missing_graph_names_the_command_that_makes_it(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path)
    with pytest.raises(UsageError, match=r"quantize small\.xec --precision int8 --target tensorrt"):
        build_engine(bundle, "int8", target="sm80")
    with pytest.raises(UsageError, match="fp32"):
        build_engine(bundle, "fp33", target="sm80")
    with pytest.raises(UsageError, match="engines are kept in a bundle"):
        build_engine(open_bundle(bundle.graph()), "fp32", target="sm80")
    legacy = replace(bundle, manifest=bundle.manifest.model_copy(update={"io": "legacy"}))
    with pytest.raises(UsageError, match="without --io legacy"):
        build_engine(legacy, "fp32", target="sm80")


def test_targets_are_those_of_the_library(monkeypatch):
    rtx = load_flavour("rtx")
    monkeypatch.setattr("xec_deploy.engines.target.gpu_capability", lambda: None)
    assert choose_target(rtx, "SM89") == "sm89"
    with pytest.raises(UsageError, match=r"does not build for 'sm90'.*sm120"):
        choose_target(rtx, "sm90")
    with pytest.raises(UsageError, match=r"no GPU here.*--target, one of sm75, sm80"):
        choose_target(rtx, None)
    monkeypatch.setattr("xec_deploy.engines.target.gpu_capability", lambda: "sm86")
    assert choose_target(rtx, None) == "sm86"


def test_an_absent_library_names_its_extra(monkeypatch, make_bundle, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=r"xec-deploy\[gpu\]"):
        build_engine(make_bundle(tmp_path), "fp32", flavour="tensorrt")


def test_batches_out_of_order_are_refused():
    with pytest.raises(ValueError, match="MIN <= OPT <= MAX"):
        EngineOptions(profiles=((8, 4, 16),))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_engine(make_bundle, tmp_path, number):
    bundle = make_bundle(tmp_path)
    process = subprocess.Popen(
        [BIN, "build-engine", bundle.path, "--precision", "fp32", "--target", "sm80"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = bundle.path / "engines"
    while not folder.is_dir() or not any(folder.iterdir()):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert not list(folder.glob("*.engine*"))
    if number != signal.SIGKILL:
        assert process.returncode == 3
        assert files(bundle) == []
    assert open_bundle(bundle.path).manifest.engines == {}


def test_the_command_prints_and_inspect_shows(engines):
    bundle, built, _ = engines
    options = ["--precision", "int8", "--target", "sm80", "--batch", "1", "4", "8"]
    done = subprocess.run(
        [BIN, "build-engine", bundle.path, *options, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["reused"]
    assert report["path"] == str(built["int8"].path)
    assert report["layers"]["matrix"] == {"fp32": 1, "int8": 1}
    shown = subprocess.run(
        [BIN, "inspect", report["path"]], capture_output=True, text=True, check=True
    ).stdout
    assert "int8-trt" in shown
    assert "sm80" in shown
    missing = subprocess.run(
        [BIN, "build-engine", bundle.path, "--precision", "fp32", "--target", "sm99"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode == 2
    assert "sm89" in missing.stderr
