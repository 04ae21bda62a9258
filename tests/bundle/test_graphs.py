"""Graphs to run: fillers ahead of the network, and graphs that are added."""

import json
import shutil

import numpy as np
import onnx
import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle import add_graph, shipped_bundle
from xec_deploy.bundle.compose import join
from xec_deploy.bundle.onnx_file import file_hash, load_onnx, manifest_of_onnx
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.inpaint import FILLERS, filler_graph


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copy(tmp_path):
    return open_bundle(shutil.copytree(shipped_bundle(), tmp_path / "copy.xec"))


def test_a_filler_changes_events_with_dead_channels_only(copy):
    events = copy.golden.head(4)
    npho = np.where(np.isfinite(events.npho) & (events.npho < 9e9), events.npho, 50.0)
    npho, nobody = npho.astype(np.float32), np.zeros_like(events.dead)
    plain = copy.backend("onnxruntime")
    for name in FILLERS:
        filled = copy.backend("onnxruntime", inpaint=name)
        for dead, same in ((nobody, True), (events.dead, False)):
            one, other = (engine.run(npho, events.time, dead) for engine in (plain, filled))
            assert np.array_equal(one["uvwFI"], other["uvwFI"]) == same


def test_joined_graphs_are_made_once_and_know_what_they_are(copy, tmp_path):
    path = copy.graph(inpaint="solid-angle")
    assert path.is_relative_to(tmp_path / "cache")
    before = path.stat().st_mtime_ns
    assert copy.graph(inpaint="solid-angle") == path
    assert path.stat().st_mtime_ns == before
    assert copy.graph(inpaint="neighbours") != path
    assert [p.name for p in copy.path.iterdir() if p.suffix == ".onnx"] == ["fp32.onnx"]
    lone = open_bundle(path)
    assert lone.manifest.dead_channels.method == "solid-angle"
    event = copy.golden.head(2)
    np.testing.assert_array_equal(
        lone.run(event.npho, event.time, event.dead, backend="onnxruntime")["energy"],
        copy.backend("onnxruntime", inpaint="solid-angle").run(event.npho, event.time, event.dead)[
            "energy"
        ],
    )


def test_without_a_folder_for_them_graphs_are_temporary(copy, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XEC_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert copy.graph(inpaint="neighbours").is_relative_to(tmp_path)


def test_ways_that_a_bundle_does_not_have_are_refused(copy):
    assert copy.graph(inpaint="none") == copy.graph()
    with pytest.raises(UsageError, match=r"no inpainter.*--inpainter"):
        copy.graph(inpaint="model")
    with pytest.raises(UsageError, match="Did you mean 'neighbours'"):
        copy.graph(inpaint="neighbors")


def test_graphs_of_other_opsets_or_with_the_same_names_are_not_joined(copy):
    filler, network = filler_graph("neighbours"), load_onnx(copy.file())
    network.opset_import[0].version = 17
    with pytest.raises(BundleError, match="opset 17 cannot follow one of opset 20"):
        join(filler, network, {})
    with pytest.raises(BundleError, match="both graphs have a value"):
        join(filler, filler, {})


def test_a_graph_is_added_with_the_manifest_and_its_origin(copy, tmp_path):
    model = load_onnx(copy.file())
    del model.metadata_props[:]
    file = tmp_path / "any.onnx"
    onnx.save(model, file)
    changed = add_graph(copy, "fp16", file, {"method": "test"})
    record = changed.manifest.graphs["fp16"]
    assert (record.file, record.origin) == ("fp16.onnx", {"method": "test"})
    assert record.canonical_sha256 == changed.manifest.graphs["fp32"].canonical_sha256
    inside = manifest_of_onnx(load_onnx(changed.file("fp16")), "fp16")
    assert inside == changed.manifest.without_hashes()
    again = add_graph(changed, "fp16", file, {"method": "another"})
    assert again.manifest.graphs["fp16"].origin == {"method": "another"}
    assert sorted(path.name for path in copy.path.iterdir()) == [
        "fp16.onnx", "fp32.onnx", "golden.npz", "manifest.json",
    ]  # fmt: skip
    event = again.golden.head(2)
    outputs = again.run(event.npho, event.time, event.dead, backend="onnxruntime", precision="fp16")
    assert set(outputs) == {"angle", "energy", "timing", "uvwFI"}


def test_a_bundle_of_an_older_version_can_be_given_a_graph(copy):
    from xec_deploy.cpp import Model

    later = ("kind", "inpainter", "parts", "engines")
    path, graph = copy.path / "manifest.json", load_onnx(copy.file())
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in later}
    (entry,) = graph.metadata_props
    entry.value = json.dumps({k: v for k, v in json.loads(entry.value).items() if k not in later})
    copy.file().write_bytes(graph.SerializeToString(deterministic=True))
    content["graphs"]["fp32"]["sha256"] = file_hash(copy.file())
    path.write_text(json.dumps(content))
    changed = add_graph(open_bundle(copy.path), "fp16", copy.file())
    # The C++ side compares the texts.
    assert Model(changed.path, precision="fp16").name == changed.manifest.name


@pytest.mark.parametrize("precision", ["fp32", "FP16", "../fp16", "fp16-", ""])
def test_names_that_are_no_precisions_are_refused(copy, precision):
    with pytest.raises(UsageError, match="cannot be added as precision"):
        add_graph(copy, precision, copy.file())


def test_what_cannot_take_a_graph_is_refused(copy, tmp_path):
    with pytest.raises(UsageError, match="only a bundle folder"):
        add_graph(open_bundle(copy.file()), "fp16", copy.file())
    file = tmp_path / "filler.onnx"
    onnx.save(filler_graph("neighbours"), file)
    with pytest.raises(BundleError, match="the graph has outputs npho_filled"):
        add_graph(copy, "fp16", file)


def test_an_interrupted_replacement_leaves_a_bundle_that_opens(copy, monkeypatch):
    changed = add_graph(copy, "fp16", copy.file())

    def broken(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("xec_deploy.bundle.add.graph_record", broken)
    with pytest.raises(KeyboardInterrupt):
        add_graph(changed, "fp16", copy.file())
    assert set(open_bundle(copy.path).manifest.graphs) == {"fp32"}
