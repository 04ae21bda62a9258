"""Balance of the tasks: one loss out of several."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

__all__ = ["AutomaticBalance", "ManualBalance"]


class ManualBalance(nn.Module):
    """The sum of the losses with stated weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the total of scalar losses."""
        return torch.stack([self.weights[task] * loss for task, loss in losses.items()]).sum()


class AutomaticBalance(nn.Module):
    """Homoscedastic uncertainty weighting: the sum of ``0.5 (exp(-s) L + s)``, ``s`` learned.

    With ``L`` a mean squared error this is the negative log likelihood of a Gaussian of variance
    ``exp(s)`` (Kendall, Gal and Cipolla, CVPR 2018, eq. 7); for every loss its minimum over ``s``
    is at ``exp(s) = L``, so each task pulls alike.  A loss that is a likelihood already, which may
    be negative, is added as it is.

    Parameters
    ----------
    tasks
        All tasks.
    likelihoods
        Those whose loss is a negative log likelihood.
    """

    def __init__(self, tasks: Collection[str], likelihoods: Collection[str] = ()) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict(
            {task: nn.Parameter(torch.zeros(())) for task in tasks if task not in likelihoods}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the total of scalar losses."""
        return torch.stack([self._term(task, loss) for task, loss in losses.items()]).sum()

    def _term(self, task: str, loss: Tensor) -> Tensor:
        if task not in self.log_variance:
            return loss
        s = self.log_variance[task]
        term: Tensor = 0.5 * (torch.exp(-s) * loss + s)
        return term
