"""What happens with an engine that is not for this bundle, library or GPU: a sentence each."""

import json
import shutil

import pytest
from onnx import numpy_helper

from xec_deploy.backends import RunOptions
from xec_deploy.bundle import open_bundle
from xec_deploy.engines import EngineOptions, build_engine
from xec_deploy.engines.manifest import engine_key, manifest_path
from xec_deploy.engines.runner import open_engine_here
from xec_deploy.errors import BundleError, MissingExtra
from xec_deploy.tensorrt import load_flavour

pytest.importorskip("tensorrt_rtx")

CUDA = RunOptions("cuda:1")


@pytest.fixture(scope="module")
def built(make_bundle, tmp_path_factory):
    """A bundle with one engine, for sm80."""
    bundle = make_bundle(tmp_path_factory.mktemp("refusals"))
    options = EngineOptions(profiles=((1, 4, 8),))
    return bundle, build_engine(bundle, "fp32", target="sm80", options=options)


@pytest.fixture
def engine(built, tmp_path):
    """A copy of it, to be spoilt: the bundle's folder and the engine's file."""
    bundle, made = built
    folder = shutil.copytree(bundle.path, tmp_path / bundle.path.name)
    return folder, folder / "engines" / made.path.name


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A function that lets the machine seem to have a GPU of a kind as number 1."""

    def show(capability):
        monkeypatch.setattr(
            "xec_deploy.engines.runner.gpu_capability",
            lambda index: capability if index == 1 else None,
        )

    show("sm80")
    return show


def edit(engine, *, honest=True, **changes):
    """Change the engine's manifest; ``honest`` is as another build would write it."""
    path = manifest_path(engine)
    content = json.loads(path.read_text()) | changes
    if honest:
        parts = ("graph_sha256", "flavour", "version", "target", "host")
        options = EngineOptions.model_validate(content["options"])
        content["key"] = engine_key(**{name: content[name] for name in parts}, options=options)
    path.write_text(json.dumps(content))


def refusal(folder):
    with pytest.raises(BundleError) as error:
        open_engine_here(open_bundle(folder).graph(), CUDA)
    return str(error.value)


def test_an_engine_that_fits_is_taken(engine):
    folder, path = engine
    flavour, found = open_engine_here(open_bundle(folder).graph(), CUDA)
    assert (flavour.name, found.path) == ("rtx", path)
    # By what it is, not by its name.
    for suffix in ("", ".json"):
        path.with_name(path.name + suffix).rename(path.with_name(f"other.engine{suffix}"))
    assert open_engine_here(open_bundle(folder).graph(), CUDA)[1].path.name == "other.engine"


def test_another_gpu(engine, gpu):
    gpu("sm90")
    assert "built for a GPU of sm80, this one is sm90" in refusal(engine[0])
    assert "--target sm90" in refusal(engine[0])


def test_no_such_gpu(engine, gpu):
    gpu(None)
    assert "there is no GPU to run the engine on" in refusal(engine[0])


def test_another_version(engine):
    edit(engine[1], version="1.0.0")
    text = refusal(engine[0])
    assert f"rtx 1.0.0, installed is {load_flavour('rtx').version}" in text
    assert "build-engine BUNDLE --precision fp32" in text


def test_a_stale_engine(engine, make_bundle, tmp_path):
    def scaled(model):
        (weight,) = [t for t in model.graph.initializer if t.name == "second"]
        twice = 2 * numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(twice, "second"))

    other = make_bundle(tmp_path / "other", change={"fp32": scaled})
    shutil.copytree(engine[0] / "engines", other.path / "engines")
    assert "stale: it was built from another fp32 graph" in refusal(other.path)


def test_a_changed_byte_of_the_engine(engine):
    content = bytearray(engine[1].read_bytes())
    content[len(content) // 2] ^= 1
    engine[1].write_bytes(content)
    assert "not the file its manifest describes" in refusal(engine[0])


@pytest.mark.parametrize("change", [{"target": "sm90"}, {"version": "9"}, {"graph_sha256": "0"}])
def test_an_edited_manifest(engine, change):
    edit(engine[1], honest=False, **change)
    assert "manifest was edited" in refusal(engine[0])


def test_a_manifest_of_another_format(engine):
    edit(engine[1], format_version=1)
    text = refusal(engine[0])
    assert "key 'format_version'" in text
    assert "Build the engine again" in text


def test_an_edited_bundle(engine):
    folder, _ = engine
    graph = folder / "fp32.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"fp32\.onnx"):
        open_bundle(folder)


def test_no_engine_at_all(engine):
    folder, path = engine
    path.unlink()
    assert "there is no engine of the fp32 graph" in refusal(folder)
    assert "build-engine BUNDLE --precision fp32" in refusal(folder)


def test_no_library(engine, monkeypatch):
    monkeypatch.setattr("xec_deploy.engines.runner.installed_flavours", tuple)
    with pytest.raises(MissingExtra, match=r"xec-deploy\[gpu\]"):
        open_engine_here(open_bundle(engine[0]).graph(), CUDA)
