"""Inpainters as ONNX graphs: any batch, no scatter, the numbers of torch."""

import logging
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_train.models import InpainterModelConfig, build_inpainter

pytestmark = pytest.mark.slow

INPUTS = ("npho", "time", "dead")


class Filled(nn.Module):
    """The inpainter as it is deployed."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, npho, time, dead):
        return self.model.fill(npho, time, dead)


@pytest.fixture
def _plain_attention():
    # The fused kernel of eval mode has no ONNX counterpart.
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    yield
    logging.getLogger("torch.onnx").setLevel(level)
    torch.backends.mha.set_fastpath_enabled(enabled)


def events(batch):
    npho, time = torch.rand(batch, 4760) * 1000, torch.rand(batch, 4760) * 1e-8
    return npho, time, torch.rand(batch, 4760) < 0.1


@pytest.mark.usefixtures("_plain_attention")
@pytest.mark.parametrize(
    "options",
    [
        {"head_type": "cross_attention", "outer_fine_pool": (3, 3)},
        {"outer_fine_pool": (2, 2), "use_masked_attention": True},
    ],
    ids=["cross_attention", "per_face"],
)
def test_inpainter(randomise, options):
    torch.manual_seed(3)
    config = InpainterModelConfig(encoder_dim=64, hex_channels=8, num_fusion_layers=1, **options)
    normalisation = Normalisation(npho_scheme="sqrt")
    model = Filled(build_inpainter(config, get_layout("research"), normalisation))
    randomise(model)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            model,
            events(2),
            input_names=INPUTS,
            output_names=["npho_filled"],
            opset_version=20,
            dynamo=True,
            dynamic_shapes=[{0: batch}] * 3,
            verbose=False,
        )
    nodes = {node.op_type for node in program.model_proto.graph.node}
    assert not {name for name in nodes if name.startswith("Scatter")}
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for size in (1, 5):
        given = events(size)
        with torch.no_grad():
            expected = model(*given).numpy()
        feed = {name: value.numpy() for name, value in zip(INPUTS, given, strict=True)}
        result = session.run(None, feed)[0]
        dead = feed["dead"]
        np.testing.assert_array_equal(result[~dead], expected[~dead])
        assert np.abs(result - expected)[dead].max() < 1e-4 * expected[dead].std()
