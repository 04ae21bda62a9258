"""The search takes what is worth most for its error."""

import numpy as np
import pytest

from calibration.record import CalibrationRecord, reusable
from calibration.score import Score
from calibration.search import search, sensitivity

ERRORS = {"cheap": 0.001, "big": 0.03, "good": 0.02, "bad": 0.5, "poor": 0.034}
WORTH = {"cheap": 1, "big": 100, "good": 50, "bad": 40, "poor": 5}


class Bench:
    """Judges sets of groups whose errors add in quadrature."""

    def some(self, _):
        return self

    def score(self, groups):
        worst = float(np.sqrt(sum(ERRORS[group] ** 2 for group in groups)))
        return Score(spread={"u": worst}, bias={"u": 0.0})


def test_the_most_valuable_groups_within_the_gate():
    choice = search(lambda groups: groups, Bench(), WORTH, 0.05)
    assert set(choice.low) == {"cheap", "big", "good"}
    assert choice.score.worst < 0.045
    assert choice.sensitivity[0].group == "bad"
    assert choice.everything.worst > 0.5


def test_everything_if_everything_passes():
    choice = search(lambda groups: groups, Bench(), WORTH, 1.0)
    assert choice.high == ()
    assert choice.sensitivity == ()
    errors = sensitivity(lambda groups: groups, Bench(), WORTH)
    assert errors[0].group == "bad"


def test_parts_of_groups_that_did_not_fit():
    ERRORS.update({"bad/1": 0.4999, "bad/2": 0.01})
    parts = {"bad": {"bad/1": 15, "bad/2": 25}, "big": {"big/1": 100}}
    choice = search(lambda groups: groups, Bench(), WORTH, 0.05, parts=parts)
    assert set(choice.low) == {"cheap", "big", "good", "bad/2"}
    assert set(choice.high) == {"poor", "bad/1"}
    assert choice.share == pytest.approx(176 / 196)


def test_nothing_if_nothing_passes():
    assert search(lambda groups: groups, Bench(), WORTH, 0.0005).low == ()


def test_an_event_that_is_no_number_in_one_fails():
    assert Score({"u": 0.0}, {"u": 0.0}, broken=1).worst == float("inf")


RECORD = CalibrationRecord(
    asked="auto",
    method="mse",
    target="cpu",
    options={"seed": 1},
    data_sha256="a",
    events=8,
    sources=("run.root",),
    model_canonical_sha256="b",
    versions={"onnxruntime": "1"},
    ranges={"x": (-1.0, 2.0)},
)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"ranges": {}, "method": "", "sources": ()}, True),
        ({"asked": "mse"}, False),
        ({"data_sha256": "c"}, False),
        ({"model_canonical_sha256": "c"}, False),
        ({"versions": {"onnxruntime": "2"}}, False),
        ({"target": "tensorrt"}, False),
        ({"options": {"seed": 2}}, False),
    ],
)
def test_a_record_is_reused_only_if_all_it_depends_on_is_the_same(change, same):
    wanted = RECORD.model_copy(update=change)
    found = reusable(RECORD.model_dump(mode="json"), wanted)
    assert found == (RECORD if same else None)


def test_a_record_of_another_form_is_not_reused():
    assert reusable({"method": "mse"}, RECORD) is None
    assert reusable(None, RECORD) is None
