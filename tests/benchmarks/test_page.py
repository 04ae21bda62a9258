"""The page of benchmarks is made of stored results, and the command that runs them works."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_what_the_stored_results_give():
    done = benchmarks("--check")
    assert done.returncode == 0, f"run python -m benchmarks --page\n{done.stderr}"


def test_a_quick_run_stores_its_result_and_writes_a_page(tmp_path):
    assert benchmarks("--check", "--results", tmp_path).returncode == 1
    done = benchmarks("--quick", "--only", "year_of_data", "inpainting", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "inpainting: needs trained networks" in done.stdout
    stored = json.loads((tmp_path / "year_of_data.json").read_text())
    assert {"command", "date", "machine", "versions"} <= set(stored)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| CPU fp32 |" in page
    assert stored["command"].split(" --json")[0] in page
    assert stored["date"] in page
    # Whoever stores a result without a table of its own sees its single values.
    (tmp_path / "new_one.json").write_text(json.dumps({"events": 1234, "rates": {"fast": 5.678}}))
    assert benchmarks("--page", "--results", tmp_path).returncode == 0
    assert "| rates, fast | 5.68 |" in (tmp_path / "benchmarks.md").read_text()
    assert benchmarks("--check", "--results", tmp_path).returncode == 0


def test_every_benchmark_of_the_catalogue_exists():
    listed = benchmarks("--list").stdout.splitlines()
    assert len(listed) > 15
    text = (ROOT / "benchmarks/catalogue.py").read_text(encoding="utf-8")
    programs = {word for word in text.replace('"', " ").split() if word.startswith("benchmarks/")}
    assert programs
    for program in programs:
        assert (ROOT / program).is_file(), program
