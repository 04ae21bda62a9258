"""An engine of TensorRT is built again beside the bundle, which stays as it is."""

import shutil

import pytest

from xec_deploy import open_bundle
from xec_deploy.errors import BundleError
from xec_deploy.parity.rebuild import rebuild_engine

pytestmark = pytest.mark.slow


def test_the_copy_has_an_engine_of_the_same_key(bundle, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from xec_deploy.engines import build_engine
    from xec_deploy.engines.manifest import read_engine_manifest

    own = open_bundle(shutil.copytree(bundle.path, tmp_path / "own.xec"))
    built = build_engine(own, "fp32", flavour="rtx", target="sm80")
    before = {path: path.read_bytes() for path in own.path.rglob("*") if path.is_file()}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    graph = rebuild_engine(own, built.path.name, scratch)
    assert graph == scratch / "own.xec" / "fp32.onnx"
    again = read_engine_manifest(graph.parent / "engines" / built.path.name)
    assert again.key == built.manifest.key
    assert {path: path.read_bytes() for path in own.path.rglob("*") if path.is_file()} == before
    with pytest.raises(BundleError):
        rebuild_engine(own, "absent.engine", tmp_path)
