"""The page: everything in one file, with the figures of the report."""

import re

import pytest

from xec_deploy.errors import OutputError
from xec_deploy.parity import judge, load_gates, measure_parity

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def measured(shifted):
    measurement = measure_parity(shifted, against=["onnxruntime", "cpp"])
    return measurement, judge(measurement, load_gates())


def test_the_page_has_it_all_and_loads_nothing(measured, tmp_path):
    from xec_deploy.parity.page import write_page

    measurement, report = measured
    page = write_page(report, measurement, tmp_path / "parity.html")
    text = page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["parity.html"]
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert text.count("data:image/png;base64,") == 3
    for part in ("onnxruntime fp32", "cpp fp32", "batches of 16, shuffled", "golden event"):
        assert part in text
    assert ">failed<" in text
    for value in (report.bundle["fp32_sha256"], report.event_sets[0].checksums[0]):
        assert value in text
    (w,) = [p for p in report.comparisons if p.quantity == "w" and p.engine == "cpp"]
    assert w.relative_bias == pytest.approx(-0.5, abs=0.01)
    assert "\N{MINUS SIGN}0.5" in text
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(report, measurement, tmp_path / "no" / "page.html")


def test_numbers_are_written_as_people_do():
    from xec_deploy.parity.page import number

    assert [number(value) for value in (0.0, 0.0132, 12.0)] == ["0", "0.013", "12"]
    assert number(-2.13e-5) == "\N{MINUS SIGN}2.1 \N{MULTIPLICATION SIGN} 10\u207b\u2075"
    assert number(3e21) == "3 \N{MULTIPLICATION SIGN} 10\u00b2\u00b9"
