"""The same events once more: what engines do, and that a difference is found."""

from dataclasses import replace

import numpy as np
import pytest

from xec_deploy.parity import check_parity
from xec_deploy.parity.engines import Subject, Wanted, open_subject
from xec_deploy.parity.events import golden_events
from xec_deploy.parity.metrics import quantities
from xec_deploy.parity.repeats import Base, repeat_batches, repeat_opening, run_events
from xec_deploy.parity.results import NotRun

QUIET = [lambda _: None]


@pytest.fixture(scope="module")
def subject(bundle):
    return open_subject(Wanted("cpp", "cpu", "fp32"), bundle, batch=16)


@pytest.fixture(scope="module")
def base(bundle, subject):
    events = golden_events(bundle.golden)
    wanted = quantities(bundle.manifest, bundle.golden.outputs)
    return Base.of([events], [wanted], [run_events(subject.run, events, *QUIET)])


def test_engines_repeat_themselves_within_the_gate(bundle):
    report = check_parity(bundle, against=["onnxruntime"])
    kinds = {kind: [p for p in report.repeats if p.kind == kind] for kind in ("batch", "rebuild")}
    assert [part.variant for part in kinds["batch"]] == [
        "batches of 16 again", "batches of 16, shuffled", "batches of 1", "batches of 7",
        "batches of 8", "batches of 32",
    ]  # fmt: skip
    assert kinds["batch"][0].bit_equal
    assert len(kinds["rebuild"]) == 2
    assert all(part.bit_equal for part in kinds["rebuild"])
    assert all(part.passed and part.events == 32 for part in report.repeats)
    # Sums of one event may be added up in another order than those of several.
    single = kinds["batch"][2]
    assert single.largest < single.gate == 0.001


def test_results_that_depend_on_the_place_are_found(bundle, subject, base):
    def placed(npho, time, dead):
        outputs = dict(subject.run(npho, time, dead))
        outputs["uvwFI"] = outputs["uvwFI"].copy()
        outputs["uvwFI"][5:6, 2] += 0.01
        return outputs

    first = run_events(placed, base.events, *QUIET)
    odd = replace(subject, run=placed)
    wrong = replace(base, outputs=first)
    again, shuffled, *_ = repeat_batches(
        Wanted("cpp", "cpu", "fp32"), odd, wrong, bundle, None, *QUIET
    )
    assert again.bit_equal
    # Two events lost the displacement, two others got it; some round otherwise anyway.
    assert shuffled.other_bits >= 4
    assert shuffled.largest == pytest.approx(0.01 / 0.5, rel=1e-3)
    assert shuffled.quantity == "w"
    assert abs(shuffled.worst.difference) == pytest.approx(0.01, rel=1e-3)
    assert not replace(shuffled, gate=0.001).passed


def test_a_lost_number_and_other_bits_of_no_size_are_seen(subject, base):
    outputs = {name: values.copy() for name, values in base.outputs.items()}
    outputs["energy"][3] = np.nan
    outputs["timing"][4] = np.nextafter(outputs["timing"][4], np.float32(np.inf))
    part = base.repeat(subject, "batch", "any", outputs)
    assert (part.one_sided, part.other_bits) == (1, 2)
    assert 0 < part.largest < 1e-4
    assert not replace(part, gate=0.001).passed
    same = replace(base.repeat(subject, "batch", "any", base.outputs), gate=0.001)
    assert same.passed
    assert same.bit_equal
    assert same.worst is None


def test_an_engine_that_cannot_be_built_again_says_so(bundle, base, subject):
    settings = {**subject.settings, "engine": "absent.engine"}
    built = Subject(**{**vars(subject), "settings": settings})
    *opened, missing = repeat_opening(
        Wanted("cpp", "cpu", "fp32"), built, base, bundle, None, *QUIET
    )
    assert all(part.bit_equal for part in opened)
    assert isinstance(missing, NotRun)
    assert missing.reason.startswith("built again: ")
