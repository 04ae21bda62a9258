import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest

from xec_deploy.errors import InputError, UsageError
from xec_deploy.report import make_report

PLOTS = {
    "residuals",
    "resolution_energy",
    "resolution_depth",
    "truth",
    "pulls",
    "distributions",
    "event_typical",
    "event_worst",
}


class Page(HTMLParser):
    """Tags left open, and every address the page refers to."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.images += tag == "img"
        self.addresses += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_full_report(tmp_path, write_results, rows):
    before = dict(mpl.rcParams)
    report = make_report(write_results(), tmp_path / "deep" / "report", conventional_events=200)
    assert dict(mpl.rcParams) == before
    assert {figure.name for figure in report.figures} == PLOTS
    for figure in report.figures:
        assert figure.png.read_bytes().startswith(b"\x89PNG")
        assert figure.pdf.read_bytes().startswith(b"%PDF")

    text = report.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.images == len(PLOTS)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"url\(|@import|<script", text)
    assert "<b>compact" not in text
    assert "&lt;b&gt;compact" in text

    summary = json.loads(report.summary_file.read_text())
    assert summary == json.loads(json.dumps(report.summary))
    assert summary["events"] == 260
    assert summary["events_per_second"] == 130
    assert summary["not_computed"]["energy"] == 1
    energy = summary["resolution"]["energy"]
    assert energy["network"]["excluded"] == 1
    inside = np.isfinite(rows["energy"])
    assert energy["network"]["n"] <= inside.sum()
    assert abs(energy["network"]["sigma68"] - 1.5) < 4 * energy["network"]["sigma68_error"]
    assert energy["conventional"]["sigma68"] < 3
    assert energy["published"] == 1.8
    assert summary["resolution"]["u"]["unit"] == "mm"


def test_without_truth_there_are_distributions(tmp_path, write_results):
    report = make_report(write_results(origin={}), tmp_path / "report")
    assert [figure.name for figure in report.figures] == ["distributions"]
    assert "no truth" in report.page.read_text(encoding="utf-8")
    assert report.summary["resolution"] == {}
    assert report.summary["events_per_second"] is None


@pytest.mark.parametrize("count", [0, 2])
def test_a_handful_of_events_makes_a_report(tmp_path, write_results, count):
    names = ["run", "event", "status", "energy", "energyTruth"]
    path = write_results(names, origin={}, select=slice(0, count))
    report = make_report(path, tmp_path / "report")
    assert report.summary["events"] == count
    assert Page(report.page.read_text(encoding="utf-8")).open == []


def test_all_values_missing_makes_a_report(tmp_path, write_results, rows, monkeypatch):
    monkeypatch.setitem(rows, "energy", np.full_like(rows["energy"], np.nan))
    report = make_report(write_results(["energy", "energyTruth"], origin={}), tmp_path / "report")
    assert report.summary["not_computed"] == {"energy": 260}


def test_unusable_input_and_output(tmp_path, write_results):
    path = write_results(origin={})
    with pytest.raises(InputError, match="cannot be read"):
        make_report(tmp_path / "absent.root", tmp_path / "report")
    with pytest.raises(InputError):
        make_report(path, tmp_path / "report", events=tmp_path / "absent.root")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        make_report(path, tmp_path / "file" / "report")


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_library_names_the_extra(tmp_path, write_results, library):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from xec_deploy.errors import MissingExtra\n"
        "from xec_deploy.report import make_report\n"
        "try: make_report(sys.argv[1], sys.argv[2])\n"
        "except MissingExtra as error: print(error)\n"
    )
    path = write_results(["energy"], origin={})
    done = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "report"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"needs {library}" in done.stdout
    assert "xec-deploy[plot]" in done.stdout


def test_the_conventional_reconstruction_is_compared_where_it_was_made(
    tmp_path, write_results, rows
):
    names = ["run", "event", "status", *"uvw", "energy"] + [name for name in rows if "conv" in name]
    report = make_report(write_results(names), tmp_path / "report")
    assert report.summary["conventional"] == "reconstruction"
    # As in the fixture: u_conv is a millimetre off, and a per cent broader in energy.
    u, energy = (report.summary["resolution"][name] for name in ("u", "energy"))
    assert u["conventional"]["bias"] - u["network"]["bias"] == pytest.approx(1, abs=1e-3)
    assert energy["conventional"]["sigma68"] > energy["network"]["sigma68"]
    assert "two-stage position fit" in report.page.read_text(encoding="utf-8")
