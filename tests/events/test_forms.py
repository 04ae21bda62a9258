"""Files as ROOT itself writes them, beyond the forms of the reference files."""

import numpy as np
import pytest

from xec_deploy.errors import InputError
from xec_deploy.events import open_events

MAKERS = """
#include <array>
#include <vector>
#include "TFile.h"
#include "TTree.h"
namespace xec_test {
float value(int entry, int channel) { return 0.5f * entry + channel; }
void two_trees(const char* path) {
  TFile file(path, "RECREATE");
  static float light[4760], when[4760];
  for (const char* name : {"first", "second"}) {
    TTree tree(name, "");
    tree.Branch("light", light, "light[4760]/F", 4000000);
    tree.Branch("when", when, "when[4760]/F");
    for (int entry = 0; entry < 30; ++entry) {
      for (int i = 0; i < 4760; ++i) { light[i] = value(entry, i); when[i] = -light[i]; }
      tree.Fill();
    }
    tree.Write();
  }
}
void ragged(const char* path, const std::vector<int>& lengths) {
  TFile file(path, "RECREATE");
  TTree tree("tree", "");
  std::vector<float> npho, time, three; std::vector<char> dead; std::vector<int> odd;
  tree.Branch("npho", &npho); tree.Branch("time", &time); tree.Branch("dead", &dead);
  tree.Branch("three", &three); tree.Branch("odd", &odd);
  for (size_t entry = 0; entry < lengths.size(); ++entry) {
    npho.clear();
    for (int i = 0; i < lengths[entry]; ++i) npho.push_back(value(entry, i));
    time.assign(4760, 1e-7f); dead.assign(4760, 0); dead[entry] = 1;
    three.assign(3, entry); odd.assign(entry + 1, entry);
    tree.Fill();
  }
  tree.Write();
}
void counted(const char* path) {
  TFile file(path, "RECREATE", "", 0);
  TTree tree("tree", "");
  static float npho[4760], time[4760]; static double grid[2][3]; int n = 4760; ULong64_t run = 9;
  UShort_t event; bool good = true; char name[] = "text";
  tree.Branch("n", &n, "n/I"); tree.Branch("npho", npho, "npho[n]/F");
  tree.Branch("time", time, "time[68][70]/F"); tree.Branch("grid", grid, "grid[2][3]/D");
  tree.Branch("run", &run, "run/l"); tree.Branch("event", &event, "event/s");
  tree.Branch("good", &good, "good/O"); tree.Branch("name", name, "name/C");
  for (int entry = 0; entry < 5; ++entry) {
    event = 100 + entry;
    for (int i = 0; i < 4760; ++i) { npho[i] = value(entry, i); time[i] = i; }
    for (int i = 0; i < 6; ++i) grid[i / 3][i % 3] = entry + i;
    tree.Fill();
  }
  tree.Write();
}
}
"""
RNTUPLE = """
#include <array>
#include <vector>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
namespace xec_test {
void rntuple(const char* path, int entries, int per_cluster, int compression) {
  auto model = ROOT::RNTupleModel::Create();
  auto npho = model->MakeField<std::array<float, 4760>>("npho");
  auto time = model->MakeField<std::vector<double>>("time");
  auto dead = model->MakeField<std::vector<bool>>("dead");
  auto run = model->MakeField<std::int64_t>("run");
  auto event = model->MakeField<std::uint32_t>("event");
  auto text = model->MakeField<std::string>("text");
  ROOT::RNTupleWriteOptions options; options.SetCompression(compression);
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "events", path, options);
  for (int entry = 0; entry < entries; ++entry) {
    *run = -7; *event = entry * 3; *text = "x";
    time->resize(4760); dead->assign(4760, false); (*dead)[entry % 4760] = true;
    for (int i = 0; i < 4760; ++i) { (*npho)[i] = value(entry, i); (*time)[i] = 1e-9 * i; }
    writer->Fill();
    if ((entry + 1) % per_cluster == 0) writer->CommitCluster();
  }
}
}
"""


@pytest.fixture(scope="module")
def makers(root_module):
    assert root_module.gInterpreter.Declare(MAKERS)
    assert root_module.gInterpreter.Declare(RNTUPLE)
    return root_module.xec_test


def expected(entries):
    return (0.5 * np.arange(entries)[:, None] + np.arange(4760)).astype(np.float32)


