"""Repacked files: the same content, faster to read."""

import numpy as np
import pytest
import uproot

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import open_events
from xec_deploy.events.advice import reading_advice
from xec_deploy.events.repack import repack


@pytest.mark.parametrize(
    "name", ["fixed_lzma", "fixed_lz4", "double_zlib", "vector_zstd", "rvec", "dead_branch"]
)
def test_the_events_are_the_same(reference_root, tmp_path, name, read_all, assert_same_events):
    out = tmp_path / "out.root"
    keep = ["uvwTruth", "energyTruth"]
    done = repack(str(reference_root / f"{name}.root"), out, codec="ZSTD")
    assert done.entries == {"tree": 60}
    assert done.bytes_after == out.stat().st_size
    original = read_all(reference_root / f"{name}.root", keep=keep)
    assert_same_events(read_all(out, keep=keep), original)
    with open_events(out) as events:
        assert (events.codec, events.units) == ("ZSTD", 1)
        assert reading_advice(events) is None


def test_advice_names_codec_and_baskets(reference_root):
    def advice(name):
        with open_events(reference_root / f"{name}.root") as events:
            return reading_advice(events)

    assert "LZMA" in advice("fixed_lzma")
    assert "xec-deploy repack" in advice("fixed_lzma")
    assert "every basket holds only one event" in advice("vector_zstd")
    assert advice("fixed_lz4") is None
    assert advice("rntuple") is None


def test_other_objects_and_trees_come_along(tmp_path, root_module):
    path, out = tmp_path / "in.root", tmp_path / "out.root"
    file = root_module.TFile(str(path), "RECREATE", "", 207)
    histogram = root_module.TH1F("light", "light;photons", 10, 0, 1)
    histogram.Fill(0.5)
    histogram.Write()
    for name in ("one", "two"):
        tree = root_module.TTree(name, f"tree {name}")
        value = np.zeros(1)
        tree.Branch("value", value, "value/D")
        for number in range(3):
            value[0] = number
            tree.Fill()
        tree.Write()
    file.Close()
    assert repack(str(path), out).entries == {"one": 3, "two": 3}
    with uproot.open(out) as found:
        assert found["light"].values().sum() == 1
        assert found["two"].title == "tree two"
        assert found["two"]["value"].title == "value/D"
        assert found["two"]["value"].array(library="np").tolist() == [0, 1, 2]
    again = root_module.TFile(str(out))
    assert again.Get("one").GetEntries() == 3
    again.Close()


def test_what_cannot_be_repacked_is_said(reference_root, tmp_path, root_module):
    out = tmp_path / "out.root"
    for name, message in (("corrupted", "reading failed"), ("rntuple", "Nothing needs")):
        with pytest.raises(InputError, match=message):
            repack(str(reference_root / f"{name}.root"), out)
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        repack(str(reference_root / "one_event.root"), out)
    path = tmp_path / "strings.root"
    file = root_module.TFile(str(path), "RECREATE")
    tree = root_module.TTree("tree", "")
    text = root_module.std.vector("string")()
    tree.Branch("words", text)
    tree.Fill()
    tree.Write()
    file.Close()
    with pytest.raises(InputError, match=r"branch 'words' holds .*hadd"):
        repack(str(path), out, force=True)
    assert out.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.root", "strings.root"]
