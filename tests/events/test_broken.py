"""Whatever is wrong with a file, the answer is one `InputError` that names it."""

import os
import pickle

import numpy as np
import pytest
import uproot

from xec_deploy.errors import InputError
from xec_deploy.events import open_events


def test_truncated(reference_root):
    with pytest.raises(
        InputError, match=r"truncated\.root: the file is truncated: 1091151 bytes of"
    ):
        open_events(reference_root / "truncated.root")


def test_corrupted(reference_root):
    with (
        open_events(reference_root / "corrupted.root") as file,
        pytest.raises(
            InputError,
            match=r"corrupted\.root, tree 'tree', branch 'npho', entries 0 to 59: reading failed",
        ),
    ):
        next(file.batches(1))


def test_every_corrupted_basket_is_refused_and_the_others_are_right(
    reference_root, sixty, monkeypatch
):
    monkeypatch.setattr("xec_deploy.events.ttree.BLOCK_BYTES", 1)  # one basket a block
    refused = []
    with open_events(reference_root / "corrupted.root") as file:
        for entry in range(60):
            events = file.batches(1, entry, entry + 1)
            try:
                batch = next(events)
            except InputError as error:
                refused.append((entry, str(error)))
                continue
            np.testing.assert_array_equal(batch.npho[0], sixty.npho[entry])
            np.testing.assert_array_equal(batch.time[0], sixty.time[entry])
    assert 20 < len(refused) < 45
    for entry, message in refused:
        assert f"entries {entry} to {entry}: reading failed (computed checksum" in message


def test_wrong_length(reference_root):
    with pytest.raises(InputError, match="branch 'npho': 4092 values an event, expected 4760"):
        open_events(reference_root / "wrong_length.root")


def test_not_a_usable_file(tmp_path, reference_root):
    text = tmp_path / "text.root"
    text.write_text("root of all evil, and more text than a header has\n")
    empty = tmp_path / "empty.root"
    empty.touch()
    short = tmp_path / "short.root"
    short.write_bytes(b"root\0")
    header = tmp_path / "header.root"
    header.write_bytes((reference_root / "fixed_lz4.root").read_bytes()[:100])
    for path, message in (
        (tmp_path / "absent.root", "no such file"),
        (tmp_path, "this is a directory"),
        (empty, "empty"),
        (text, "not a ROOT file"),
        (short, "not a ROOT file"),
        (header, "truncated: 100 bytes"),
        ("/dev/null/x.root", "cannot be opened"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            open_events(path)
        assert str(path) in str(caught.value)
        assert caught.value.fix
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_no_permission(tmp_path):
    path = tmp_path / "private.root"
    path.write_bytes(b"root")
    path.chmod(0)
    tmp_path.chmod(0o711)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"private\.root: no permission"):
            open_events(path)
    finally:
        os.seteuid(user)


def test_no_tree(tmp_path):
    path = tmp_path / "text.root"
    with uproot.recreate(path) as file:
        file["note"] = "no events here"
    with pytest.raises(InputError, match=r"text\.root: the file has no TTree or RNTuple"):
        open_events(path)


def test_branches_of_different_length(make_events, root_module):
    path = str(make_events("events.root", 3))
    file = root_module.TFile(path, "UPDATE")
    tree = file.Get("tree")
    number = np.zeros(1, "i4")
    tree.Branch("late", number, "late/I").Fill()
    tree.Write("", root_module.TObject.kOverwrite)
    file.Close()
    with pytest.raises(InputError, match=r"branch 'late': the branch has 1 entries, the tree 3"):
        open_events(path, keep=["late"])


@pytest.mark.parametrize("scheme", ["http", "root"])
def test_unreachable_address(scheme):
    with pytest.raises(InputError, match=rf"{scheme}://127\.0\.0\.1:9/x\.root: opening failed"):
        open_events(f"{scheme}://127.0.0.1:9/x.root")


@pytest.mark.parametrize(
    "name", ["fixed_lz4", "fixed_lzma", "double_zlib", "vector_zstd", "rvec", "rntuple"]
)
def test_random_damage_raises_nothing_else(reference_root, tmp_path, rng, name, sixty):
    """Flip bits anywhere: the same events, or an `InputError`.

    Damage to ZSTD data in a TTree cannot be detected: the format stores no checksum there.
    """
    original = (reference_root / f"{name}.root").read_bytes()
    path = tmp_path / "damaged.root"
    for _ in range(12):
        content = np.frombuffer(original, np.uint8).copy()
        where = [len(content), 1500, 9000][rng.integers(3)]
        positions = rng.integers(0, where, rng.integers(1, 20))
        # descriptions lie at the two ends of a file
        content[positions if rng.random() < 0.5 else -1 - positions] ^= np.uint8(
            1 << rng.integers(8)
        )
        content.tofile(path)
        try:
            with open_events(path) as file:
                batches = list(file.batches(60))
        except InputError:
            continue
        if name in {"fixed_lz4", "fixed_lzma", "double_zlib", "rntuple"} and batches:
            np.testing.assert_array_equal(batches[0].npho, sixty.npho)
            np.testing.assert_array_equal(batches[0].time, sixty.time)
