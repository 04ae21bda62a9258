"""Differences that are kept are judged as those just measured, by any gates."""

from dataclasses import replace

import numpy as np
import pytest

from xec_deploy.errors import InputError, OutputError, UsageError
from xec_deploy.parity import judge, load_gates, measure_parity, read_gates
from xec_deploy.parity.macro import MacroMeasurement
from xec_deploy.parity.stored import load_measurement, save_measurement


@pytest.fixture(scope="module")
def measurement(bundle, events):
    """Two engines, and a fit that is three times off."""
    found = measure_parity(
        bundle, data=[str(events)], events=5, against=["onnxruntime", "cpp"], repeats=True
    )
    displaced = np.zeros((10, 3))
    displaced[:3, 2] = 0.03
    ones = np.ones(10)
    fit = MacroMeasurement(
        displaced, displaced, ones, 0.9 * ones, np.arange(10), 5 * ones, 5.01 * ones
    )
    return replace(found, macro=fit)


@pytest.fixture
def stored(measurement, tmp_path):
    path = tmp_path / "parity.npz"
    save_measurement(measurement, path)
    return path


def test_the_same_report_comes_back(measurement, stored):
    gates = load_gates()
    report = judge(measurement, gates)
    assert judge(load_measurement(stored), gates) == report
    assert report.macro[3].failed == 3
    golden, data = report.event_sets
    assert data.checksums[0].startswith("xxh3_128:")
    assert golden.checksums[0] == measurement.event_sets[0].facts.checksums[0]


def test_the_file_is_small_and_its_bytes_are_those_of_its_content(measurement, stored, tmp_path):
    numbers = 8 * 7 * (32 + 5) * (1 + 2)
    assert stored.stat().st_size < 4 * numbers
    again = tmp_path / "again.npz"
    save_measurement(measurement, again)
    assert again.read_bytes() == stored.read_bytes()


def test_other_gates_give_other_verdicts_without_running_anything(stored, tmp_path):
    gates = tmp_path / "gates.yaml"
    gates.write_text("version: 77\nprecision: {fp32: 1.0e-5}\nmacro: {fit_cm: [0.1, 0.1, 0.1]}\n")
    tight = judge(load_measurement(stored), read_gates(gates))
    assert tight.gates_version == 77
    assert tight.to_dict()["gates"]["source"] == str(gates)
    assert not any(part.passed for part in tight.comparisons if part.quantity == "energy")
    assert {part.gate for part in tight.repeats} == {1e-5}
    # What the file does not state is as in the package.
    assert tight.gates.of("int8") == load_gates().of("int8")
    assert tight.gates.macro.stage1_cm == load_gates().macro.stage1_cm
    assert tight.macro[3].within == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precisions: {fp32: 1}", "unknown key 'precisions'. Did you mean 'precision'"),
        ("precision: {fp32: 0}", "precision.fp32"),
        ("precision: {int9: 1}", "unknown precision 'int9'. Did you mean 'int8'"),
        ("source: me", "unknown key 'source'"),
        ("single_event: [1, 2]", "single_event"),
        ("- 3", "no gates in it"),
        ("precision: {", "cannot be read"),
    ],
)
def test_gates_that_are_none_are_a_sentence(tmp_path, text, message):
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_gates(path)
    assert message in str(caught.value)


def test_what_is_no_measurement_is_refused(measurement, stored, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_measurement(tmp_path / "absent.npz")
    np.savez(tmp_path / "odd.npz", npho=np.zeros(3))
    with pytest.raises(InputError, match="--store"):
        load_measurement(tmp_path / "odd.npz")
    stored.write_bytes(stored.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        load_measurement(stored)
    with pytest.raises(OutputError, match="cannot be written"):
        save_measurement(measurement, tmp_path / "no" / "folder.npz")
