"""``xec-deploy parity`` as users type it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xec_deploy.bundle import shipped_bundle

PROGRAM = Path(sys.executable).parent / "xec-deploy"


def parity(*arguments, check):
    done = subprocess.run(
        [PROGRAM, "parity", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_table_on_golden_and_measured_events(events):
    shown = parity(shipped_bundle(), "--data", events, "--events", 2, check=0).stdout
    assert "reference torch in float64" in shown
    assert "cpp fp32" in shown
    assert "events.root" in shown
    assert "random bit patterns" in shown
    assert shown.strip().endswith("passed")


def test_json_of_one_engine():
    shown = parity(shipped_bundle(), "--against", "cpp", "--json", check=0).stdout
    record = json.loads(shown)
    assert {part["engine"] for part in record["comparisons"]} == {"cpp"}
    assert record["passed"]


def test_a_gate_that_is_not_kept_is_exit_4(shifted):
    shown = parity(shifted.path, check=4).stdout
    assert "failed" in shown
    assert "golden event" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.xec"], "no such bundle"),
        ([shipped_bundle(), "--against", "tensort"], "no engine 'tensort'"),
        ([shipped_bundle(), "--data", "absent.root"], "absent.root"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(arguments, message):
    assert message in parity(*arguments, check=2).stderr
