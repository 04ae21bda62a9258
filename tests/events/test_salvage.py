import signal
import subprocess
import sys

import numpy as np
import pytest
import uproot

from xec_deploy.events import Column, ResultWriter, salvage_rows

COLUMNS = {"event": Column("i8"), "uvw": Column("f4", "cm", (3,))}


def rows(start, stop):
    event = np.arange(start, stop)
    return {"event": event, "uvw": np.repeat(event, 3).reshape(-1, 3) / 7}


def resume(path, total):
    kept = salvage_rows(path, COLUMNS)
    with ResultWriter(path, COLUMNS) as writer:
        writer.extend(kept)
        writer.extend(rows(len(kept["event"]), total))
        writer.commit({}, total)
    with uproot.open({path: "xec"}) as tree:
        return len(kept["event"]), {name: tree[name].array(library="np") for name in COLUMNS}


def test_nothing_to_salvage(tmp_path):
    kept = salvage_rows(tmp_path / "out.root", COLUMNS)
    assert kept["event"].shape == (0,)
    assert kept["uvw"].shape == (0, 3)


def test_suspended_writer_is_taken_up(tmp_path):
    path = tmp_path / "out.root"
    with ResultWriter(path, COLUMNS) as writer:
        writer.extend(rows(0, 12_345))
        writer.suspend()
    assert [file.name for file in tmp_path.iterdir()] == ["out.root.part"]
    kept, got = resume(path, 20_000)
    assert kept == 12_345
    expected = rows(0, 20_000)
    np.testing.assert_array_equal(got["event"], expected["event"])
    np.testing.assert_array_equal(got["uvw"], expected["uvw"].astype(np.float32))


def test_killed_writer_is_taken_up(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from xec_deploy.events import Column, ResultWriter
columns = {"event": Column("i8"), "uvw": Column("f4", "cm", (3,))}
event = np.arange(25_000)
with ResultWriter(sys.argv[1], columns) as writer:
    writer.extend({"event": event, "uvw": np.repeat(event, 3).reshape(-1, 3) / 7})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "out.root"
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    kept, got = resume(path, 30_000)
    assert kept in {10_000, 20_000}
    np.testing.assert_array_equal(got["uvw"], rows(0, 30_000)["uvw"].astype(np.float32))


@pytest.mark.parametrize("damage", ["bytes", "columns", "truncated"])
def test_unusable_part_file_means_a_new_start(tmp_path, caplog, damage):
    path = tmp_path / "out.root"
    part = tmp_path / "out.root.part"
    with ResultWriter(path, {"event": Column("i8"), "uvw": Column("f4")}) as writer:
        writer.extend({"event": np.arange(5), "uvw": np.arange(5)})
        writer.suspend()
    if damage == "bytes":
        part.write_bytes(b"no ROOT file")
    elif damage == "truncated":
        part.write_bytes(part.read_bytes()[:400])
    assert len(salvage_rows(path, COLUMNS)["event"]) == 0
    assert "starts anew" in caplog.text
