"""Torch as reference and as engine, for a research checkpoint."""

import pytest

from xec_deploy.backends import present_backends
from xec_deploy.errors import BundleError
from xec_deploy.parity import check_parity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def research(reference, tmp_path_factory):
    """A research checkpoint and the bundle exported from it."""
    pytest.importorskip("torch")
    from xec_deploy.export import export_bundle

    checkpoint = reference / "legacy" / "regressor_split.pth"
    folder = tmp_path_factory.mktemp("research")
    return checkpoint, export_bundle(checkpoint, folder / "split.xec")


def test_torch_is_the_reference_and_an_engine(research, events):
    checkpoint, bundle = research
    report = check_parity(
        bundle, data=[str(events)], events=1, checkpoint=checkpoint, repeats=False
    )
    assert report.passed
    assert {part.engine for part in report.comparisons} == {*present_backends(), "cpp"}
    assert report.event_sets[1].reference == "torch in float64 (regressor_split.pth)"
    assert report.event_sets[1].reference_error < 1e-9
    predicted = [part for part in report.comparisons if part.quantity == "energy_sigma"]
    assert len(predicted) == 2 * len({part.engine for part in report.comparisons})
    assert all(part.assumed_resolution for part in predicted)


def test_both_references_agree(research, events):
    checkpoint, bundle = research
    torch_based, graph_based = (
        check_parity(
            bundle, data=[str(events)], events=1, against=["cpp"], checkpoint=source, repeats=False
        )
        for source in (checkpoint, None)
    )
    for first, second in zip(torch_based.comparisons, graph_based.comparisons, strict=True):
        for one, other in zip(first.worst, second.worst, strict=True):
            assert one.difference == pytest.approx(other.difference, abs=1e-5 * first.resolution)


def test_another_checkpoint_is_no_reference(research, reference, events):
    _, bundle = research
    other = reference / "legacy" / "regressor_finegrid.pth"
    with pytest.raises(BundleError, match="other tasks"):
        check_parity(bundle, data=[str(events)], events=2, checkpoint=other)
