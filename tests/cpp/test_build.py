"""The C++ side as its developers use it: plain CMake, ctest, sanitizers, format, lint."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pybind11
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for suffix in ("hpp", "cpp") for path in (ROOT / "cpp_bridge").rglob(f"*.{suffix}")
)
TOOLS = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="ros-gtest-vendor has GoogleTest for x86_64 only"
    ),
]


def run(tool, *arguments, cwd=ROOT, check=True):
    program = shutil.which(tool, path=TOOLS)
    assert program, f"{tool} is part of the dev extra: pip install 'xec-deploy[dev]'"
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PATH": TOOLS},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output[-6000:]
    return output


def configure(folder, *options):
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DXEC_BUILD_TESTS=ON",
        "-DXEC_DEVELOPER=ON", f"-DPython_EXECUTABLE={sys.executable}", *options)  # fmt: skip
    return folder


def ctest(folder):
    """Run the tests of a build; return their number."""
    run("ctest", "--output-on-failure", "--output-junit", folder / "junit.xml", cwd=folder)
    suite = ET.parse(folder / "junit.xml").getroot()  # noqa: S314 (ctest's own file)
    assert suite.get("failures") == suite.get("skipped") == "0"
    return int(suite.get("tests"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return configure(
        tmp_path_factory.mktemp("plain"),
        "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    )


def test_version_has_one_source(plain):
    cache = (plain / "CMakeCache.txt").read_text()
    version = re.search(r"^CMAKE_PROJECT_VERSION:\w+=(.*)$", cache, re.MULTILINE)[1]
    assert version == metadata.version("xec-deploy")


def test_ctest(plain):
    run("cmake", "--build", plain, "--target", "xec_tests", "xec_reconstruction_benchmark")
    assert ctest(plain) >= 20


def test_ctest_under_sanitizers(tmp_path):
    folder = configure(tmp_path, "-DXEC_SANITIZE=ON")
    run("cmake", "--build", folder)
    assert ctest(folder) >= 20


def test_format():
    run("clang-format", "--dry-run", "-Werror", *SOURCES)


def test_lint(plain):
    def lint(source):
        return run("clang-tidy", "-p", plain, "--quiet", source, check=False)

    # Slowest first, two at a time; headers are read through the sources that include them.
    sources = sorted((path for path in SOURCES if path.suffix == ".cpp"), reverse=True)
    with ThreadPoolExecutor(2) as pool:
        complaints = [
            line
            for output in pool.map(lint, sources)
            for line in output.splitlines()
            if re.search(r"(warning|error): ", line)
        ]
    assert not complaints, "\n".join(complaints)
