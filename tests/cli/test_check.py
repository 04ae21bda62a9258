"""``check`` as users type it: exit codes, table, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import onnx

from xec_deploy.bundle import shipped_bundle
from xec_deploy.bundle.onnx_file import load_onnx

BIN = Path(sys.executable).parent / "xec-deploy"


def command(*arguments):
    return subprocess.run(
        [BIN, "check", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_good_bundle_passes_with_a_table():
    done = command(shipped_bundle())
    assert done.returncode == 0, done.stderr
    assert "fp32.onnx" in done.stdout
    assert "0 failed" in done.stdout
    assert "the graph has no 16-bit tensors" in done.stdout


def test_a_bad_graph_fails_with_exit_code_4_and_stable_keys(tmp_path):
    model = load_onnx(shipped_bundle() / "fp32.onnx")
    del model.metadata_props[:]
    model.graph.input[0].name = "photons"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "npho":
                node.input[place] = "photons"
    path = tmp_path / "bare.onnx"
    onnx.save(model, path)
    done = command(path, "--json", "--only", "E01,E05")
    assert done.returncode == 4, done.stderr
    report = json.loads(done.stdout)
    assert (report["schema"], report["path"], report["passed"]) == (1, str(path), False)
    (graph,) = report["graphs"]
    assert (graph["name"], graph["file"], graph["passed"]) == ("bare", "bare.onnx", False)
    valid, interface = graph["checks"]
    assert (valid["id"], valid["status"], valid["findings"]) == ("E01", "passed", [])
    assert set(interface) == {"id", "title", "severity", "status", "skipped", "findings"}
    assert {"message", "node", "operator", "tensor"} == set(interface["findings"][0])
    table = command(path, "--only", "E05")
    assert table.returncode == 4
    assert "input 'npho' is missing" in table.stdout


def test_user_mistakes_exit_2(tmp_path):
    for arguments, message in (
        ((tmp_path / "absent.xec",), "no such bundle"),
        ((shipped_bundle(), "--only", "E77"), "there is no check 'E77'"),
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
