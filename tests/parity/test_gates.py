"""The gates are the contract's, and the same wherever a gate is applied."""

import pytest

from xec_deploy import _cpp
from xec_deploy.bundle import FP32_GATE
from xec_deploy.errors import UsageError
from xec_deploy.parity import load_gates


def test_gates_of_the_contract():
    gates = load_gates()
    assert gates.version >= 1
    assert {name: gates.of(name) for name in ("fp32", "fp16", "bf16", "int8-cpu", "int8-trt")} == {
        "fp32": 0.001, "fp16": 0.02, "bf16": 0.02, "int8-cpu": 0.05, "int8-trt": 0.05,
    }  # fmt: skip
    assert gates.preprocessing == 0


def test_opening_a_bundle_applies_the_same_gates():
    gates = load_gates()
    assert gates.of("fp32") == FP32_GATE
    for precision in gates.precision:
        assert _cpp.parity_gate(precision) == gates.of(precision)
    # A single event may be several spreads off where rounding is random.
    assert gates.of_event("fp32") == FP32_GATE
    assert gates.of_event("int8-cpu") == gates.single_event * gates.of("int8")


def test_unknown_precision():
    with pytest.raises(UsageError, match="no gate for precision 'fp61'"):
        load_gates().of("fp61")
