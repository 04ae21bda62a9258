"""The page of all keys is current and complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from xec_train.config import InpainterConfig, MaeConfig, RegressorConfig
from xec_train.config.places import describe_key, key_paths
from xec_train.config.tables import TABLES, update_page

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_current(tmp_path):
    copy = tmp_path / "configuration.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "xec_train.config.tables", copy], check=True)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), (
        "run: python -m xec_train.config.tables docs/configuration.md"
    )


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_every_table(table):
    assert f"<!-- {table} -->" in PAGE.read_text(encoding="utf-8")


def test_a_stale_table_is_replaced():
    page = "before\n<!-- research -->\nstale line\n<!-- end -->\nafter\n"
    updated = update_page(page)
    assert "stale line" not in updated
    assert "data.train_root" in updated
    assert update_page(updated) == updated


@pytest.mark.parametrize("kind", [RegressorConfig, MaeConfig, InpainterConfig])
def test_every_key_is_described(kind):
    paths = list(key_paths(kind))
    leaves = [p for p in paths if not any(q.startswith(f"{p}.") for q in paths)]
    for path in leaves:
        name = path.replace("tasks.angle.", "tasks.").replace("reweighting.angle.", "reweighting.")
        if name == path:
            assert len(describe_key(kind, path)) > 10, path
