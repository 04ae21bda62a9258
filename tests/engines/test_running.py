"""Which engine runs, and with how many events at once; on a GPU, what it gives."""

import numpy as np
import pytest

from xec_deploy.backends import RunOptions
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.engines import (
    EngineOptions,
    Surroundings,
    build_engine,
    describe_engine,
    read_engine_manifest,
)
from xec_deploy.engines.find import find_engine
from xec_deploy.errors import BundleError, MissingExtra
from xec_deploy.tensorrt import load_flavour
from xec_deploy.tensorrt.device import gpu_capability

pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def built(make_bundle, tmp_path_factory):
    """A bundle with two engines of the fp32 graph, of different batches."""
    bundle = make_bundle(tmp_path_factory.mktemp("running"), ("fp32", "fp16"))
    for batch in ((1, 4, 8), (1, 16, 32)):
        build_engine(bundle, "fp32", target="sm80", options=EngineOptions(profiles=(batch,)))
    return bundle


@pytest.fixture(scope="module")
def search(built):
    version = load_flavour("rtx").version

    def find(precision="fp32", batch=None, **changes):
        here = {"flavour": "rtx", "version": version, "capability": "sm80", "host": "x86_64"}
        return find_engine(
            built.path / "engines",
            canonical_hash(load_onnx(built.graph(precision))),
            Surroundings(**here | changes),
            precision=precision,
            batch=batch,
        )

    return find


@pytest.mark.parametrize(("batch", "best"), [(None, 16), (3, 4), (8, 4), (9, 16), (32, 16)])
def test_the_engine_that_suits_the_batch_is_taken(search, batch, best):
    assert search(batch=batch).manifest.options.profiles[0][1] == best


def test_what_is_wrong_with_the_engines_there_is_said(search):
    with pytest.raises(BundleError, match=r"no engine takes 64 events.*1 to 32, best at 16"):
        search(batch=64)
    with pytest.raises(BundleError, match="GPU of sm80, this one is sm86"):
        search(capability="sm86")
    with pytest.raises(BundleError, match=r"installed is 99\.0"):
        search(version="99.0")
    with pytest.raises(BundleError, match=r"no engine of the fp16 graph.*--precision fp16"):
        search("fp16")


def test_without_pycuda_the_extra_is_named(built):
    if gpu_capability() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(MissingExtra, match=r"xec-deploy\[gpu\]"):
        built.backend("tensorrt", options=RunOptions(device="cuda"))


def test_of_several_ranges_that_of_the_batch_counts(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path)
    options = EngineOptions(profiles=((1, 1, 2), (8, 32, 64)))
    built = build_engine(bundle, "fp32", target="sm80", options=options)
    assert read_engine_manifest(built.path).options == options
    assert describe_engine(built.path)["batch"] == "1 to 2, best at 1; 8 to 64, best at 32"
    here = Surroundings("rtx", built.manifest.version, "sm80", built.manifest.host)
    arguments = bundle.path / "engines", built.manifest.graph_sha256, here
    for batch in (1, 2, 8, 64, None):
        assert find_engine(*arguments, precision="fp32", batch=batch).path == built.path
    with pytest.raises(BundleError, match=r"no engine takes 4 events"):
        find_engine(*arguments, precision="fp32", batch=4)


@pytest.mark.gpu
@pytest.mark.skipif(gpu_capability() is None, reason="needs an NVIDIA GPU")
def test_an_engine_gives_what_onnxruntime_gives(make_bundle, tmp_path):
    pytest.importorskip("pycuda")
    bundle = make_bundle(tmp_path)
    build_engine(bundle, "fp32", options=EngineOptions(profiles=((1, 1, 2), (2, 4, 8))))
    golden = bundle.golden
    expected = bundle.backend("onnxruntime").run(golden.npho, golden.time, golden.dead)
    for batch in (1, 3):
        for graphs in (True, False):
            options = RunOptions(device="cuda", batch=batch, cuda_graphs=graphs)
            backend = bundle.backend("tensorrt", options=options)
            found = backend.run(golden.npho, golden.time, golden.dead)
            np.testing.assert_allclose(found["energy"], expected["energy"], rtol=1e-5)
            assert backend.describe()["cuda_graphs"].startswith("recorded") is graphs
