"""The building blocks against textbook formulas, in float64."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_train.models import TASK_DIMENSIONS, ModelConfig, XECMultiHeadModel
from xec_train.models.research.blocks import (
    GRN,
    ChannelsFirstLayerNorm,
    ConvNeXtV2Block,
    DropPath,
    HexConv,
    HexNeXtBlock,
)
from xec_train.models.research.outer import OuterFineGrid

LAYOUTS = ("research", "physical")


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def randomise(module, spread=1.0):
    """Random values also where a module starts from zeros and ones."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=spread)
    return module


def textbook_grn(x, gamma, beta):
    """(batch, places, channels), as in the paper."""
    response = x.pow(2).sum(dim=1, keepdim=True).sqrt()
    relative = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
    return gamma * (x * relative) + beta + x


def assert_close(left, right, tolerance=1e-10):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def test_grn():
    grn, linear = randomise(GRN(12)), nn.Linear(12, 5)
    x = torch.randn(3, 20, 12)
    assert_close(grn.then(linear, x), linear(textbook_grn(x, grn.gamma, grn.beta)))
    assert_close(grn.scale(x) * x + grn.beta, textbook_grn(x, grn.gamma, grn.beta))
    # Nothing in, nothing divided by zero.
    assert torch.isfinite(grn.then(linear, torch.zeros(1, 20, 12))).all()


def test_convnext_block():
    block = randomise(ConvNeXtV2Block(6))
    x = torch.randn(2, 6, 9, 11)
    y = functional.conv2d(x, block.dwconv.weight, block.dwconv.bias, padding=3, groups=6)
    y = block.norm(y.permute(0, 2, 3, 1))
    y = block.pwconv1(y)
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    y = textbook_grn(y.flatten(1, 2), block.grn.gamma, block.grn.beta).reshape(y.shape)
    assert_close(block(x), x + block.pwconv2(y).permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", LAYOUTS)
def test_hex_convolution_is_the_scatter_add(name):
    layout = get_layout(name)
    convolution = randomise(HexConv(5, torch.from_numpy(layout.hex_adjacency())))
    x = torch.randn(4, 73, 5)
    source, destination, kind = (torch.from_numpy(row.copy()) for row in layout.hex_edges)
    message = x[:, source] * convolution.weight[:, kind]
    expected = torch.zeros_like(x).index_add_(1, destination, message) + convolution.bias
    assert_close(convolution(x), expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_hex_block(name):
    layout = get_layout(name)
    block = randomise(HexNeXtBlock(5, torch.from_numpy(layout.hex_adjacency())))
    x = torch.randn(4, 73, 5)
    y = functional.gelu(block.pwconv1(block.norm(block.spatial_conv(x))))
    y = block.pwconv2(textbook_grn(y, block.grn.gamma, block.grn.beta))
    assert_close(block(x), x + y)


def test_channels_first_layer_norm():
    norm = randomise(ChannelsFirstLayerNorm(6))
    x = torch.randn(2, 6, 3, 4)
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert_close(norm(x), expected)


def slow_fine_grid(x, layout, pool, sentinel):
    """The specification, cell by cell."""
    height, width = layout.outer_fine.shape
    npho, time = np.empty((height, width)), np.empty((height, width))
    for row in range(height):
        for column in range(width):
            sensor = layout.outer_fine[row, column]
            npho[row, column] = x[sensor, 0] / layout.outer_fine_area[row, column]
            time[row, column] = x[sensor, 1]
    if pool is None:
        return np.stack([npho, time])
    rows, columns = height // pool[0], width // pool[1]
    out = np.empty((2, rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = (
                slice(row * pool[0], (row + 1) * pool[0]),
                slice(column * pool[1], (column + 1) * pool[1]),
            )
            out[0, row, column] = npho[window].mean()
            times = time[window][time[window] != sentinel]
            out[1, row, column] = times.mean() if len(times) else sentinel
    return out


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("pool", [None, (2, 2), (3, 3), (5, 3), (1, 4)])
@pytest.mark.parametrize("sentinel", [-1.0, -5.0])
def test_outer_fine_grid(name, pool, sentinel):
    layout = get_layout(name)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 4760, 2))
    x[..., 1][rng.random((3, 4760)) < 0.6] = sentinel
    x[2, :, 1] = sentinel
    result = OuterFineGrid(layout, pool, sentinel)(torch.from_numpy(x))
    for event, image in zip(x, result, strict=True):
        expected = slow_fine_grid(event, layout, pool, sentinel)
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-12)
    if pool == (2, 2):
        assert result.shape[2:] == (22, 36)  # the last fine row is dropped


def test_drop_path():
    drop = DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    assert drop.eval()(x) is x
    y = drop.train()(x)
    assert set(y.unique().tolist()) == {0.0, 1 / 0.75}
    assert (y.flatten(1).amin(1) == y.flatten(1).amax(1)).all()  # whole events
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert DropPath(0.0).train()(x) is x


@pytest.mark.parametrize("mode", ["finegrid", "split"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_events_do_not_mix(mode, name):
    config = ModelConfig(
        encoder_dim=32,
        hex_channels=8,
        outer_mode=mode,
        outer_fine_pool=(3, 3) if mode == "finegrid" else None,
        active_tasks=tuple(TASK_DIMENSIONS),
    )
    model = randomise(XECMultiHeadModel(config, get_layout(name), Normalisation())).eval()
    x = torch.randn(4, 4760, 2)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        whole, permuted, alone = model(x), model(x[order]), model(x[1:2])
    assert tuple(whole) == tuple(TASK_DIMENSIONS)
    for task, width in TASK_DIMENSIONS.items():
        assert whole[task].shape == (4, width)
        assert_close(permuted[task], whole[task][order], 1e-8)
        assert_close(alone[task], whole[task][1:2], 1e-8)


@pytest.mark.parametrize(("mode", "tokens"), [("finegrid", 6), ("split", 7)])
def test_every_sensor_matters_in_the_physical_layout(mode, tokens):
    # Four channels: over one or two, a LayerNorm leaves nothing of the input but rounding.
    config = ModelConfig(encoder_dim=128, hex_channels=8, outer_mode=mode, outer_fine_pool=None)
    model = XECMultiHeadModel(config, get_layout("physical"), Normalisation()).eval()
    randomise(model, 0.2)
    assert model.backbone.pos_embed.shape == (1, tokens, 128)
    x = torch.randn(2, 4760, 2, requires_grad=True)
    sum(value.sum() for value in model(x).values()).backward()
    assert torch.isfinite(x.grad).all()
    outside_inner = x.grad[:, 4092:].abs().amax((0, 2))
    if mode == "finegrid":
        assert (outside_inner > 1e-9).all()


def test_variances_double_a_head():
    config = ModelConfig(encoder_dim=32, hex_channels=8, nll_tasks=("energy",))
    model = XECMultiHeadModel(config, get_layout("physical"), Normalisation()).eval()
    out = model(torch.randn(2, 4760, 2))
    assert out["energy"].shape == (2, 2)
    assert out["angle"].shape == (2, 2)
    assert set(out) == {"angle", "energy", "timing", "uvwFI"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder_dim": 100},
        {"encoder_dim": 0},
        {"outer_mode": "fine"},
        {"outer_fine_pool": (0, 3)},
        {"drop_path_rate": 1.0},
        {"active_tasks": ("energi",)},
        {"encoder_dims": 64},
    ],
)
def test_bad_configuration(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ModelConfig(**wrong)
