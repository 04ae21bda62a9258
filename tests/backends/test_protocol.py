"""Engines are found, loaded and described alike."""

import subprocess
import sys

import pytest

from xec_deploy.backends import BACKENDS, RunOptions, create_backend
from xec_deploy.backends.registry import get_engine


def test_naming_engines_does_not_import_them():
    code = (
        "import sys, xec_deploy.backends as b; b.present_backends();"
        "print([n for n in ('onnxruntime', 'openvino', 'torch') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BACKENDS)
def test_every_class_of_the_table_is_there(name):
    engine = get_engine(name)
    for place in engine.classes.values():
        module, _, attribute = place.partition(":")
        # The file alone: the library may be absent.
        text = __import__("importlib.util").util.find_spec(module).loader.get_source(module)
        assert f"class {attribute}" in text


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_nothing_is_left_to_choose_once_it_is_loaded(bundle, name):
    if not get_engine(name).present:
        pytest.skip(f"{name} is not installed")
    backend = create_backend(name, bundle.graph(), RunOptions(threads=1))
    run = backend.options
    assert None not in (run.batch, run.sessions, run.threads)
    assert (backend.name, backend.device) == (name, "cpu")
    assert backend.describe()["device"] == "cpu"
