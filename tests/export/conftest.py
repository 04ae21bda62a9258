"""Checkpoints and the bundles made of them, each exported once."""

import pytest
import torch

from xec_deploy.detector.layout import get_layout
from xec_deploy.export import export_bundle
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import save_inpainter, save_regressor
from xec_train.models import (
    XecInpainterModelConfig,
    XecModelConfig,
    build_inpainter,
    build_regressor,
)

REFERENCES = (
    "regressor_finegrid",
    "regressor_split",
    "mae_finegrid",
    "inpainter_perface",
    "inpainter_crossattn",
)
SQRT = Normalisation(npho_scheme="sqrt", npho_scale=20000.0, npho_threshold=10.0, sentinel_time=-5)
LINEAR = Normalisation(npho_scheme="linear", npho_scale=500.0)


@pytest.fixture(scope="session")
def exported(reference, tmp_path_factory):
    """Bundles of the reference checkpoints, by name; those of regressors keep their parts."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {}

    def export(name):
        if name not in made:
            made[name] = export_bundle(reference / "legacy" / f"{name}.pth", folder / f"{name}.xec")
        return made[name]

    return export


@pytest.fixture(scope="session")
def own_checkpoints(tmp_path_factory):
    """A small regressor with variances and a logarithm, and an inpainter, both of arch xec."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(3)
    config = XecModelConfig(active_tasks=("energy", "uvwFI"), nll_tasks=("energy",))
    regressor = build_regressor(config, get_layout("physical"), SQRT)
    with torch.no_grad():
        for parameter in regressor.anchors.parameters():
            parameter.mul_(0.05)
    save_regressor(
        folder / "regressor.pth", regressor, normalisation=SQRT, log_transform=("energy",)
    )
    inpainter = build_inpainter(XecInpainterModelConfig(), get_layout("physical"), LINEAR)
    with torch.no_grad():
        for head in (inpainter.inner_head, inpainter.tube_head):
            head.output.weight.normal_(0, 0.05)
    save_inpainter(folder / "inpainter.pth", inpainter)
    return folder


@pytest.fixture(scope="session")
def fused(own_checkpoints, tmp_path_factory):
    """A regressor with an inpainter of another normalisation ahead, with all parts."""
    return export_bundle(
        own_checkpoints / "regressor.pth",
        tmp_path_factory.mktemp("fused") / "fused.xec",
        inpainter=own_checkpoints / "inpainter.pth",
        parts=True,
    )


@pytest.fixture(scope="session")
def legacy(own_checkpoints, tmp_path_factory):
    """The same regressor for callers that normalise themselves."""
    folder = tmp_path_factory.mktemp("legacy")
    return export_bundle(own_checkpoints / "regressor.pth", folder / "legacy.xec", io="legacy")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XEC_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
