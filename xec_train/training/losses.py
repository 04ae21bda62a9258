"""Losses of one quantity, event by event.

Errors are measured in units of a scale, so that one number says for every quantity what a large
error is.  The relative losses divide by the truth instead and have no scale.
"""

from __future__ import annotations

from typing import Final, get_args

import torch
from torch import Tensor
from torch.nn import functional

from xec_train.config.types import LossName

__all__ = ["RELATIVE_FLOOR", "class_loss", "event_loss", "split_variance", "unit_vectors"]

RELATIVE_FLOOR: Final = 1e-3
"""Smallest \\|truth\\| a relative loss divides by, in the unit of the quantity."""


def event_loss(
    name: LossName, prediction: Tensor, target: Tensor, *, scale: Tensor, beta: float = 1.0
) -> Tensor:
    """Return the loss of each event, (batch,) float32, averaged over the components.

    Parameters
    ----------
    name
        ``smooth_l1`` (also called ``huber``; its linear part starts at ``beta``), ``l1``, ``mse``
        (``l2``), the same after ``relative_``, ``cosine`` or ``gaussian_nll``.
    prediction
        (batch, components) in the unit of the quantity; for ``gaussian_nll`` (batch, 2 components),
        means before log variances.
    target
        (batch, components).  For ``cosine`` polar and azimuthal angle in degrees, or a vector.
    scale
        (components,): the error that counts as one.
    beta
        In units of ``scale``; for ``gaussian_nll`` the exponent of beta-NLL.
    """
    prediction, target = prediction.float(), target.float()
    if name == "cosine":
        cosine = (unit_vectors(prediction) * unit_vectors(target)).sum(dim=1)
        return 1.0 - cosine
    if name == "gaussian_nll":
        mean, log_variance = split_variance(prediction)
        return _beta_nll((mean - target) / scale, log_variance - 2.0 * scale.log(), beta).mean(1)
    relative = name.startswith("relative_")
    error = (prediction - target) / (target.abs().clamp_min(RELATIVE_FLOOR) if relative else scale)
    return _plain(name.removeprefix("relative_"), error, beta).mean(dim=1)


def class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy (batch,) of logits (batch, classes), truth (batch, 1) a class."""
    return functional.cross_entropy(logits.float(), target[:, 0].long(), reduction="none")


def split_variance(prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and log variances, each (batch, components)."""
    mean, log_variance = prediction.chunk(2, dim=1)
    return mean, log_variance


def unit_vectors(direction: Tensor) -> Tensor:
    """Return unit vectors (batch, 3) of (theta, phi) in degrees, or of vectors of any length."""
    if direction.shape[1] == 3:
        return functional.normalize(direction, dim=1)
    theta, phi = torch.deg2rad(direction).unbind(dim=1)
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=1)


def _plain(name: str, error: Tensor, beta: float) -> Tensor:
    zero = torch.zeros_like(error)
    match name:
        case "smooth_l1" | "huber":
            return functional.smooth_l1_loss(error, zero, beta=beta, reduction="none")
        case "l1":
            return error.abs()
        case "mse" | "l2":
            return error.square()
    raise ValueError(f"unknown loss {name!r}; known: {', '.join(get_args(LossName))}")


def _beta_nll(error: Tensor, log_variance: Tensor, beta: float) -> Tensor:
    """Gaussian NLL times variance^beta (Seitzer et al., ICLR 2022).

    The plain NLL hardly learns the mean where the variance is large; the factor, constant in the
    gradient, gives it back.
    """
    nll = 0.5 * (log_variance + error.square() * torch.exp(-log_variance))
    return nll * torch.exp(beta * log_variance.detach())
