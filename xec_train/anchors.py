"""Fitting the anchors: a linear least-squares fit, then a small network for its residual.

Both see nothing but moments, computed once per event.  That costs seconds where the same steps
through the encoder would take hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from xec_train.models import TaskName, XECMultiHeadModel
from xec_train.models.anchor import Anchor
from xec_train.models.moments import N_MOMENTS
from xec_train.models.research.regressor import LAST_LAYER

__all__ = ["fit_anchors"]

STEPS: Final = 8000
BATCH: Final = 256
LEARNING_RATE: Final = 2e-3
WEIGHT_DECAY: Final = 1e-3
FEWEST_EVENTS: Final = 2000
"""Below this the curve would learn the noise of the sample, and is left at zero."""


def fit_anchors(
    model: XECMultiHeadModel,
    moments: Tensor,
    targets: Mapping[TaskName, Tensor],
    units: Mapping[TaskName, Tensor],
) -> dict[str, Tensor]:
    """Fit the anchors of a regressor.

    Parameters
    ----------
    model
        A regressor with moments.
    moments, targets
        (n, N_MOMENTS) and per task (n, components) in physical units, of the same events.
    units
        Per task (components,): the error that counts as one.

    Returns
    -------
    state
        State-dict entries: the anchors, and last layers of the heads set to zero, so that the
        model starts at the estimate of the anchors.
    """
    fitted: dict[str, Tensor] = {}
    for task, target in targets.items():
        anchor = _fit(moments, target, units[task], model.config.outputs_of(task))
        fitted.update(
            {f"anchors.{task}.{name}": value for name, value in anchor.state_dict().items()}
        )
        for kind in ("weight", "bias"):
            last = f"heads.{task}.{LAST_LAYER}.{kind}"
            fitted[last] = torch.zeros_like(model.state_dict()[last])
    return fitted


def _fit(moments: Tensor, target: Tensor, unit: Tensor, outputs: int) -> Anchor:
    components = target.shape[1]
    anchor = Anchor(outputs)
    last = anchor.curve[-1]
    assert isinstance(last, torch.nn.Linear)  # noqa: S101 - built two lines above
    design = torch.cat([moments, torch.ones(len(moments), 1)], dim=1).double()
    solution = torch.linalg.lstsq(design, target.double()).solution.to(moments.dtype)
    with torch.no_grad():
        for parameter in (*anchor.linear.parameters(), *last.parameters()):
            parameter.zero_()
        anchor.linear.weight[:components] = solution[:N_MOMENTS].T
        anchor.linear.bias[:components] = solution[N_MOMENTS]
        anchor.mean.copy_(moments.mean(dim=0))
        anchor.inverse_spread.copy_(1.0 / moments.std(dim=0, correction=0).clamp_min(1e-6))
        residual = (target - anchor.linear(moments)[:, :components]) / unit
        standard = anchor.standardise(moments)
    if len(moments) >= FEWEST_EVENTS:
        _fit_curve(anchor, standard, residual)
    with torch.no_grad():
        last.weight[:components] *= unit[:, None]
        last.bias[:components] *= unit
    return anchor


def _fit_curve(anchor: Anchor, standard: Tensor, residual: Tensor) -> None:
    """Train the small network on the residual, in units of the loss scale."""
    optimiser = torch.optim.AdamW(
        anchor.curve.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    components = residual.shape[1]
    for _ in range(STEPS):
        rows = torch.randint(len(standard), (BATCH,))
        output = anchor.curve(standard[rows])[:, :components]
        loss = functional.smooth_l1_loss(output, residual[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
