"""The inpainter: hidden sensors predicted from their surroundings and from the whole event."""

from __future__ import annotations

from os import PathLike
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.geometry import Geometry
from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.models.config import InpainterModelConfig
from xec_train.models.research.cross_attention import CrossAttentionHead
from xec_train.models.research.encoder import XECEncoder
from xec_train.models.research.face_heads import FaceHead, HexHead, OuterSensorHead
from xec_train.models.research.hidden import SensorAssembly, hide
from xec_train.models.research.index_maps import IndexedModule

__all__ = ["XEC_Inpainter"]

HEADS: Final = {
    "inner": "head_inner",
    "upstream": "head_us",
    "downstream": "head_ds",
    "outer": "head_outer",
    "top": "head_top",
    "bottom": "head_bot",
}
"""Module of each face, named as in existing checkpoints."""
OUTER_SENSOR: Final = "head_outer_sensor"
MAPS: Final = {
    "inner_idx": "inner",
    "us_idx": "upstream",
    "ds_idx": "downstream",
    "outer_coarse_idx": "outer_coarse",
    "top_hex_indices": "top",
    "bottom_hex_indices": "bottom",
}
"""Buffer of each index map, named as in existing checkpoints."""


class XEC_Inpainter(IndexedModule):  # noqa: N801 - the research code's name
    """Normalised events with hidden sensors to predictions of the sensors.

    Parameters
    ----------
    config, layout
        Architecture and index maps.
    normalisation
        Of the input; its sentinels are what hidden sensors are given.
    positions
        Sensor positions for a cross-attention head trained from scratch, see
        :func:`~xec_train.models.research.positions.sensor_positions`.

    Attributes
    ----------
    predicted
        (4760,) bool: sensors that have a prediction; all but the 18 tubes of the dense centre in
        split mode with heads per face.
    """

    predicted: Tensor

    def __init__(
        self,
        config: InpainterModelConfig,
        layout: Layout,
        normalisation: Normalisation,
        positions: Geometry | str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(layout.name)
        self.config = config
        self.layout = layout
        self.normalisation = normalisation
        self.encoder = XECEncoder(config, layout, normalisation.sentinel_time)
        self.cross_attention = config.head_type == "cross_attention"
        self.timed = "time" in config.predict_channels
        for buffer, name in MAPS.items():
            self.register_map(buffer, getattr(layout, name))
        if self.cross_attention:
            self.cross_attn_head = CrossAttentionHead(config, layout, positions)
            self.register_buffer(
                "predicted", torch.ones(N_SENSORS, dtype=torch.bool), persistent=False
            )
        else:
            self._build_face_heads(config, layout)

    def _build_face_heads(self, config: InpainterModelConfig, layout: Layout) -> None:
        attend = config.use_masked_attention
        self._heads = dict(HEADS)
        ids = {}
        for face in ("inner", "upstream", "downstream"):
            image = getattr(layout, face)
            self.add_module(HEADS[face], FaceHead(config, layout, image.shape, attend=attend))
            ids[face] = torch.from_numpy(image.flatten())
        if config.outer_mode == "finegrid":
            self._heads["outer"] = OUTER_SENSOR
            head = OuterSensorHead(config, layout)
            ids["outer"] = head.get_buffer("sensor_ids")
            self.add_module(OUTER_SENSOR, head)
        else:
            # The coarse image has a plain head also where the others attend.
            coarse = layout.outer_coarse
            self.add_module(HEADS["outer"], FaceHead(config, layout, coarse.shape, attend=False))
            ids["outer"] = torch.from_numpy(coarse.flatten())
        for face in ("top", "bottom"):
            self.add_module(HEADS[face], HexHead(config, layout, attend=attend))
            ids[face] = torch.from_numpy(getattr(layout, face).copy())
        self.assembly = SensorAssembly(ids)
        self.register_buffer("predicted", self.assembly.predicted, persistent=False)

    def forward(self, x: Tensor, mask: Tensor, sensors: Tensor | None = None) -> Tensor:
        """Predict sensors.

        Parameters
        ----------
        x
            (batch, 4760, 2) normalised events; what masked sensors hold is not looked at.
        mask
            (batch, 4760), True or 1 where a sensor is hidden.
        sensors
            (batch, n) ids of the sensors to predict, see
            :func:`~xec_train.models.research.hidden.padded_sensors`; None for all.  Saves most of
            the cross-attention head's work, and none of the others'.

        Returns
        -------
        prediction
            (batch, 4760 or n, channels) in normalised units, of use at masked sensors only; 0
            where ``predicted`` is False.
        """
        mask = mask.bool()
        invalid = (
            x[..., 1] == self.normalisation.sentinel_time
            if self.timed
            else x[..., 0] == self.normalisation.sentinel_npho
        )
        seen = hide(x, mask, self.normalisation)
        unusable = mask | invalid
        tokens = self.encoder(seen, unusable)
        if self.cross_attention:
            return self.cross_attn_head(seen, tokens, unusable, sensors)  # type: ignore[no-any-return]
        prediction = self._by_face(seen, tokens, mask)
        if sensors is None:
            return prediction
        wanted = sensors.unsqueeze(-1).expand(-1, -1, prediction.shape[2])
        return prediction.gather(1, wanted)

    def fill(self, npho: Tensor, time: Tensor, dead: Tensor) -> Tensor:
        """Return raw npho (batch, 4760) [photons] with the predictions at dead sensors.

        ``time`` is in seconds, ``dead`` bool.  Other sensors keep their raw value, invalid ones
        included.
        """
        channels = normalise_arrays(npho, time, dead, self.normalisation, torch)
        prediction = self(torch.stack(channels, dim=-1), dead)[..., 0]
        filled = self.normalisation.inverse(prediction, torch)
        return torch.where(dead & self.predicted, filled, npho)

    def _by_face(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        index = {face: place for place, face in enumerate(self.encoder.tokens)}
        predictions = {}
        for face, name in self._heads.items():
            head: nn.Module = self.get_submodule(name)
            inputs = [self.encoder.face(face, x), tokens[:, index[face]]]
            if name != OUTER_SENSOR:
                hidden = self.encoder.face(face, mask.unsqueeze(-1))
                inputs.append(hidden.flatten(1))
            predictions[face] = head(*inputs)
        return self.assembly(predictions)  # type: ignore[no-any-return]