def test_other_names_two_trees_and_big_baskets(makers, tmp_path, read_all):
    path = f"{tmp_path}/two.root"
    makers.two_trees(path)
    with pytest.raises(InputError, match=r"two\.root: the file has 2 trees.*first, second"):
        open_events(path)
    with pytest.raises(InputError, match=r"tree 'first': no branch 'npho'.*light.*--npho-branch"):
        open_events(path, tree="first")
    events = read_all(f"{path}:second", npho_branch="light", time_branch="when")
    np.testing.assert_array_equal(events.npho, expected(30))
    np.testing.assert_array_equal(events.time, -expected(30))


def test_events_of_another_length_are_unreadable(makers, root_module, tmp_path, read_all):
    path = f"{tmp_path}/ragged.root"
    lengths = [0, 4760, 4092, 4760, 4761]
    makers.ragged(path, root_module.std.vector[int](lengths))
    events = read_all(path, size=2, keep=["three"])
    assert events.readable.tolist() == [False, True, False, True, False]
    bad = ~events.readable
    assert np.isnan(events.npho[bad]).all()
    assert np.isnan(events.time[bad]).all()
    assert events.dead[bad].all()
    np.testing.assert_array_equal(events.npho[~bad], expected(5)[~bad])
    assert [np.flatnonzero(row).tolist() for row in events.dead[~bad]] == [[1], [3]]
    np.testing.assert_array_equal(events.extra["three"], np.repeat(np.arange(5.0), 3).reshape(5, 3))


def test_vectors_without_one_good_event_are_refused(makers, root_module, tmp_path):
    path = f"{tmp_path}/ragged.root"
    makers.ragged(path, root_module.std.vector[int]([4092] * 5))
    with pytest.raises(InputError, match="branch 'npho': 4092 values an event, expected 4760"):
        open_events(path)


def test_kept_vectors_must_have_one_length(makers, root_module, tmp_path, read_all):
    path = f"{tmp_path}/ragged.root"
    makers.ragged(path, root_module.std.vector[int]([4760] * 5))
    with pytest.raises(InputError, match=r"branch 'odd', entries 1 to 1: .*--keep"):
        read_all(path, keep=["odd"])


def test_counted_arrays_grids_and_unsigned_numbers(makers, tmp_path, read_all):
    path = f"{tmp_path}/counted.root"
    makers.counted(path)
    with open_events(path) as file:
        assert file.codec == "none"
    events = read_all(path, size=2, keep=["grid", "good", "n"])
    np.testing.assert_array_equal(events.npho, expected(5))
    np.testing.assert_array_equal(events.time[3], np.arange(4760))
    assert events.run.tolist() == [9] * 5
    assert events.event.tolist() == [100, 101, 102, 103, 104]
    assert events.extra["grid"].shape == (5, 2, 3)
    assert events.extra["grid"][2, 1].tolist() == [5, 6, 7]
    assert events.extra["good"].dtype == bool
    with pytest.raises(InputError, match=r"branch 'name': .*not a number"):
        open_events(path, keep=["name"])


@pytest.mark.parametrize("compression", [0, 101, 404, 505])
def test_rntuple_of_several_clusters(makers, tmp_path, read_all, compression):
    path = f"{tmp_path}/rntuple.root"
    makers.rntuple(path, 150, 64, compression)
    events = read_all(path, size=37)
    np.testing.assert_array_equal(events.npho, expected(150))
    np.testing.assert_allclose(events.time[77], 1e-9 * np.arange(4760), rtol=1e-7)
    assert set(events.run.tolist()) == {-7}
    assert events.event.tolist() == list(range(0, 450, 3))
    np.testing.assert_array_equal(np.flatnonzero(events.dead), np.arange(150) * 4761)
    with open_events(path) as file:
        assert file.codec == {0: "none", 101: "ZLIB", 404: "LZ4", 505: "ZSTD"}[compression]
        assert file.form == "RNTuple, std::array<float,4760>"
        later = next(file.batches(10, start=100))
    np.testing.assert_array_equal(later.npho, expected(150)[100:110])
    with pytest.raises(InputError, match=r"branch 'text': .*not a number"):
        open_events(path, keep=["text"])


def test_flipped_bit_of_an_uncompressed_page_is_noticed(makers, tmp_path, read_all):
    path = tmp_path / "rntuple.root"
    makers.rntuple(str(path), 20, 64, 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checksum of the page at byte \d+ does not match"):
        read_all(path)
