"""One inpainting head for all sensors: attention to neighbours and to tokens.

A query is where a sensor is and on which face, the same for every event.  All that depends on
it alone is therefore computed once a batch, and an event costs little more than its values: the
logit of a neighbour is linear in its npho and time with coefficients of the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.geometry import Geometry
from xec_deploy.detector.layout import Layout
from xec_train.models.config import GLOBAL_HEADS, InpainterModelConfig
from xec_train.models.research.encoder import TOKENS
from xec_train.models.research.index_maps import IndexedModule
from xec_train.models.research.positions import nearest_sensors, position_code, sensor_positions

__all__ = ["CrossAttentionHead"]

FACE_WIDTH: Final = 32
"""Width of the embedding of a face."""
CHANNELS: Final = 2
HIDDEN_LOGIT: Final = -1e4
"""Logit of a hidden neighbour; in the range of float16."""
FACE_NUMBERS: Final = {
    "inner": 0,
    "upstream": 1,
    "downstream": 2,
    "outer": 3,
    "outer_coarse": 3,
    "outer_centre": 3,
    "top": 4,
    "bottom": 5,
}
"""Face numbers of the head's embedding; not those of sensor tables."""


@dataclass(frozen=True)
class _Queries:
    """What depends on sensors and weights, not on events.

    With S sensors, k neighbours, h local and l global channels: ``slope`` (S, 2) and ``offset``
    (S, k) give the local logits, ``constant`` (4760, h) is the part of a neighbour's feature that
    is not its values, ``question`` (S, heads, l / heads) asks the tokens.
    """

    slope: Tensor
    offset: Tensor
    constant: Tensor
    question: Tensor


