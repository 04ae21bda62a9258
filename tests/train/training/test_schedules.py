"""Learning rates: those of torch's schedulers, step by step."""

import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from xec_deploy.errors import UsageError
from xec_train.config import RegressorConfig
from xec_train.training.schedules import LearningRate, SchedulePlan, course

LR = 3e-3


@pytest.fixture
def optimiser():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def rates_of_torch(optimiser, scheduler, steps):
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimiser is never stepped
        for _ in range(steps):
            rates.append(optimiser.param_groups[0]["lr"])
            scheduler.step()
    return rates


def rates_of(plan, optimiser, steps):
    rate = LearningRate(optimiser, plan)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        rate.step()
    return rates


def test_cosine_with_warmup(optimiser):
    ours = rates_of(SchedulePlan("cosine", LR, total=50, warmup=10, lr_min=1e-5), optimiser, 50)
    optimiser.param_groups[0]["lr"] = LR
    linear = lr_scheduler.LinearLR(optimiser, start_factor=0.01, total_iters=10)
    cosine = lr_scheduler.CosineAnnealingLR(optimiser, 40, eta_min=1e-5)
    both = lr_scheduler.SequentialLR(optimiser, [linear, cosine], milestones=[10])
    assert ours == pytest.approx(rates_of_torch(optimiser, both, 50))


def test_onecycle(optimiser):
    ours = rates_of(SchedulePlan("onecycle", LR, total=60, warmup=7, rise=0.2), optimiser, 60)
    scheduler = lr_scheduler.OneCycleLR(optimiser, LR, total_steps=60, pct_start=0.2)
    assert ours == pytest.approx([*rates_of_torch(optimiser, scheduler, 59), ours[-1]])
    assert max(ours) == pytest.approx(LR)
    assert ours[0] == pytest.approx(LR / 25)
    assert ours[-1] == pytest.approx(LR / 25e4)


@pytest.mark.parametrize("factor", [1, 2])
def test_cosine_restarts(optimiser, factor):
    plan = SchedulePlan("cosine_restarts", LR, total=80, period=10, period_factor=factor)
    ours = rates_of(plan, optimiser, 80)
    optimiser.param_groups[0]["lr"] = LR
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimiser, 10, T_mult=factor)
    assert ours == pytest.approx(rates_of_torch(optimiser, scheduler, 80))


def test_plateau_waits_reduces_and_stops_at_the_minimum(optimiser):
    plan = SchedulePlan("plateau", LR, total=99, patience=2, reduction=0.1, lr_min=1e-4)
    losses = [1.0, 0.9, 0.9, float("nan"), 0.95, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    ours = []
    rate = LearningRate(optimiser, plan)
    for loss in losses:
        rate.validated(loss)
        ours.append(optimiser.param_groups[0]["lr"])
    optimiser.param_groups[0]["lr"] = LR
    scheduler = lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=2, min_lr=1e-4)
    theirs = []
    for loss in losses:
        scheduler.step(loss)
        theirs.append(optimiser.param_groups[0]["lr"])
    assert ours == pytest.approx(theirs)
    assert ours[-1] == 1e-4


def test_plateau_improves_below_zero_too(optimiser):
    rate = LearningRate(optimiser, SchedulePlan("plateau", LR, total=9, patience=0))
    for loss in (-1.0, -2.0, -3.0):
        rate.validated(loss)
    assert rate.reduction == 1.0
    rate.validated(-3.0)
    assert rate.reduction == 0.5


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("kind", ["none", "cosine", "onecycle", "cosine_restarts", "plateau"])
def test_the_shortest_trainings_have_a_rate(kind, total):
    rate = course(SchedulePlan(kind, LR, total=total, warmup=1))
    assert all(0 <= rate(step) <= LR for step in range(total + 1))


def test_a_resumed_schedule_goes_on_with_the_same_rates(optimiser):
    plan = SchedulePlan("cosine", LR, total=30, warmup=5)
    whole = rates_of(plan, optimiser, 30)
    rate = LearningRate(optimiser, plan)
    for _ in range(13):
        rate.step()
    state = rate.state_dict()
    optimiser.param_groups[0]["lr"] = 99.0
    resumed = LearningRate(optimiser, plan)
    resumed.load_state_dict(state)
    rest = [resumed.value]
    for _ in range(16):
        resumed.step()
        rest.append(optimiser.param_groups[0]["lr"])
    assert rest == whole[13:]


def test_another_plan_is_refused(optimiser):
    state = LearningRate(optimiser, SchedulePlan("cosine", LR, total=30)).state_dict()
    longer = LearningRate(optimiser, SchedulePlan("cosine", LR, total=40))
    with pytest.raises(UsageError, match=r"total 30 there, 40 here.*checkpoint\.refresh_lr"):
        longer.load_state_dict(state)
    # Refreshed at step 10, it ends at the same step.
    refreshed = LearningRate(optimiser, SchedulePlan("cosine", LR, start=10, total=20))
    LearningRate(optimiser, SchedulePlan("cosine", LR, total=30)).load_state_dict(
        refreshed.state_dict()
    )


def config(**training):
    return RegressorConfig(
        data={"train_path": (), "val_path": ()}, tasks={"energy": {}}, training=training
    ).training


def test_plans_count_in_steps():
    plan = SchedulePlan.of(config(epochs=4, warmup_epochs=0.5, lr_scheduler="cosine"), 10)
    assert (plan.total, plan.warmup, plan.lr_min) == (40, 5, 1e-7)
    plan = SchedulePlan.of(config(lr_scheduler="onecycle", max_lr=0.1, pct_start=0.4), 10)
    assert (plan.lr, plan.rise) == (0.1, 0.4)
    plan = SchedulePlan.of(config(lr_scheduler="onecycle", lr=0.2), 10)
    assert plan.lr == 0.2
    options = config(lr_scheduler="cosine_restarts", lr_restart_period=3, lr_restart_mult=1)
    plan = SchedulePlan.of(options, 7, start=14)
    assert (plan.period, plan.period_factor, plan.start, plan.total) == (21, 1, 14, 126)
