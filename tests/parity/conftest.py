import shutil

import numpy as np
import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle import add_graph, shipped_bundle, write_bundle
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.simulation import SimulationConfig, write_simulation


@pytest.fixture(scope="session")
def bundle():
    return open_bundle(shipped_bundle())


@pytest.fixture(scope="session")
def events(tmp_path_factory):
    """Twelve simulated events."""
    path = tmp_path_factory.mktemp("parity") / "events.root"
    write_simulation(path, SimulationConfig(seed=8), 12)
    return path


@pytest.fixture(scope="session")
def shifted(bundle, tmp_path_factory):
    """The shipped bundle with a bias of half a resolution in one component of the position."""
    folder = tmp_path_factory.mktemp("shifted")
    golden = bundle.golden
    outputs = {name: values.copy() for name, values in golden.outputs.items()}
    outputs["uvwFI"][:, 2] += 0.5 * bundle.manifest.tasks["uvwFI"].outputs[2].detector_sigma
    graph = folder / "fp32.onnx"
    graph.write_bytes(load_onnx(bundle.graph()).SerializeToString(deterministic=True))
    changed = type(golden)(golden.npho, golden.time, golden.dead, outputs)
    return write_bundle(
        folder / "shifted.xec", bundle.manifest.without_hashes(), {"fp32": graph}, changed
    )


@pytest.fixture
def two(bundle, tmp_path):
    """The shipped bundle with its graph once more, under the name and gate of fp16."""
    folder = shutil.copytree(bundle.path, tmp_path / "two.xec")
    return add_graph(open_bundle(folder), "fp16", bundle.graph())


@pytest.fixture
def random():
    return np.random.default_rng(1)
