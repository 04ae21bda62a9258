"""An engine of another graph, version, GPU or host is refused in plain words."""

import pytest

from xec_deploy.engines import EngineManifest, EngineOptions, Surroundings, verify_engine
from xec_deploy.engines.layers import LayerSummary
from xec_deploy.engines.manifest import engine_key
from xec_deploy.errors import BundleError

HERE = {"flavour": "rtx", "version": "1.7.1", "capability": "sm80", "host": "x86_64"}
KEYED = {
    "graph_sha256": "a" * 64,
    "flavour": "rtx",
    "version": "1.7.1",
    "target": "sm80",
    "host": "x86_64",
    "options": EngineOptions(),
}


@pytest.fixture(scope="module")
def manifest():
    return EngineManifest(
        key=engine_key(**KEYED),
        sha256="b" * 64,
        bytes=1,
        bundle="small",
        graph="fp16",
        precision="fp16",
        requested="fp16",
        layers=LayerSummary(layers=1, matrix={}, weights={}, other={}, source="builder"),
        build_seconds=1.0,
        **KEYED,
    )


def test_the_engine_of_the_graph_library_and_gpu_may_run(manifest):
    verify_engine(manifest, "a" * 64, Surroundings(**HERE), where="e.engine")


@pytest.mark.parametrize(
    ("change", "graph", "message"),
    [
        ({}, "c" * 64, r"stale: it was built from another fp16 graph.*build-engine"),
        ({"flavour": "tensorrt"}, "a" * 64, r"flavour 'rtx'.*--flavour tensorrt"),
        ({"version": "1.8.0"}, "a" * 64, r"rtx 1\.7\.1, installed is 1\.8\.0.*Build it again"),
        ({"host": "aarch64"}, "a" * 64, r"hosts of x86_64, this is aarch64"),
        ({"capability": "sm90"}, "a" * 64, r"GPU of sm80, this one is sm90.*--target sm90"),
        ({"capability": None}, "a" * 64, r"no GPU.*nvidia-smi"),
    ],
)
def test_what_does_not_fit_is_refused(manifest, change, graph, message):
    with pytest.raises(BundleError, match=message):
        verify_engine(manifest, graph, Surroundings(**HERE | change), where="e.engine")


@pytest.mark.parametrize(
    "change",
    [
        {"graph_sha256": "c" * 64},
        {"flavour": "tensorrt"},
        {"version": "1.8.0"},
        {"target": "sm86"},
        {"host": "aarch64"},
        {"options": EngineOptions(profiles=((1, 8, 16),))},
        {"options": EngineOptions(workspace_mib=512)},
    ],
)
def test_whatever_decides_is_in_the_key(change):
    assert engine_key(**KEYED | change) != engine_key(**KEYED)
    assert engine_key(**KEYED | {"options": EngineOptions()}) == engine_key(**KEYED)
