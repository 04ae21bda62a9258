import logging

import pytest

from xec_deploy.errors import InputError
from xec_deploy.events.branches import BranchNames, detect_branches, detect_tree

NAMES = ["run", "event", "npho", "relative_npho", "nphe", "time", "relative_time", "dead"]


def test_preferred_names_win():
    found = detect_branches("f.root", "tree", NAMES, dead="dead")
    assert found == BranchNames("npho", "relative_time", "run", "event", "dead")


def test_fallback_names(caplog):
    with caplog.at_level(logging.INFO):
        found = detect_branches("f.root", "tree", ["relative_npho", "time"])
    assert found == BranchNames("relative_npho", "time", None, None, None)
    assert "npho from 'relative_npho'" in caplog.text
    assert [record.levelname for record in caplog.records].count("WARNING") == 2


def test_photoelectrons_only_by_name():
    with pytest.raises(
        InputError, match=r"f\.root, tree 'rec': no branch 'npho'.*'nphe'.*--npho-branch"
    ):
        detect_branches("f.root", "rec", ["nphe", "time"])
    assert detect_branches("f.root", "rec", ["nphe", "time"], npho="nphe").npho == "nphe"


def test_wrong_name_gets_a_suggestion():
    with pytest.raises(
        InputError, match=r"no branch 'realtive_time'.*Did you mean 'relative_time'.*--time-branch"
    ):
        detect_branches("f.root", "tree", NAMES, time="realtive_time")


def test_tree_detection():
    hist = {"h": "TH1F"}
    assert detect_tree("f", {"tree": "TTree", "other": "TTree"}, None) == "tree"
    assert detect_tree("f", {"rec": "ROOT::RNTuple", **hist}, None) == "rec"
    assert detect_tree("f", {"tree": "TTree", "rec": "TTree"}, "rec") == "rec"
    with pytest.raises(InputError, match=r"has 2 trees.*a, b with --tree"):
        detect_tree("f", {"b": "TTree", "a": "TTree"}, None)
    with pytest.raises(InputError, match=r"no TTree or RNTuple"):
        detect_tree("f", hist, None)
    with pytest.raises(InputError, match=r"no tree 'reco'. Did you mean 'rec'\?.*--tree"):
        detect_tree("f", {"rec": "TTree"}, "reco")
