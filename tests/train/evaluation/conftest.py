"""An evaluation of two small networks on simulated files."""

import warnings

import pytest
import torch

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_deploy.simulation import SimulationConfig, write_simulation
from xec_train.checkpoint import save_regressor
from xec_train.evaluation import EvaluationConfig, evaluate_files
from xec_train.models import ModelConfig, build_regressor


def small_network(folder, name, tasks, *, nll=(), seed=0, **options):
    """Write a checkpoint of a small network with random weights."""
    torch.manual_seed(seed)
    normalisation = Normalisation()
    config = ModelConfig(
        encoder_dim=32,
        hex_channels=8,
        num_fusion_layers=1,
        hidden_dim=16,
        active_tasks=tasks,
        heads=tasks,
        nll_tasks=nll,
    )
    model = build_regressor(config, get_layout("physical"), normalisation)
    path = folder / f"{name}.pth"
    save_regressor(path, model, normalisation=normalisation, **options)
    return str(path)


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory):
    """Two simulated files of 160 and 120 events, with provenance."""
    folder = tmp_path_factory.mktemp("simulated")
    config = SimulationConfig(seed=11, pileup_fraction=0.0, vertex_sigma=2.0)
    paths = []
    for index, (first, count) in enumerate([(0, 160), (200, 120)]):
        path = folder / f"part_{index}.root"
        write_simulation(path, config, count, first_event=first, threads=1)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Two checkpoints: one with all tasks and two with variances, one with energy alone."""
    folder = tmp_path_factory.mktemp("networks")
    every = ("angle", "energy", "timing", "uvwFI", "angleVec", "n_gamma")
    return [
        small_network(folder, "every", every, nll=("energy", "uvwFI"), log_transform=("energy",)),
        small_network(folder, "lone", ("energy",), seed=1),
    ]


@pytest.fixture(scope="session")
def evaluated(sample_files, networks, tmp_path_factory):
    """An evaluation with everything in it."""
    config = EvaluationConfig(
        dead_fractions=(0.0, 0.1), csv=True, replicas=10, throughput_seconds=0.01, batch_size=70
    )
    folder = tmp_path_factory.mktemp("evaluation")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return evaluate_files(networks, sample_files, folder, config=config)
