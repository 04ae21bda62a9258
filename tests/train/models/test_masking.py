"""The masked encoder: a hidden sensor's value does not matter, events do not mix."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_train.models import EncoderConfig, XECEncoder, padded_sensors
from xec_train.models.research.blocks import ConvNeXtV2Block, HexNeXtBlock
from xec_train.models.research.hidden import hide
from xec_train.models.research.outer import OuterFineGrid

pytestmark = pytest.mark.usefixtures("double")

LAYOUTS = ("research", "physical")
MODES = ("finegrid", "split")
CENTRE = slice(4742, 4760)


@pytest.fixture
def encoder(randomise):
    def encoder(layout, mode="finegrid", pool=(2, 2)):
        config = EncoderConfig(
            encoder_dim=128,
            hex_channels=8,
            num_fusion_layers=1,
            outer_mode=mode,
            outer_fine_pool=pool if mode == "finegrid" else None,
        )
        return randomise(XECEncoder(config, get_layout(layout), -1.0))

    return encoder


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_values_do_not_matter(encoder, layout, mode):
    model = encoder(layout, mode)
    x, mask = torch.randn(2, 4760, 2), torch.rand(2, 4760) < 0.3
    if layout == "research" and mode == "finegrid":
        mask[:, CENTRE] = False  # whose mask existing checkpoints ignore
        mask[:, np.unique(get_layout(layout).outer_centre)] = False
    other = torch.where(mask.unsqueeze(-1), 5 * torch.randn_like(x), x)
    with torch.no_grad():
        assert torch.equal(model(x, mask), model(other, mask))
        assert torch.equal(model(x, mask), model(x, mask.double()))
        assert not torch.equal(model(x, mask), model(x))


def test_research_layout_ignores_the_mask_of_the_dense_centre(encoder):
    x, mask = torch.randn(1, 4760, 2), torch.zeros(1, 4760, dtype=torch.bool)
    centre = mask.clone()
    centre[:, CENTRE] = True
    with torch.no_grad():
        research, physical = encoder("research"), encoder("physical")
        assert torch.equal(research(x, centre), research(x, mask))
        assert not torch.equal(physical(x, centre), physical(x, mask))


@pytest.mark.parametrize("mode", MODES)
def test_nothing_hidden_is_no_mask(encoder, mode):
    model = encoder("physical", mode)
    x = torch.randn(2, 4760, 2)
    with torch.no_grad():
        torch.testing.assert_close(model(x, torch.zeros(2, 4760)), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_events_do_not_mix(encoder, layout):
    model = encoder(layout)
    x, mask = torch.randn(3, 4760, 2), torch.rand(3, 4760) < torch.rand(3, 1)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        whole, permuted, alone = (
            model(x, mask),
            model(x[order], mask[order]),
            model(x[1:2], mask[1:2]),
        )
    torch.testing.assert_close(permuted, whole[order], rtol=0, atol=1e-10)
    torch.testing.assert_close(alone, whole[1:2], rtol=0, atol=1e-10)


def test_all_hidden(encoder):
    tokens = encoder("physical")(torch.randn(2, 4760, 2), torch.ones(2, 4760))
    assert torch.isfinite(tokens).all()
    torch.testing.assert_close(tokens[0], tokens[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pool", [None, (2, 2), (3, 3), (1, 4)])
def test_a_pooled_cell_is_hidden_if_any_of_its_window_is(layout, pool):
    maps = get_layout(layout)
    mask = torch.rand(2, 4760) < 0.2
    result = OuterFineGrid(maps, pool, -1.0).visible(1.0 - mask.double().unsqueeze(-1))
    if layout == "research":
        fine = np.kron(maps.outer_coarse, np.ones((5, 3), int))
    else:
        fine = maps.outer_fine
    hidden = mask.numpy()[:, fine]
    height, width = pool or (1, 1)
    rows, columns = hidden.shape[1] // height, hidden.shape[2] // width
    for row in range(rows):
        for column in range(columns):
            window = hidden[
                :,
                row * height : (row + 1) * height,
                column * width : (column + 1) * width,
            ]
            seen = result[:, 0, row, column].numpy()
            np.testing.assert_array_equal(seen, ~window.any(axis=(1, 2)))


def test_masked_blocks_zero_after_the_spatial_convolution_and_on_the_residual(randomise):
    visible = (torch.rand(2, 1, 9, 11) < 0.7).double()
    block, x = randomise(ConvNeXtV2Block(6)), torch.randn(2, 6, 9, 11)
    y = block.norm((block.dwconv(x) * visible).permute(0, 2, 3, 1)).flatten(1, 2)
    y = block.grn.then(block.pwconv2, functional.gelu(block.pwconv1(y)))
    expected = x * visible + y.transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(block(x, visible), expected, rtol=0, atol=1e-12)

    adjacency = torch.from_numpy(get_layout("physical").hex_adjacency())
    block, x = randomise(HexNeXtBlock(5, adjacency)), torch.randn(2, 73, 5)
    visible = (torch.rand(2, 73, 1) < 0.7).double()
    y = functional.gelu(block.pwconv1(block.norm(block.spatial_conv(x) * visible)))
    expected = x * visible + block.grn.then(block.pwconv2, y)
    torch.testing.assert_close(block(x, visible), expected, rtol=0, atol=1e-12)


def test_hide():
    normalisation = Normalisation(sentinel_npho=-3.0, sentinel_time=-7.0)
    x, mask = torch.randn(2, 4760, 2), torch.rand(2, 4760) < 0.5
    for given in (mask, mask.float()):
        hidden = hide(x, given, normalisation)
        assert (hidden[mask] == torch.tensor([-3.0, -7.0])).all()
        assert torch.equal(hidden[~mask], x[~mask])


def test_padded_sensors():
    mask = torch.zeros(3, 4760, dtype=torch.bool)
    mask[0, [7, 4000, 12]] = True
    mask[2, 4759] = True
    sensors, present = padded_sensors(mask)
    assert sensors.shape == present.shape == (3, 3)
    assert sensors[0].tolist() == [7, 12, 4000]
    assert present.sum(dim=1).tolist() == [3, 0, 1]
    assert sensors[2, 0] == 4759
    assert all(len(set(row.tolist())) == 3 for row in sensors)
    wide, some = padded_sensors(mask, 5)
    assert wide.shape == (3, 5)
    assert torch.equal(some.sum(dim=1), present.sum(dim=1))
    few, present = padded_sensors(mask, 2)
    assert few[0].tolist() == [7, 12]
    assert present.sum(dim=1).tolist() == [2, 0, 1]
    assert padded_sensors(mask[1:2])[1].tolist() == [[False]]
