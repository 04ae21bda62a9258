"""Masks for MAE and inpainter: which of the valid sensors a model has to predict.

A sensor without a valid measurement is never masked: there is nothing to compare with.  All
randomness comes from the generator that is passed, on the device of the sensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor

from xec_deploy.detector.geometry import design_geometry
from xec_deploy.errors import UsageError, nearest
from xec_train.data.augment import dead_boards

__all__ = ["MASK_FACES", "MaskSampler"]

MASK_FACES: Final[Mapping[str, str]] = {
    "inner": "inner",
    "us": "upstream",
    "ds": "downstream",
    "outer": "outer",
    "top": "top",
    "bot": "bottom",
}
"""Faces as the configuration names them, and the detector."""


@dataclass(frozen=True)
class MaskSampler:
    """Draws masks.

    Attributes
    ----------
    ratio
        Share of the valid sensors that is masked: of all, or by face (a face that is not named is
        not masked).
    ratio_min
        Each event draws its share uniformly from this to ``ratio``; None for always ``ratio``.
    npho_flat
        Mask sensors evenly in the logarithm of their light: of as many bins of equal width as
        sensors are masked, one sensor of each that holds any, the rest uniformly.
    board_probability
        Probability that an event has whole boards of 16 ids masked too, see `augment.dead_boards`.
    time_scale
        How much likelier than others a sensor with a valid time is masked, roughly; not with
        ``npho_flat``.
    """

    ratio: float | Mapping[str, float]
    ratio_min: float | None = None
    npho_flat: bool = False
    board_probability: float = 0.0
    time_scale: float = 1.0

    def __post_init__(self) -> None:
        ratios = self.ratio.values() if isinstance(self.ratio, Mapping) else [self.ratio]
        if not all(0 <= ratio <= 1 for ratio in ratios):
            raise UsageError(f"the mask ratio {self.ratio} is not a share from 0 to 1")
        if isinstance(self.ratio, Mapping):
            for face in self.ratio:
                if face not in MASK_FACES:
                    raise UsageError(
                        f"there is no face {face!r} to mask", fix=nearest(face, MASK_FACES)
                    )
        elif self.ratio_min is not None and not 0 <= self.ratio_min <= self.ratio:
            raise UsageError(f"the least mask ratio is not from 0 to {self.ratio}")

    def __call__(
        self,
        valid: Tensor,
        *,
        npho: Tensor | None = None,
        time_valid: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw a mask for each event.

        Parameters
        ----------
        valid
            (events, 4760) bool: sensors with a valid npho.
        npho
            (events, 4760) raw photons, for ``npho_flat``; below one photon counts as one.
        time_valid
            (events, 4760) bool, for ``time_scale``.
        generator
            Source of randomness; None for torch's own.

        Returns
        -------
        mask
            (events, 4760) bool, True only where ``valid``.  Without boards, each event (and face)
            has exactly its share of valid sensors masked, rounded down.
        """
        if isinstance(self.ratio, Mapping):
            mask = torch.zeros_like(valid)
            for face, ratio in self.ratio.items():
                ids = torch.from_numpy(design_geometry().sensors_of(MASK_FACES[face]))
                ids = ids.to(valid.device)
                light = None if npho is None else npho[:, ids]
                timed = None if time_valid is None else time_valid[:, ids]
                mask[:, ids] = self._draw(valid[:, ids], ratio, light, timed, generator)
        else:
            mask = self._draw(valid, self.ratio, npho, time_valid, generator)
        boards = dead_boards(valid, self.board_probability, generator)
        return mask | (boards & valid)

    def _draw(
        self,
        valid: Tensor,
        ratio: float,
        npho: Tensor | None,
        time_valid: Tensor | None,
        generator: Generator | None,
    ) -> Tensor:
        share = torch.full((len(valid), 1), ratio, device=valid.device)
        if self.ratio_min is not None and not isinstance(self.ratio, Mapping):
            draw = torch.rand(len(valid), 1, generator=generator, device=valid.device)
            share = self.ratio_min + (ratio - self.ratio_min) * draw
        # a little more than float32 is exact, so that 0.05 of 100 is 5 and not 4
        count = (valid.sum(dim=1, keepdim=True) * share.double() + 1e-6).long()
        noise = torch.rand(valid.shape, generator=generator, device=valid.device)
        if self.npho_flat:
            if npho is None:
                raise ValueError("npho_flat needs npho")
            noise = torch.where(_one_of_each_bin(valid, npho, count, noise), noise - 1, noise)
        elif self.time_scale != 1.0:
            if time_valid is None:
                raise ValueError("time_scale needs time_valid")
            noise = torch.where(time_valid, noise / self.time_scale, noise)
        order = noise.masked_fill(~valid, torch.inf).argsort(dim=1)
        taken = torch.arange(valid.shape[1], device=valid.device) < count
        return torch.zeros_like(valid).scatter(1, order, taken)


def _one_of_each_bin(valid: Tensor, npho: Tensor, bins: Tensor, noise: Tensor) -> Tensor:
    """Choose one sensor of each bin of equal width in log(npho); ``bins`` (events, 1)."""
    light = torch.where(valid, npho, 1.0).clamp_min(1.0).log()
    low = light.masked_fill(~valid, torch.inf).amin(dim=1, keepdim=True)
    high = light.masked_fill(~valid, -torch.inf).amax(dim=1, keepdim=True)
    width = (high - low).clamp_min(1e-6)
    place = ((light - low) / width * bins).floor()
    place = torch.minimum(place, bins - 1).masked_fill(~valid, torch.inf)
    # sorted by bin, and at random within a bin: the first one of each is taken
    order = noise.argsort(dim=1)
    order = order.gather(1, place.gather(1, order).argsort(dim=1, stable=True))
    sorted_place = place.gather(1, order)
    first = torch.ones_like(valid)
    first[:, 1:] = sorted_place[:, 1:] != sorted_place[:, :-1]
    first &= sorted_place.isfinite() & (bins > 0)
    return torch.zeros_like(valid).scatter(1, order, first)
