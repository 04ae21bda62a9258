"""The commands as users type them: exit codes, messages, files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uproot

from xec_deploy.bundle import shipped_bundle
from xec_deploy.simulation import SimulationConfig, write_simulation

BIN = Path(sys.executable).parent


def command(*arguments, check=None, **options):
    result = subprocess.run(
        [str(BIN / arguments[0]), *map(str, arguments[1:])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
    if check is not None:
        assert result.returncode == check, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "events.root"
    write_simulation(path, SimulationConfig(seed=8), 60)
    return path


def test_help_of_every_command_has_an_example():
    listed = command("xec-deploy", "--help", check=0).stdout
    names = ("doctor", "demo", "export", "check", "build-engine", "inspect", "infer", "parity")
    for name in (*names, "bench", "report"):
        assert name in listed
        text = command("xec-deploy", name, "--help", check=0).stdout
        assert re.search(rf"Examples?:\s+xec-deploy {name}", text), name
    for name in ("simulate", "regressor"):
        assert "Example:" in command("xec-train", name, "--help", check=0).stdout


def test_help_does_not_load_engines():
    code = "import sys, xec_deploy.cli.main as m; print([n for n in sys.modules if n in heavy])"
    result = subprocess.run(
        [sys.executable, "-c", "heavy = {'torch', 'onnxruntime', 'uproot', 'matplotlib'}\n" + code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_infer_one_file(events, tmp_path):
    result = command(
        "xec-deploy", "infer", shipped_bundle(), events, "-o", tmp_path / "o.root", check=0
    )
    assert "60" in result.stdout
    assert (tmp_path / "o.root").is_file()


def test_infer_with_a_bad_file_finishes_the_others(events, tmp_path):
    bad = tmp_path / "bad.root"
    bad.write_bytes(events.read_bytes()[:50000])
    result = command(
        "xec-deploy",
        "infer",
        shipped_bundle(),
        events,
        bad,
        "-o",
        tmp_path / "out",
        "--json",
        check=3,
    )
    files = json.loads(result.stdout)["files"]
    assert [file["outcome"] for file in files] == ["done", "failed"]
    assert str(bad) in result.stderr
    assert (tmp_path / "out" / "events_xec.root").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infer", "absent.xec", "x.root", "-o", "o.root"], "no such bundle"),
        (["infer", shipped_bundle(), "none*.root", "-o", "o.root"], "none*.root"),
        (["infer", shipped_bundle(), "absent.root", "-o", "o.root"], "absent.root"),
        (["infer", shipped_bundle(), "x.root", "-o", "o.root", "--backend", "tensort"], "tensort"),
        (["infer", shipped_bundle(), "x.root"], "--output"),
        (["infr"], "Did you mean 'infer'"),
        (["inspect", "absent.xec"], "no such file"),
        (["export", "absent.pth", "-o", "a.xec"], "absent.pth: no such file"),
        (["export", "absent.pth", "-o", "a"], ".xec"),
        (["report", "absent.root", "-o", "r"], "absent.root"),
    ],
)
def test_user_mistakes_are_one_sentence_and_exit_2(tmp_path, arguments, message):
    result = command("xec-deploy", *arguments, cwd=tmp_path, check=2)
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path):
    result = subprocess.run(
        [BIN / "xec-deploy", "--debug", "inspect", "absent.xec"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" in result.stderr


def test_inspect_bundle_events_and_results(events, tmp_path):
    bundle = json.loads(
        command("xec-deploy", "inspect", shipped_bundle(), "--json", check=0).stdout
    )
    assert bundle["layout"] == "physical"
    assert bundle["normalisation"]["npho_scheme"] == "sqrt"
    raw = command("xec-deploy", "inspect", events, check=0).stdout
    assert "float[4760]" in raw
    command("xec-deploy", "infer", shipped_bundle(), events, "-o", tmp_path / "o.root", check=0)
    results = json.loads(
        command("xec-deploy", "inspect", tmp_path / "o.root", "--json", check=0).stdout
    )
    assert results["branches"]["energy"] == "energy [GeV]"
    assert results["provenance"]["bundle"]["name"] == bundle["name"]


def test_doctor_says_what_works():
    result = command("xec-deploy", "doctor", check=0)
    assert "onnxruntime" in result.stdout
    assert "golden events verified" in result.stdout


def test_demo_ends_with_a_picture_and_a_page(tmp_path):
    result = command("xec-deploy", "demo", tmp_path / "demo", "--events", "60", check=0)
    picture, page = result.stdout.strip().splitlines()[-2:]
    assert Path(picture.split(maxsplit=1)[1]).is_file()
    assert Path(page.split(maxsplit=1)[1]).read_text(encoding="utf-8").startswith("<!DOCTYPE html")


def test_simulate_in_one_or_more_files_gives_the_same_events(tmp_path):
    from xec_deploy.events import open_events

    command("xec-train", "simulate", "-o", tmp_path / "one.root", "--events", 130, check=0)
    command("xec-train", "simulate", "-o", tmp_path / "m", "--events", 130, "--files", 2, check=0)
    with open_events(tmp_path / "one.root") as file:
        whole = next(file.batches(130)).npho
    parts = []
    for index in range(2):
        with open_events(tmp_path / f"m_{index:03d}.root") as file:
            parts.extend(batch.npho for batch in file.batches(1000))
    assert b"".join(part.tobytes() for part in parts) == whole.tobytes()


def test_sigterm_ends_with_code_3_and_the_same_command_continues(tmp_path):
    source = tmp_path / "many.root"
    write_simulation(source, SimulationConfig(seed=9), 600)
    arguments = ("infer", shipped_bundle(), source, "-o", tmp_path / "out.root", "--batch", 4)
    process = subprocess.Popen(
        [BIN / "xec-deploy", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    # Terminate while it is working: the part folder is there as soon as events flow.
    part = tmp_path / "out.root.part"
    deadline = time.monotonic() + 120
    while not list(part.glob("*.rows")) and time.monotonic() < deadline and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "Traceback" not in errors
    assert "run the same command again" in errors
    assert not (tmp_path / "out.root").exists()
    command("xec-deploy", *arguments, check=0)
    assert not part.exists()
    command(
        "xec-deploy", "infer", *arguments[1:3], "-o", tmp_path / "b.root", "--batch", 4, check=0
    )
    with uproot.open(tmp_path / "out.root") as one, uproot.open(tmp_path / "b.root") as other:
        names = one["xec"].keys()
        assert "energy" in names
        for name in names:
            found, expected = (file["xec"][name].array(library="np") for file in (one, other))
            assert found.tobytes() == expected.tobytes(), name


def test_names_with_brackets_and_blanks_are_shown_as_they_are(reference_root, tmp_path):
    source = tmp_path / "run [bold]1.root"
    source.write_bytes((reference_root / "one_event.root").read_bytes())
    (tmp_path / "out[").mkdir()
    out = tmp_path / "out[" / "red]" / "o.root"
    result = command("xec-deploy", "infer", shipped_bundle(), source, "-o", out, check=0)
    assert source.name in result.stdout
    assert str(out) in result.stdout


def test_messages_are_one_line_each(tmp_path):
    empty = tmp_path / ("a long name " * 10 + ".root")
    empty.touch()
    result = command(
        "xec-deploy", "infer", shipped_bundle(), empty, "-o", tmp_path / "o.root", check=2
    )
    message = f"error: {empty}: the file is empty (0 bytes). Produce or copy it again."
    assert message in result.stderr.splitlines()


def test_what_the_system_refuses_is_no_internal_error(tmp_path):
    (tmp_path / "file").touch()
    result = command("xec-deploy", "demo", tmp_path / "file" / "demo", "--events", 10, check=2)
    assert "Not a directory" in result.stderr
    assert "internal" not in result.stderr


def test_inspect_goes_by_the_content(reference_root, tmp_path):
    part = tmp_path / "out.root.part"
    part.write_bytes((reference_root / "one_event.root").read_bytes())
    assert "float[4760]" in command("xec-deploy", "inspect", part, check=0).stdout
    assert "no such file" in command("xec-deploy", "inspect", "", check=2).stderr


def test_inspect_of_results_without_their_tree(tmp_path):
    odd = tmp_path / "odd.root"
    with uproot.recreate(odd) as file:
        file["provenance"] = json.dumps({"input": {}})
    assert "odd.root" in command("xec-deploy", "inspect", odd, check=2).stderr


def test_export_refuses_a_negative_limit(tmp_path):
    arguments = ("export", "a.pth", "-o", "a.xec", "--max-dead", "-1")
    result = command("xec-deploy", *arguments, cwd=tmp_path, check=2)
    assert "--max-dead" in result.stderr
