"""Rows survive whatever happens to the process that writes them."""

import numpy as np
import pytest

from xec_deploy.errors import UsageError
from xec_deploy.events import Column
from xec_deploy.inference.spool import Spool

COLUMNS = {"event": Column("i8"), "uvw": Column("f4", "cm", (3,)), "good": Column("?")}
HEADER = {"recipe": {"batch": 2}}


def rows(start, stop):
    event = np.arange(start, stop)
    uvw = (np.repeat(event, 3).reshape(-1, 3) / 7).astype(np.float32)
    return {"event": event, "uvw": uvw, "good": event % 2 == 0}


@pytest.fixture
def spooled(tmp_path):
    """A spool of three segments of two rows each, as a killed process leaves it."""
    with Spool(tmp_path, "0", tmp_path / "out.root") as spool:
        spool.begin(HEADER, COLUMNS, 10)
        for start in (10, 12, 14):
            spool.append(rows(start, start + 2))
            spool.flush()
        spool.append(rows(16, 18))
    return tmp_path


def take_up(folder):
    spool = Spool(folder, "0", folder / "out.root")
    assert {key: spool.header[key] for key in HEADER} == HEADER
    spool.resume(COLUMNS, 10)
    return spool


def finish_and_compare(spool):
    with spool:
        for start in range(spool.next_entry, 20, 2):
            spool.append(rows(start, start + 2))
        spool.flush()
        found = list(spool.segments())
    for name, expected in rows(10, 20).items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in found]), expected)


def test_what_was_not_flushed_is_done_again(spooled):
    spool = take_up(spooled)
    assert (spool.next_entry, spool.resumed) == (16, 6)
    finish_and_compare(spool)


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        ("half a line", 14),
        ("rows missing", 14),
        ("rows changed", 12),
        ("more rows than lines", 16),
        ("a line that is none", 16),
        ("only the header", 10),
    ],
)
def test_everything_before_the_damage_is_kept(spooled, damage, kept):
    ledger, data = spooled / "0.ledger", spooled / "0.rows"
    lines, content = ledger.read_bytes(), data.read_bytes()
    size = len(content) // 3
    if damage == "half a line":
        ledger.write_bytes(lines[:-9])
    elif damage == "rows missing":
        data.write_bytes(content[:-1])
    elif damage == "rows changed":
        data.write_bytes(content[:size] + b"\x01" + content[size + 1 :])
    elif damage == "more rows than lines":
        data.write_bytes(content + b"unfinished")
    elif damage == "a line that is none":
        ledger.write_bytes(lines + b"[]\n" + lines.splitlines(keepends=True)[-1])
    else:
        ledger.write_bytes(lines.splitlines(keepends=True)[0])
        data.unlink()
    spool = take_up(spooled)
    assert spool.next_entry == kept
    finish_and_compare(spool)


def test_a_ledger_without_a_whole_header_says_nothing(spooled):
    (spooled / "0.ledger").write_bytes(b'{"format": 1')
    with Spool(spooled, "0", spooled / "out.root") as spool:
        assert spool.header is None


def test_one_job_at_a_time(spooled):
    with (
        take_up(spooled),
        pytest.raises(UsageError, match=r"out\.root: another job is writing this output \(process"),
    ):
        Spool(spooled, "0", spooled / "out.root")
    take_up(spooled).close()