class CrossAttentionHead(IndexedModule):
    """Predict sensors from the nearest ones and from all tokens.

    Geometry is in buffers and comes from the checkpoint when one is loaded; ``positions`` is for
    training from scratch, see :func:`~xec_train.models.research.positions.sensor_positions`.
    """

    sensor_positions: Tensor
    knn_indices: Tensor
    face_ids: Tensor
    pos_embed: Tensor
    token_face_ids_map: Tensor

    def __init__(
        self,
        config: InpainterModelConfig,
        layout: Layout,
        positions: Geometry | str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(layout.name)
        k, hidden, width = (
            config.cross_attn_k,
            config.cross_attn_hidden,
            config.cross_attn_latent_dim,
        )
        place = sensor_positions(positions)
        self.register_buffer(
            "sensor_positions", torch.tensor(place, dtype=torch.get_default_dtype())
        )
        self.register_indices("knn_indices", nearest_sensors(place, k), N_SENSORS)
        faces = np.empty(N_SENSORS, np.int64)
        for name, number in FACE_NUMBERS.items():
            if name != "outer":
                faces[getattr(layout, name).ravel()] = number
        self.register_map("face_ids", faces)
        code = position_code(place, config.cross_attn_pos_dim)
        self.register_buffer("pos_embed", code.to(torch.get_default_dtype()))
        self.register_map(
            "token_face_ids_map",
            np.array([FACE_NUMBERS[face] for face in TOKENS[config.outer_mode]]),
        )
        self.face_embedding = nn.Embedding(6, FACE_WIDTH)
        query = config.cross_attn_pos_dim + FACE_WIDTH
        self.neighbor_proj = nn.Linear(CHANNELS + query, hidden)
        self.query_proj_local = nn.Linear(query, hidden)
        self.latent_proj = nn.Linear(config.encoder_dim, width)
        self.latent_face_proj = nn.Linear(FACE_WIDTH, width)
        self.query_proj_global = nn.Linear(query, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.global_out_proj = nn.Linear(width, width)
        self.pred_mlp = nn.Sequential(
            nn.LayerNorm(hidden + width),
            nn.Linear(hidden + width, hidden),
            nn.GELU(),
            nn.Linear(hidden, len(config.predict_channels)),
        )

    def forward(
        self, x: Tensor, tokens: Tensor, hidden: Tensor, sensors: Tensor | None = None
    ) -> Tensor:
        """Predict all sensors, or those given.

        Parameters
        ----------
        x
            (batch, 4760, 2) with sentinels where hidden.
        tokens
            (batch, tokens, encoder_dim).
        hidden
            (batch, 4760) bool: neighbours not to attend to.
        sensors
            (batch, n) ids, None for all.

        Returns
        -------
        prediction
            (batch, 4760 or n, channels).
        """
        queries = self._queries()
        local = (
            self._local_of_all(x, hidden, queries)
            if sensors is None
            else self._local_of(sensors, x, hidden, queries)
        )
        question = queries.question if sensors is None else queries.question[sensors]
        combined = torch.cat([local, self._global(question, tokens)], dim=-1)
        return self.pred_mlp(combined)  # type: ignore[no-any-return]

    def _queries(self) -> _Queries:
        place = torch.cat([self.pos_embed, self.face_embedding(self.face_ids)], dim=1)
        constant = functional.linear(
            place, self.neighbor_proj.weight[:, CHANNELS:], self.neighbor_proj.bias
        )
        local = self.query_proj_local(place)
        local = local * local.shape[1] ** -0.5
        neighbours = functional.embedding(self.knn_indices, constant)
        question = torch.unflatten(self.query_proj_global(place), 1, (GLOBAL_HEADS, -1))
        return _Queries(
            slope=local @ self.neighbor_proj.weight[:, :CHANNELS],
            offset=(neighbours @ local.unsqueeze(-1)).squeeze(-1),
            constant=constant,
            question=question * question.shape[-1] ** -0.5,
        )

    def _local_of_all(self, x: Tensor, hidden: Tensor, queries: _Queries) -> Tensor:
        flat, shape = self.knn_indices.flatten(), self.knn_indices.shape
        values = torch.unflatten(x.index_select(1, flat), 1, shape)
        unseen = torch.unflatten(hidden.index_select(1, flat), 1, shape)
        weight = _attention(values, unseen, queries.slope, queries.offset)
        # One product per sensor, (batch, k) with (k, hidden).
        neighbours = functional.embedding(self.knn_indices, queries.constant).to(weight.dtype)
        constant = (weight.transpose(0, 1) @ neighbours).transpose(0, 1)
        return constant + self._of_values(values, weight)

    def _local_of(self, sensors: Tensor, x: Tensor, hidden: Tensor, queries: _Queries) -> Tensor:
        neighbours = self.knn_indices[sensors]
        event = torch.arange(len(x), device=x.device)[:, None, None]
        weight = _attention(
            values := x[event, neighbours],
            hidden[event, neighbours],
            queries.slope[sensors],
            queries.offset[sensors],
        )
        # The weighted sum without a copy of the neighbours' features for every sensor.
        constant = functional.embedding_bag(
            neighbours.flatten(0, 1),
            queries.constant.to(weight.dtype),
            per_sample_weights=weight.flatten(0, 1),
            mode="sum",
        )
        return torch.unflatten(constant, 0, sensors.shape) + self._of_values(values, weight)

    def _of_values(self, values: Tensor, weight: Tensor) -> Tensor:
        mean = (weight.unsqueeze(-1) * values).sum(dim=2)
        return functional.linear(mean, self.neighbor_proj.weight[:, :CHANNELS])

    def _global(self, question: Tensor, tokens: Tensor) -> Tensor:
        face = self.latent_face_proj(self.face_embedding(self.token_face_ids_map))
        latent = self.latent_proj(tokens) + face
        # Both are (batch, heads, tokens, width / heads).
        key, value = (
            torch.unflatten(project(latent), 2, (GLOBAL_HEADS, -1)).transpose(1, 2)
            for project in (self.k_proj, self.v_proj)
        )
        weight = torch.softmax(question.transpose(-3, -2) @ key.transpose(2, 3), dim=-1)
        # The output projection is applied to the few tokens, not to the many sensors.
        output = torch.unflatten(self.global_out_proj.weight, 1, (GLOBAL_HEADS, -1))
        answer = (value @ output.permute(1, 2, 0)).flatten(1, 2)
        return weight.transpose(1, 2).flatten(2) @ answer + self.global_out_proj.bias


def _attention(values: Tensor, hidden: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Return weights (batch, sensors, k) over neighbours with values (batch, sensors, k, 2)."""
    logits = (values @ slope.unsqueeze(-1)).squeeze(-1) + offset
    return torch.softmax(torch.where(hidden, HIDDEN_LOGIT, logits), dim=-1)
