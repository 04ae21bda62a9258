import numpy as np
import pytest

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import dead_channels

RUNS = np.array([5, 6, 5], np.int64)


def write(path, *ids):
    path.write_text("# dead channels\n" + "".join(f"{channel}\n" for channel in ids))
    return path


def test_default_takes_the_branch_where_there_is_one():
    source = dead_channels(None)
    assert source.branch_in(["npho", "dead"], "f") == "dead"
    assert source.branch_in(["npho"], "f") is None
    assert not source.mask_for(RUNS).any()


def test_none_ignores_the_branch():
    assert dead_channels("none").branch_in(["dead"], "f") is None


def test_named_branch_is_required():
    assert dead_channels("branch").branch_in(["dead"], "f") == "dead"
    assert dead_channels("branch:bad").branch_in(["bad"], "f") == "bad"
    with pytest.raises(InputError, match=r"f: no branch 'ded'.*Did you mean 'dead'"):
        dead_channels("branch:ded").branch_in(["npho", "dead"], "f")


def test_file_of_ids(tmp_path):
    path = tmp_path / "dead.txt"
    path.write_text("# Total: 3 / 4760\n0\n\n 4759  # corner\n17\n17\n")
    source = dead_channels(path)
    mask = np.broadcast_to(source.mask_for(RUNS), (3, 4760))
    assert [list(np.flatnonzero(row)) for row in mask] == [[0, 17, 4759]] * 3
    assert "3 channels" in source.description
    assert str(path) in source.description


def test_file_without_ids_means_no_dead_channels(tmp_path):
    assert not dead_channels(write(tmp_path / "dead.txt")).mask_for(RUNS).any()


@pytest.mark.parametrize("line", ["4760", "-1", "1.5", "x", "1e3"])
def test_bad_id_names_file_and_line(tmp_path, line):
    path = write(tmp_path / "dead.txt", 3, line)
    with pytest.raises(UsageError, match=r"dead\.txt, line 3"):
        dead_channels(path)


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        dead_channels(tmp_path / "absent.txt")


def test_run_list(tmp_path):
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists" / "five.txt", 1, 2)
    write(tmp_path / "lists" / "six.txt", 3)
    listing = tmp_path / "runs.txt"
    listing.write_text("# run file\n5 lists/five.txt\n6 lists/six.txt # new board\n")
    source = dead_channels(listing)
    mask = source.mask_for(RUNS)
    assert [list(np.flatnonzero(row)) for row in mask] == [[1, 2], [3], [1, 2]]
    with pytest.raises(InputError, match=r"runs\.txt: run 7 has no dead-channel file"):
        source.mask_for(np.array([5, 7], np.int64))


def test_path_template(tmp_path):
    write(tmp_path / "dead_run5.txt", 10)
    write(tmp_path / "dead_run6.txt", 11)
    write(tmp_path / "dead_run006.txt", 12)
    plain = dead_channels(f"{tmp_path}/dead_run{{run}}.txt")
    assert [list(np.flatnonzero(row)) for row in plain.mask_for(RUNS)] == [[10], [11], [10]]
    padded = dead_channels(f"{tmp_path}/dead_run{{run:03d}}.txt")
    assert list(np.flatnonzero(padded.mask_for(np.array([6], np.int64)))) == [12]
    with pytest.raises(InputError, match=r"dead_run\{run\}\.txt: run -1 has no"):
        plain.mask_for(np.array([-1], np.int64))


@pytest.mark.parametrize("spec", ["absent{run}.txt", "d{run}/x.txt", "{run:q}.txt"])
def test_unusable_templates(tmp_path, spec):
    with pytest.raises(UsageError):
        dead_channels(f"{tmp_path}/{spec}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("5 a.txt\n6\n", "line 2"),
        ("5 a.txt\n5 b.txt\n", "listed twice"),
        ("5 absent.txt\n", "no such file"),
        ("a b\n", "line 1"),
    ],
)
def test_unusable_run_lists(tmp_path, content, message):
    write(tmp_path / "a.txt")
    write(tmp_path / "b.txt")
    (tmp_path / "runs.txt").write_text(content)
    with pytest.raises(UsageError, match=message):
        dead_channels(tmp_path / "runs.txt")


def test_hash_follows_the_content_not_the_place(tmp_path):
    first = dead_channels(write(tmp_path / "a.txt", 1)).sha256
    assert dead_channels(write(tmp_path / "b.txt", 1)).sha256 == first
    assert dead_channels(write(tmp_path / "b.txt", 2)).sha256 != first
    hashes = {dead_channels(spec).sha256 for spec in (None, "none", "branch", "branch:x")}
    assert len(hashes) == 4

    write(tmp_path / "run5.txt", 1)
    per_run = f"{tmp_path}/run{{run}}.txt"
    before = dead_channels(per_run).sha256
    write(tmp_path / "run6.txt", 1)
    assert dead_channels(per_run).sha256 != before


def test_no_events_need_no_run(tmp_path):
    write(tmp_path / "run5.txt", 1)
    mask = dead_channels(f"{tmp_path}/run{{run}}.txt").mask_for(np.empty(0, np.int64))
    assert mask.shape[1] == 4760
