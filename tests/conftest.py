"""Reference data and ROOT itself, for all tests."""

import warnings
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reference():
    """The folder of reference data beside the repository."""
    folder = REPOSITORY.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def reference_root(reference):
    """The folder of files written by ROOT."""
    return reference / "root"


@pytest.fixture(scope="session")
def root_module():
    """ROOT itself, without its announcement of being an alpha."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"\s*This distribution of ROOT", category=UserWarning
        )
        return pytest.importorskip("ROOT", exc_type=ImportError)
