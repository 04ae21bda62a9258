"""The parts of inpainting heads against their definitions, in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from xec_deploy.detector import design_geometry, get_layout
from xec_deploy.errors import InputError
from xec_train.models import InpainterModelConfig
from xec_train.models.research.cross_attention import CrossAttentionHead
from xec_train.models.research.face_heads import FaceHead, HexHead, OuterSensorHead, _convolve
from xec_train.models.research.neighbourhood import box_neighbours, graph_neighbours
from xec_train.models.research.outer_regions import outer_average, outer_regions
from xec_train.models.research.positions import (
    nearest_sensors,
    position_code,
    sensor_positions,
)

pytestmark = pytest.mark.usefixtures("double")

SMALL = {"encoder_dim": 64, "head_channels": 16, "hex_head_channels": 16}


def assert_close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(93, 44), (24, 6), (3, 3), (2, 5), (1, 1)])
def test_convolution_beside_a_constant(shape):
    convolution = nn.Conv2d(2 + 5, 4, kernel_size=3, padding=1)
    image, latent = torch.randn(3, 2, *shape), torch.randn(3, 5)
    both = torch.cat([image, latent[..., None, None].expand(-1, -1, *shape)], dim=1)
    assert_close(_convolve(convolution, image, latent), convolution(both))


def test_box_neighbours():
    indices, counts = box_neighbours((4, 6))
    assert indices.shape == (24, 24)
    for pixel in range(24):
        row, column = divmod(pixel, 6)
        expected = [
            6 * r + c
            for r in range(row - 2, row + 3)
            for c in range(column - 2, column + 3)
            if 0 <= r < 4 and 0 <= c < 6 and (r, c) != (row, column)
        ]
        assert indices[pixel, : counts[pixel]].tolist() == expected
        assert (indices[pixel, counts[pixel] :] == 0).all()


@pytest.mark.parametrize("layout", ["research", "physical"])
def test_graph_neighbours(layout):
    edges = get_layout(layout).hex_edges
    step = {node: set(edges[1, edges[0] == node]) - {node} for node in range(73)}
    indices, counts = graph_neighbours(edges)
    for node in range(73):
        expected = step[node].union(*(step[near] for near in step[node])) - {node}
        assert indices[node, : counts[node]].tolist() == sorted(expected)


def textbook_attention(head, features, latent, hidden, indices, counts):
    """One place at a time; a list without a visible neighbour averages over its padding too."""
    slots = indices.shape[1]
    out = torch.empty(*features.shape[:2], head.masked_pred_head[-1].out_features)
    for event in range(len(features)):
        for place in range(features.shape[1]):
            ids = torch.from_numpy(indices[place])
            valid = (torch.arange(slots) < counts[place]) & ~hidden[event, ids]
            logits = head.attn_weight(features[event, ids]).squeeze(-1)
            weight = torch.softmax(logits.masked_fill(~valid, -1e4), dim=0)
            attended = (weight.unsqueeze(-1) * features[event, ids]).sum(0)
            out[event, place] = head.masked_pred_head(torch.cat([attended, latent[event]]))
    return out


@pytest.mark.parametrize("local", [True, False])
def test_masked_attention(randomise, local):
    layout = get_layout("research")
    config = InpainterModelConfig(
        **SMALL,
        use_masked_attention=True,
        use_local_context=local,
        predict_channels=("npho", "time"),
    )
    token, hidden = torch.randn(2, 64), torch.rand(2, 144) < 0.3
    hidden[1, :100] = True  # nothing to see for many
    head = randomise(FaceHead(config, layout, (24, 6), attend=True))
    image = torch.randn(2, 2, 24, 6)
    with torch.no_grad():
        latent = head.latent_proj(token)
        spread = latent[..., None, None].expand(-1, -1, 24, 6)
        features = (
            head.local_encoder(torch.cat([image, spread], 1))
            if local
            else head.global_decoder(spread)
        )
        expected = textbook_attention(
            head, features.flatten(2).transpose(1, 2), latent, hidden, *box_neighbours((24, 6))
        )
        assert_close(head(image, token, hidden), expected)

    head = randomise(HexHead(config, layout, attend=True))
    nodes, hidden = torch.randn(2, 73, 2), torch.rand(2, 73) < 0.4
    with torch.no_grad():
        latent = head.latent_proj(token)
        if local:
            x = head.input_proj(torch.cat([nodes, latent.unsqueeze(1).expand(-1, 73, -1)], -1))
            for layer in head.gnn_layers:
                x = layer(x)
        else:
            x = head.global_decoder(latent).unsqueeze(1).expand(-1, 73, -1)
        expected = textbook_attention(head, x, latent, hidden, *graph_neighbours(layout.hex_edges))
        assert_close(head(nodes, token, hidden), expected)


@pytest.mark.parametrize("local", [True, False])
def test_heads_without_local_context_do_not_look(randomise, local):
    layout = get_layout("physical")
    config = InpainterModelConfig(**SMALL, use_local_context=local, outer_fine_pool=(3, 3))
    token, hidden = torch.randn(1, 64), torch.zeros(1, 144, dtype=torch.bool)
    for built, shape, more in (
        (FaceHead(config, layout, (24, 6), attend=False), (1, 2, 24, 6), (hidden,)),
        (HexHead(config, layout, attend=False), (1, 73, 2), (hidden[:, :73],)),
        (OuterSensorHead(config, layout), (1, 2, 15, 24), ()),
    ):
        head = randomise(built)
        with torch.no_grad():
            one, other = (head(torch.randn(shape), token, *more) for _ in range(2))
        assert torch.equal(one, other) is not local
        assert one.shape[::2] == (1, 1)


@pytest.mark.parametrize("layout", ["research", "physical"])
def test_outer_sensor_head(randomise, layout):
    config = InpainterModelConfig(**SMALL, outer_fine_pool=None)
    head = randomise(OuterSensorHead(config, get_layout(layout)))
    regions = outer_regions(get_layout(layout), None)
    image, token = torch.randn(2, 2, 45, 72), torch.randn(2, 64)
    with torch.no_grad():
        result, latent = head(image, token), head.latent_proj(token)
        spread = latent[..., None, None].expand(-1, -1, 45, 72)
        cells = head.local_encoder(torch.cat([image, spread], 1)).flatten(2).transpose(1, 2)
        for tube in (0, 30, 93, 130, 215, 220, 233):
            ids = torch.from_numpy(regions.cells[tube][regions.valid[tube]])
            weight = torch.softmax(head.attn_weight(cells[:, ids]), dim=1)
            pooled = (weight * cells[:, ids]).sum(1)
            assert_close(result[:, tube], head.pred_head(torch.cat([pooled, latent], 1)))


@pytest.mark.parametrize("pool", [None, (2, 2), (3, 3), (5, 3), (4, 7), (45, 72)])
def test_regions_are_the_cells_of_the_tubes(pool):
    layout = get_layout("physical")
    regions = outer_regions(layout, pool)
    assert regions.sensors.tolist() == [*range(4092, 4308), *range(4742, 4760)]
    assert regions.valid.any(axis=1).all()
    assert regions.cells.max() < regions.shape[0] * regions.shape[1]
    if pool is None:
        for tube, cells, valid in zip(regions.sensors, regions.cells, regions.valid, strict=True):
            expected = np.flatnonzero(layout.outer_fine.ravel() == tube)
            assert cells[valid].tolist() == expected.tolist()


@pytest.mark.parametrize("pool", [None, (5, 3)])
@pytest.mark.parametrize("layout", ["research", "physical"])
def test_reading_tubes_off_the_fine_grid(layout, pool):
    # Without pooling, or by whole coarse cells outside the centre, nothing is lost.
    maps = get_layout(layout)
    sensors, total, average = outer_average(maps, pool)
    assert len(sensors) == (222 if layout == "research" else 234)
    values = np.random.default_rng(0).exponential(1.0, 4760)
    grids = (values[maps.outer_fine] / maps.outer_fine_area, values[maps.outer_fine])
    height, width = pool or (1, 1)
    clean = np.isin(sensors, maps.outer_centre, invert=True) | (pool is None)
    for matrix, grid in zip((total, average), grids, strict=True):
        pooled = grid.reshape(45 // height, height, 72 // width, width).mean(axis=(1, 3))
        read = matrix @ pooled.ravel()
        np.testing.assert_allclose(read[clean], values[sensors][clean], rtol=1e-12)


def slow_cross_attention(head, x, tokens, hidden, event, sensor):
    """The specification for one sensor of one event, from the concatenated features."""
    place = torch.cat([head.pos_embed, head.face_embedding(head.face_ids)], dim=1)
    near = head.knn_indices[sensor]
    features = head.neighbor_proj(torch.cat([x[event, near], place[near]], dim=1))
    logits = features @ head.query_proj_local(place[sensor]) / math.sqrt(features.shape[1])
    weight = torch.softmax(logits.masked_fill(hidden[event, near], -1e4), dim=0)
    local = weight @ features
    latent = head.latent_proj(tokens[event])
    latent = latent + head.latent_face_proj(head.face_embedding(head.token_face_ids_map))
    question = head.query_proj_global(place[sensor]).reshape(4, -1)
    key, value = (p(latent).reshape(len(latent), 4, -1) for p in (head.k_proj, head.v_proj))
    logits = torch.einsum("hd,thd->ht", question, key) / math.sqrt(question.shape[1])
    answer = torch.einsum("ht,thd->hd", torch.softmax(logits, 1), value).flatten()
    return head.pred_mlp(torch.cat([local, head.global_out_proj(answer)]))


@pytest.mark.parametrize("mode", ["finegrid", "split"])
def test_cross_attention(randomise, mode):
    config = InpainterModelConfig(
        encoder_dim=64,
        head_type="cross_attention",
        outer_mode=mode,
        cross_attn_k=7,
        cross_attn_hidden=12,
        cross_attn_latent_dim=16,
        cross_attn_pos_dim=24,
        predict_channels=("npho", "time"),
    )
    head = randomise(CrossAttentionHead(config, get_layout("physical")))
    x, hidden = torch.randn(2, 4760, 2), torch.rand(2, 4760) < 0.3
    hidden[0, head.knn_indices[5]] = True  # a sensor that sees nothing
    tokens = torch.randn(2, 7 if mode == "split" else 6, 64)
    sensors = torch.tensor([[5, 4100, 4750, 4759], [0, 4310, 4700, 5]])
    with torch.no_grad():
        whole = head(x, tokens, hidden)
        some = head(x, tokens, hidden, sensors)
        assert whole.shape == (2, 4760, 2)
        for event in range(2):
            assert_close(some[event], whole[event, sensors[event]])
            for value, sensor in zip(some[event], sensors[event], strict=True):
                assert_close(value, slow_cross_attention(head, x, tokens, hidden, event, sensor))


def test_nearest_sensors():
    position = design_geometry().position
    near = nearest_sensors(position, 16)
    for sensor in (0, 2000, 4091, 4092, 4400, 4600, 4759):
        distance = np.linalg.norm(position - position[sensor], axis=1)
        assert sensor not in near[sensor]
        found = distance[near[sensor]]
        np.testing.assert_allclose(found, np.sort(distance)[1:17])
        assert (np.diff(found) >= 0).all()


def test_position_code():
    code = position_code(design_geometry().position, 12)
    x, _, z = design_geometry().position[4000]
    assert code.dtype == torch.float32
    assert code[4000, 1].item() == pytest.approx(math.sin(2 * x * math.pi / 100), abs=1e-5)
    assert code[4000, 10].item() == pytest.approx(math.cos(z * math.pi / 100), abs=1e-5)


def test_positions_from_files(reference, tmp_path):
    design = sensor_positions(None)
    assert design is design_geometry().position
    assert sensor_positions(design_geometry()) is design
    table = sensor_positions(reference / "sensor_table.csv")
    assert 0 < np.abs(table - design).max() < 1.1
    text = tmp_path / "positions.txt"
    rows = np.column_stack([np.arange(4760), design])
    np.savetxt(text, rows, header="sensor_id x y z [cm]")
    np.testing.assert_allclose(sensor_positions(text), design)
    np.savetxt(text, rows[:-1])
    with pytest.raises(InputError, match=r"positions\.txt: holds 4759 x 4 numbers.*4760 lines"):
        sensor_positions(text)
    text.write_text("no numbers\n")
    with pytest.raises(InputError, match="not a table of numbers"):
        sensor_positions(text)
    with pytest.raises(InputError, match="no such file"):
        sensor_positions(tmp_path / "none.txt")
