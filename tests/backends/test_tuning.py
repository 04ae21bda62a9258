"""What users leave open is measured once for a machine and a graph; what they give stays."""

import json
import logging
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from xec_deploy.backends import RunOptions
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.tuning import tune
from xec_deploy.bundle import open_bundle, write_bundle
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import CheckFailed, UsageError

pytestmark = pytest.mark.usefixtures("cache")


def test_auto_takes_the_fastest_and_says_so(bundle, cache, caplog):
    fresh = open_bundle(bundle.path)
    caplog.set_level(logging.INFO, "xec_deploy")
    chosen = tune(fresh)
    rates = {chosen.backend: chosen.events_per_s, **(chosen.others or {})}
    assert chosen.events_per_s == max(rates.values())
    assert f"auto: {chosen.backend} on cpu in fp32" in caplog.text
    run = chosen.options
    assert run.sessions * run.threads <= granted_cores()
    assert 1 <= run.batch <= 64
    # Nothing is measured again: neither here nor by a bundle that is opened anew.
    caplog.clear()
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == len(rates)
    assert tune(open_bundle(bundle.path)) == chosen
    assert "measuring" not in caplog.text
    assert files == {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert open_bundle(bundle.path).backend().options == run


def test_what_is_given_stays(bundle):
    given = RunOptions(batch=3, threads=1)
    chosen = tune(bundle, "onnxruntime", options=given)
    assert (chosen.options.batch, chosen.options.sessions, chosen.options.threads) == (3, 1, 1)
    everything = RunOptions(batch=2, sessions=2, threads=1)
    assert tune(bundle, "onnxruntime", options=everything).events_per_s is None
    # Which engine is faster has to be measured all the same.
    assert tune(bundle, options=everything).options == everything


def test_a_damaged_or_unwritable_cache_is_measured_over(bundle, cache, monkeypatch):
    options = RunOptions(batch=2, threads=1)
    first = tune(bundle, "onnxruntime", options=options)
    [record] = cache.iterdir()
    for damage in ("", "{}", json.dumps({"key": 1, "found": {"options": {"threads": 0}}})):
        record.write_text(damage)
        assert tune(bundle, "onnxruntime", options=options).options == first.options
    shutil.rmtree(cache)
    cache.write_text("in the way")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(cache))
    assert tune(bundle, "onnxruntime", options=options).options == first.options


def test_auto_passes_over_an_engine_that_is_wrong(bundle, caplog, without):
    pytest.importorskip("openvino")
    options = RunOptions(batch=4, sessions=1, threads=1)
    caplog.set_level(logging.WARNING, "xec_deploy")
    with pytest.raises(CheckFailed, match="openvino"):
        # bf16 misses the gate, and no other engine computes in it.
        tune(bundle, precision="bf16", options=options)
    assert "auto passes over openvino" in caplog.text
    without("openvino")
    assert tune(bundle, options=options).backend == "onnxruntime"


def test_a_bundle_no_engine_reproduces_is_refused(bundle, tmp_path):
    model = load_onnx(bundle.graph())
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim == 2:
            weight.CopyFrom(numpy_helper.from_array(values * np.float32(1.1), weight.name))
    graph = tmp_path / "fp32.onnx"
    onnx.save(model, graph)
    other = write_bundle(
        tmp_path / "other.xec", bundle.manifest.without_hashes(), {"fp32": graph}, bundle.golden
    )
    with pytest.raises(CheckFailed, match="golden events"):
        other.backend(options=RunOptions(batch=4, sessions=1, threads=1))


def test_a_precision_or_device_nobody_has_is_refused(bundle):
    with pytest.raises(UsageError, match="fp32"):
        tune(bundle, precision="fp61")
    with pytest.raises(UsageError, match="cpu, cuda"):
        tune(bundle, options=RunOptions(device="gpu"))


def test_a_lone_file_is_measured_too(bundle):
    lone = open_bundle(bundle.graph())
    chosen = tune(lone, "onnxruntime", options=RunOptions(batch=2, threads=1))
    assert chosen.events_per_s > 0
