"""AdamW, and what happens to gradients before its step."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.errors import CheckFailed

__all__ = ["GradientGuard", "adamw", "set_rate"]

SHARE: Final = "share"
MOST_SKIPPED: Final = 20
"""Steps in a row without a finite gradient after which a training is given up."""


def adamw(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    slow: nn.Module | None = None,
    share: float = 1.0,
) -> torch.optim.AdamW:
    """Return AdamW for the trainable parameters; biases, norms and other vectors do not decay.

    Those of ``slow``, a part of the module, have the ``share`` of the learning rate that every
    schedule here keeps for a group; with 0 they stay as they are.
    """
    held = set(slow.parameters()) if slow is not None and share != 1.0 else set()
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in trained if (p in held) == late and (p.ndim > 1) == matrix],
            "weight_decay": weight_decay if matrix else 0.0,
            "lr": lr * (share if late else 1.0),
            SHARE: share if late else 1.0,
        }
        for late in (False, True)
        for matrix in (True, False)
    ]
    # Fused: fast, and able to skip a step by a flag on the device.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate: each group has its share of it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(SHARE, 1.0)


class GradientGuard:
    """Clips gradients, and skips the steps of gradients that are not finite.

    Gradients are summed over the processes before they come here, so all processes see the same
    norm and decide alike, without a word between them.  The decision stays on the device: the
    optimiser is told by the flag that gradient scaling uses.  Only every ``MOST_SKIPPED`` steps is
    a counter read back.

    Parameters
    ----------
    limit
        Largest norm; 0 for none.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit or math.inf
        self.skipped: Tensor = torch.zeros(())
        self._in_row: Tensor = torch.zeros(())
        self._steps = 0

    def clip(self, optimiser: torch.optim.Optimizer) -> Tensor:
        """Clip, have the optimiser skip its coming step if need be, and return the norm.

        Raises
        ------
        CheckFailed
            If no step in a row of many had a finite gradient.
        """
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.limit)
        bad = (~torch.isfinite(norm)).float()
        optimiser.found_inf = bad  # type: ignore[attr-defined]
        self.skipped = self.skipped.to(bad.device) + bad
        self._in_row = (self._in_row.to(bad.device) + bad) * bad
        self._steps += 1
        if self._steps % MOST_SKIPPED == 0 and int(self._in_row) >= MOST_SKIPPED:
            raise CheckFailed(
                f"the training diverged: no finite gradient in {int(self._in_row)} steps",
                fix="Lower training.lr, or look for outliers in the truth.",
            )
        return norm
