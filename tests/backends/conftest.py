"""The shipped bundle, and a cache of its own for what is measured."""

import pytest

from xec_deploy.bundle import open_bundle, shipped_bundle


@pytest.fixture(scope="package")
def bundle():
    return open_bundle(shipped_bundle())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tuning"


@pytest.fixture
def without(monkeypatch):
    """A function that makes an installed library look absent."""

    def hide(*libraries):
        from importlib.util import find_spec

        from xec_deploy.backends import registry

        monkeypatch.setattr(
            registry, "find_spec", lambda name: None if name in libraries else find_spec(name)
        )

    return hide
