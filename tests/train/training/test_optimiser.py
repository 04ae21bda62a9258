"""AdamW, averaged weights, and gradients that are not finite."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from xec_deploy.errors import CheckFailed
from xec_train.training.average import WeightAverage
from xec_train.training.optimiser import MOST_SKIPPED, GradientGuard, adamw


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def test_only_matrices_decay(network):
    network[2].weight.requires_grad_(False)
    decayed, plain = adamw(network, lr=0.1, weight_decay=0.5).param_groups
    assert decayed["weight_decay"] == 0.5
    assert [id(p) for p in decayed["params"]] == [id(network[0].weight)]
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 4


def test_a_limit_of_zero_does_not_clip(network):
    optimiser = adamw(network, lr=0.1, weight_decay=0.0)
    for limit, expected in ((0.0, 1000.0), (2.0, 2.0)):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        network[0].weight.grad[0, 0] = 1000.0
        assert GradientGuard(limit).clip(optimiser).item() == 1000.0
        assert network[0].weight.grad[0, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_without_a_finite_gradient_changes_nothing(network, bad):
    optimiser = adamw(network, lr=0.1, weight_decay=0.5)
    guard = GradientGuard(1.0)

    def step(value):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, value)
        guard.clip(optimiser)
        optimiser.step()

    step(1.0)
    weights = [parameter.clone() for parameter in network.parameters()]
    state = [value["exp_avg"].clone() for value in optimiser.state.values()]
    step(bad)
    assert all(map(torch.equal, network.parameters(), weights))
    after = [value["exp_avg"] for value in optimiser.state.values()]
    assert all(map(torch.equal, after, state))
    assert guard.skipped.item() == 1
    step(1.0)
    assert not torch.equal(network[0].weight, weights[0])
    assert all(value["step"] == 2 for value in optimiser.state.values())


def test_a_training_without_finite_gradients_is_given_up(network):
    optimiser = adamw(network, lr=0.1, weight_decay=0.0)
    guard = GradientGuard(1.0)

    def clip(value):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, value)
        guard.clip(optimiser)

    def many(value, times=MOST_SKIPPED - 1):
        for _ in range(times):
            clip(value)

    clip(1.0)
    many(float("nan"))
    clip(1.0)  # in a row: one good step begins anew
    many(float("nan"))
    message = r"diverged: no finite gradient in \d\d steps.*Lower training\.lr"
    with pytest.raises(CheckFailed, match=message):
        many(float("nan"), 2 * MOST_SKIPPED)


def test_the_average_starts_fast_and_ends_slow(network):
    average = WeightAverage(network, 0.9)
    expected = network[0].weight.detach().clone()
    for step in range(1, 60):
        with torch.no_grad():
            network[0].weight.add_(1.0)
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    torch.testing.assert_close(average.module[0].weight.detach(), expected)
    assert average.n_averaged == 59
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_state_is_that_of_an_averaged_model(network):
    average = WeightAverage(network, 0.9)
    average.update(network, 1)
    state = average.state_dict()
    assert set(state) == {"n_averaged"} | {f"module.{name}" for name in network.state_dict()}
    AveragedModel(network).load_state_dict(state)
