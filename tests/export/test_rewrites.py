"""Rewritten networks compute the same numbers, in float64 to rounding."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xec_deploy.detector.layout import get_layout
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.export.rewrites import REWRITES, rewrite
from xec_deploy.export.rewrites.blocks import FoldedBlock, FoldedHexBlock
from xec_deploy.export.rewrites.images import ChannelsLastBackbone
from xec_deploy.export.rewrites.outer import PooledTubes
from xec_deploy.export.rewrites.resize import ResizedBackbone
from xec_deploy.normalisation import Normalisation
from xec_train.models import (
    InpainterModelConfig,
    ModelConfig,
    XECEncoder,
    XecModelConfig,
    build_inpainter,
    build_regressor,
)
from xec_train.models.research.blocks import ConvNeXtV2Block, HexNeXtBlock
from xec_train.models.research.encoder import FaceBackbone
from xec_train.models.research.outer import OuterFineGrid

NORMALISATION = Normalisation(npho_scheme="sqrt", npho_scale=20000.0)
SMALL = {
    "encoder_dim": 64,
    "hex_channels": 16,
    "dim_feedforward": 64,
    "num_fusion_layers": 1,
}
ENCODERS = {
    "pool33": ({"outer_fine_pool": (3, 3)}, "research"),
    "pool22": ({"outer_fine_pool": (2, 2)}, "physical"),
    "unpooled": ({}, "research"),
    "split": ({"outer_mode": "split"}, "research"),
}


def randomised(module):
    """Weights of order one everywhere, also where training starts from zero or one."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 9
            parameter.copy_(parameter + noise * fan_in**-0.5)
    return module.double().eval()


def regressor(case):
    config, layout = ENCODERS[case]
    model = ModelConfig(**SMALL, **config, hidden_dim=24, nll_tasks=("energy",))
    network = build_regressor(model, get_layout(layout), NORMALISATION)
    return randomised(DeployedRegressor(network, NORMALISATION, ("timing",)))


def events(count=2):
    generator = torch.Generator().manual_seed(1)
    npho = torch.rand(count, 4760, generator=generator, dtype=torch.float64) * 2000
    time = torch.randn(count, 4760, generator=generator, dtype=torch.float64) * 1e-8
    return npho, time, torch.rand(count, 4760, generator=generator) < 0.05


def tensors(output):
    return output if isinstance(output, tuple) else (output,)


def assert_same(one, other):
    for first, second in zip(tensors(one), tensors(other), strict=True):
        scale = float(first.abs().max())
        torch.testing.assert_close(second, first, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("case", ENCODERS)
@torch.no_grad()
def test_every_rewrite_keeps_the_outputs_of_a_regressor(case):
    module = regressor(case)
    expected = module(*events())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rewritten = copy.deepcopy(module)
    for step in REWRITES.values():
        rewritten = step(rewritten)
        assert_same(expected, rewritten(*events()))
    assert_same(expected, rewrite(module)(*events()))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert_same(expected, module(*events()))


@pytest.mark.parametrize("case", ENCODERS)
@torch.no_grad()
def test_hidden_sensors_stay_hidden(case):
    config, layout = ENCODERS[case]
    encoder = randomised(
        XECEncoder(ModelConfig(**SMALL, **config), get_layout(layout), sentinel_time=-1.0)
    )
    npho, time, dead = events()
    x = torch.stack([npho / 1000, time * 1e8], dim=-1)
    mask = dead | (torch.arange(4760) % 7 == 0)
    rewritten = rewrite(encoder)
    assert_same(encoder(x, mask), rewritten(x, mask))


@pytest.mark.parametrize("head", ["per_face", "cross_attention"])
@torch.no_grad()
def test_inpainters_keep_their_predictions(head):
    config = InpainterModelConfig(
        **SMALL, outer_fine_pool=(3, 3), head_type=head, head_channels=16, hex_head_channels=16
    )
    inpainter = randomised(build_inpainter(config, get_layout("research"), NORMALISATION))
    rewritten = rewrite(inpainter)
    assert_same(inpainter.fill(*events()), rewritten.fill(*events()))


@torch.no_grad()
def test_networks_without_a_place_for_them_stay_as_they_are():
    module = randomised(
        DeployedRegressor(
            build_regressor(XecModelConfig(width=16), get_layout("physical"), NORMALISATION),
            NORMALISATION,
        )
    )
    assert_same(module(*events()), rewrite(module)(*events()))


def test_weights_are_folded_in_the_precision_they_are_used_in():
    module = regressor("pool33").float()
    rewritten = rewrite(module)
    kinds = {value.dtype for value in rewritten.state_dict().values() if value.is_floating_point()}
    assert kinds == {torch.float32}


sizes = st.integers(1, 12)


@settings(max_examples=15, deadline=None)
@given(channels=st.sampled_from([8, 24]), height=sizes, width=sizes, masked=st.booleans())
@torch.no_grad()
def test_blocks_of_any_size(channels, height, width, masked):
    block = randomised(ConvNeXtV2Block(channels))
    x = torch.randn(2, channels, height, width, dtype=torch.float64)
    visible = (torch.rand(2, 1, height, width) < 0.7).double() if masked else None
    assert_same(block(x, visible), FoldedBlock(block)(x, visible))


@settings(max_examples=15, deadline=None)
@given(nodes=st.integers(1, 12), masked=st.booleans())
@torch.no_grad()
def test_graph_blocks_of_any_graph(nodes, masked):
    adjacency = (torch.rand(7, nodes, nodes) < 0.3).double()
    block = randomised(HexNeXtBlock(16, adjacency.float()))
    x = torch.randn(2, nodes, 16, dtype=torch.float64)
    visible = (torch.rand(2, nodes, 1) < 0.7).double() if masked else None
    assert_same(block(x, visible), FoldedHexBlock(block)(x, visible))


@settings(max_examples=15, deadline=None)
@given(height=st.integers(5, 30), width=st.integers(5, 30))
@torch.no_grad()
def test_the_resize_reads_the_right_pixels(height, width):
    backbone = randomised(FaceBackbone(8, 0.0))
    image = torch.randn(2, 2, height, width, dtype=torch.float64)
    expected = backbone(image)
    for name, block in backbone.named_modules():
        if name in ("stage1", "stage2"):
            for index, child in enumerate(block):
                block[index] = FoldedBlock(child)
    early = ResizedBackbone(ChannelsLastBackbone(backbone), [(height, width)])
    assert_same(expected, early(image))


@settings(max_examples=10, deadline=None)
@given(
    pool=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    layout=st.sampled_from(["research", "physical"]),
    timeless=st.floats(0, 1),
    sentinel=st.sampled_from([-1.0, -5.0]),
)
@torch.no_grad()
def test_tubes_pool_as_the_fine_grid_does(pool, layout, timeless, sentinel):
    grid = OuterFineGrid(get_layout(layout), pool, sentinel).double()
    x = torch.randn(2, 4760, 2, dtype=torch.float64)
    x[..., 1] = torch.where(torch.rand(2, 4760) < timeless, sentinel, x[..., 1])
    assert_same(grid(x), PooledTubes(grid)(x))
