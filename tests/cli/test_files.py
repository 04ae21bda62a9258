"""Commands on files of results and events, called in this process."""

import itertools
import json
import os
import re
import signal

import pytest
from click.testing import CliRunner

from xec_deploy import infer
from xec_deploy.bundle import shipped_bundle
from xec_deploy.cli.main import cli
from xec_deploy.errors import Interrupted


@pytest.fixture(scope="module")
def results(reference_root, tmp_path_factory):
    """Results of two reference files."""
    folder = tmp_path_factory.mktemp("results")
    call(
        *("infer", shipped_bundle(), reference_root / "one_event.root"),
        *(reference_root / "fixed_lz4.root", "-o", folder, "--backend", "onnxruntime"),
        *("--batch", 16, "--sessions", 1, "--threads", 1),
    )
    return folder


def call(*arguments):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exception is None, done.exception
    return done.output


def test_merge(results, tmp_path):
    output = call("merge", results / "*_xec.root", "-o", tmp_path / "all.root")
    assert "61 entries of 2 inputs from 2 files" in output
    facts = json.loads(call("inspect", tmp_path / "all.root", "--json"))
    assert facts["entries"] == 61
    assert len(facts["provenance"]["merged"]) == 2


def test_repack_takes_the_advice_of_inspect(reference_root, tmp_path):
    source, out = reference_root / "fixed_lzma.root", tmp_path / "fast.root"
    assert "xec-deploy repack" in call("inspect", source)
    output = call("repack", source, "-o", out, "--codec", "zstd")
    assert "tree tree: 60 entries" in output
    assert "1.6 MB ->" in output
    assert "none, the file is fast to read" in call("inspect", out)


def test_infer_says_what_ran_and_which_channels_are_dead(reference_root, tmp_path):
    dead = tmp_path / "dead.txt"
    dead.write_text("5\n7\n")
    output = call(
        *("infer", shipped_bundle(), reference_root / "one_event.root", "-o", tmp_path / "o.root"),
        *("--backend", "onnxruntime", "--batch", 16, "--sessions", 1, "--threads", 1),
        *("--dead", dead, "--inpaint", "neighbours", "--entries", "0:1"),
    )
    assert "1 done; 1 events in" in output
    assert "onnxruntime on cpu in fp32" in output
    assert f"file {dead} (2 channels), and those with invalid values" in output
    assert "inpainting: neighbours" in output


def test_inspect_says_how_far_unfinished_results_are(reference_root, tmp_path):
    batches = itertools.count()

    def stop(_):
        if next(batches) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    source, out = reference_root / "fixed_lz4.root", tmp_path / "out.root"
    options = {"backend": "onnxruntime", "batch": 4, "sessions": 1, "threads": 1}
    with pytest.raises(Interrupted):
        infer(shipped_bundle(), source, out, progress=stop, **options)
    output = call("inspect", tmp_path / "out.root.part")
    assert re.search(r"done [1-9]\d* of entries 0 to 59", output)
    assert str(source.resolve()) in output
    assert "run the same command again" in output
