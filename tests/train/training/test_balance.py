"""Balance of the tasks."""

import math

import pytest
import torch

from xec_train.training.balance import AutomaticBalance, ManualBalance


def test_manual_weights():
    losses = {"energy": torch.tensor(2.0), "angle": torch.tensor(3.0)}
    assert ManualBalance({"energy": 10.0, "angle": 0.5})(losses).item() == 21.5


def test_automatic_balance_settles_where_every_task_pulls_alike():
    losses = {"energy": torch.tensor(1e-2), "angle": torch.tensor(5.0)}
    balance = AutomaticBalance(losses)
    optimiser = torch.optim.LBFGS(balance.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        total = balance(losses)
        total.backward()
        return total

    optimiser.step(closure)
    for task, loss in losses.items():
        s = balance.log_variance[task].item()
        assert math.exp(s) == pytest.approx(loss.item(), rel=1e-3)
    expected = sum(0.5 * (1 + math.log(loss.item())) for loss in losses.values())
    assert balance(losses).item() == pytest.approx(expected, rel=1e-5)


def test_likelihoods_are_added_as_they_are():
    balance = AutomaticBalance(["energy", "angle"], ["energy"])
    assert set(balance.log_variance) == {"angle"}
    losses = {"energy": torch.tensor(-4.0), "angle": torch.tensor(2.0)}
    assert balance(losses).item() == -3.0
