"""The masked autoencoder: hidden sensors predicted from the tokens alone.

Light decoders force the encoder to put what it knows of a face into the face's token (He et al.,
"Masked Autoencoders Are Scalable Vision Learners", 2022).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation
from xec_train.models.config import MAEModelConfig
from xec_train.models.research.blocks import HexNeXtBlock
from xec_train.models.research.encoder import XECEncoder
from xec_train.models.research.hidden import SensorAssembly, hide
from xec_train.models.research.index_maps import IndexedModule
from xec_train.models.research.outer_regions import outer_average

__all__ = ["XEC_MAE", "FaceDecoder", "GraphFaceDecoder"]

DECODERS: Final = {
    "inner": "dec_inner",
    "upstream": "dec_us",
    "downstream": "dec_ds",
    "outer": "dec_outer",
    "top": "dec_top",
    "bottom": "dec_bot",
}
"""Module of each face, named as in existing checkpoints."""


class FaceDecoder(nn.Module):
    """A token to the image of a rectangular face: 4 x 4, 8 x 8, 16 x 16, then resized."""

    def __init__(self, encoder_dim: int, dim: int, channels: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(encoder_dim, 2 * dim * 4 * 4)
        self.decoder = nn.Sequential(
            _doubling(2 * dim, dim),
            nn.LayerNorm([dim, 8, 8]),
            nn.GELU(),
            _doubling(dim, dim // 2),
            nn.LayerNorm([dim // 2, 16, 16]),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, channels, kernel_size=3, padding=1),
        )

    def forward(self, token: Tensor) -> Tensor:
        """Turn (batch, encoder_dim) into (batch, channels, height, width)."""
        x = self.decoder(self.linear(token).unflatten(1, (-1, 4, 4)))
        return functional.interpolate(x, size=self.shape, mode="bilinear", align_corners=False)


def _doubling(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=3, stride=2, padding=1, output_padding=1)


class GraphFaceDecoder(IndexedModule):
    """A token to the 73 nodes of a hexagonal face."""

    def __init__(self, encoder_dim: int, dim: int, channels: int, layout: Layout) -> None:
        super().__init__(layout.name)
        adjacency = torch.from_numpy(layout.hex_adjacency()).to(torch.get_default_dtype())
        self.register_map("adj_matrix", layout.hex_edges)
        self.proj_in = nn.Linear(encoder_dim, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, adjacency.shape[1], dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(HexNeXtBlock(dim, adjacency) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, channels))

    def forward(self, token: Tensor) -> Tensor:
        """Turn (batch, encoder_dim) into (batch, 73, channels)."""
        x = self.proj_in(token).unsqueeze(1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


class XEC_MAE(nn.Module):  # noqa: N801 - the research code's name
    """Normalised events with hidden sensors to predictions of all sensors.

    Parameters
    ----------
    config, layout
        Architecture and index maps.
    normalisation
        Of the input; its sentinels are what hidden sensors are given.
    """

    npho_of_tube: Tensor
    mean_of_tube: Tensor

    def __init__(
        self, config: MAEModelConfig, layout: Layout, normalisation: Normalisation
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.normalisation = normalisation
        self.encoder = XECEncoder(config, layout, normalisation.sentinel_time)
        sizes = (config.encoder_dim, config.decoder_dim, len(config.predict_channels))
        shapes = {
            "inner": layout.inner.shape,
            "upstream": layout.upstream.shape,
            "downstream": layout.downstream.shape,
            "outer": layout.outer_coarse.shape,
        }
        ids = {
            name: torch.from_numpy(getattr(layout, name).flatten())
            for name in shapes
            if name != "outer"
        }
        self.fine = config.outer_mode == "finegrid"
        if self.fine:
            window = config.outer_fine_pool or (1, 1)
            height, width = layout.outer_fine.shape
            shapes["outer"] = (height // window[0], width // window[1])
            tubes, total, average = outer_average(layout, config.outer_fine_pool)
            for name, matrix in (("npho_of_tube", total), ("mean_of_tube", average)):
                tensor = torch.from_numpy(matrix).to(torch.get_default_dtype())
                self.register_buffer(name, tensor, persistent=False)
            ids["outer"] = torch.from_numpy(tubes)
        else:
            ids["outer"] = torch.from_numpy(layout.outer_coarse.flatten())
        for face, shape in shapes.items():
            self.add_module(DECODERS[face], FaceDecoder(*sizes, shape))
        for face in ("top", "bottom"):
            self.add_module(DECODERS[face], GraphFaceDecoder(*sizes, layout))
            ids[face] = torch.from_numpy(getattr(layout, face).copy())
        self.assembly = SensorAssembly(ids)
        self.channel_log_vars = (
            nn.Parameter(torch.zeros(sizes[2])) if config.learn_channel_logvars else None
        )

    @property
    def predicted(self) -> Tensor:
        """(4760,) bool: sensors that have a prediction.

        All of them in the physical layout; in the research layout twelve tubes do not reach the
        network, and in split mode the 18 tubes of the dense centre have no decoder.
        """
        return self.assembly.predicted

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predict sensors.

        Parameters
        ----------
        x
            (batch, 4760, 2) normalised events; what masked sensors hold is not looked at.
        mask
            (batch, 4760), True or 1 where a sensor is hidden.  Invalid sensors are hidden too;
            those that merely have no time are seen.

        Returns
        -------
        prediction
            (batch, 4760, channels) in normalised units, 0 where ``predicted`` is False.
        """
        invalid = x[..., 0] == self.normalisation.sentinel_npho
        hidden = hide(x, mask, self.normalisation)
        return self.sensors(self.decode(self.encoder(hidden, mask.bool() | invalid)))

    def decode(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return what the decoders paint for (batch, tokens, encoder_dim).

        Images (batch, channels, height, width), the outer one in the units of the fine grid (npho
        per cell), and nodes (batch, 73, channels).
        """
        index = {face: place for place, face in enumerate(self.encoder.tokens)}
        return {
            face: self.get_submodule(name)(tokens[:, index[face]])
            for face, name in DECODERS.items()
        }

    def sensors(self, faces: dict[str, Tensor]) -> Tensor:
        """Read (batch, 4760, channels) off the decoded faces."""
        flat = {
            face: value if value.ndim == 3 else value.flatten(2).transpose(1, 2)
            for face, value in faces.items()
        }
        if self.fine:
            matrices = (self.npho_of_tube, self.mean_of_tube)
            flat["outer"] = torch.stack(
                [
                    channel @ matrix.T
                    for channel, matrix in zip(flat["outer"].unbind(-1), matrices, strict=False)
                ],
                dim=-1,
            )
        return self.assembly(flat)  # type: ignore[no-any-return]
