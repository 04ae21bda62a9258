"""Scales of the targets and the linear anchors."""

import numpy as np
import pytest
import torch
from lightning import Trainer

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import load_regressor
from xec_train.config import RegressorConfig, TaskConfig
from xec_train.data import RawBatch
from xec_train.models import ModelConfig, XECMultiHeadModel
from xec_train.models.xec import N_MOMENTS
from xec_train.regressor import RegressorModule
from xec_train.regressor.targets import (
    fold_scales,
    learned_target,
    measure_scales,
    scale_heads,
    unfold_scales,
    use_scales,
)

TASKS = ("energy", "uvwFI")


def batches_of(targets, size=7):
    count = len(next(iter(targets.values())))
    nothing = torch.zeros(count, 1)
    whole = RawBatch(nothing, nothing, nothing.bool(), targets)
    return [whole.take(slice(start, start + size)) for start in range(0, count, size)]


@pytest.fixture
def targets():
    rng = np.random.default_rng(1)
    return {
        "energy": torch.from_numpy(rng.uniform(0.015, 0.06, (40, 1)).astype(np.float32)),
        "uvwFI": torch.from_numpy(rng.normal([0, 5, 10], [10, 30, 4], (40, 3)).astype("f4")),
    }


@pytest.fixture
def scales(targets):
    return measure_scales(
        batches_of(targets), {task: TaskConfig(loss_scale="spread") for task in TASKS}
    )


def test_measured_scales(targets, scales):
    for task, target in targets.items():
        values = target.numpy().astype(np.float64)
        np.testing.assert_allclose(scales[task].mean, values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(scales[task].spread, values.std(0), rtol=1e-6)
        np.testing.assert_array_equal(scales[task].loss, scales[task].spread)
        assert scales[task].mean.dtype == torch.float32


def test_stated_loss_scales(targets):
    tasks = {
        "energy": TaskConfig(loss_scale=(0.002,)),
        "uvwFI": TaskConfig(loss_scale=(1.0, 2.0, 3.0)),
    }
    scales = measure_scales(batches_of(targets), tasks)
    np.testing.assert_allclose(scales["energy"].loss, [0.002])
    np.testing.assert_allclose(scales["uvwFI"].loss, [1, 2, 3])
    tasks["uvwFI"] = TaskConfig(loss_scale=(0.5,))
    np.testing.assert_allclose(measure_scales(batches_of(targets), tasks)["uvwFI"].loss, [0.5] * 3)


def test_a_line_or_a_single_event_has_a_spread():
    line = {"energy": torch.full((10, 1), 0.0528)}
    for targets in (line, {"energy": line["energy"][:1]}):
        scale = measure_scales(batches_of(targets), {"energy": TaskConfig(loss_scale="spread")})[
            "energy"
        ]
        assert scale.spread.item() == pytest.approx(1e-6)
        assert scale.mean.item() == pytest.approx(0.0528)


def test_the_logarithm_is_learned_where_asked_for(targets):
    tasks = {"energy": TaskConfig(log_transform=True, loss_scale="spread"), "uvwFI": TaskConfig()}
    scales = measure_scales(batches_of(targets), tasks)
    logarithms = np.log(targets["energy"].numpy().astype(np.float64))
    np.testing.assert_allclose(scales["energy"].mean, logarithms.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scales["energy"].loss, logarithms.std(0), rtol=1e-5)
    assert torch.equal(learned_target(targets["uvwFI"], tasks["uvwFI"]), targets["uvwFI"])
    assert not scales["uvwFI"].stated
    np.testing.assert_array_equal(scales["uvwFI"].loss, np.ones(3))


def test_automatic_balance_measures_by_the_spread(targets):
    tasks = {task: TaskConfig() for task in TASKS}
    for task, scale in measure_scales(batches_of(targets), tasks, automatic=True).items():
        np.testing.assert_array_equal(scale.loss, scale.spread)
        assert scale.loss.min() != 1.0, task


@pytest.mark.parametrize("anchored", [False, True])
def test_scaled_heads_emit_offset_plus_unit_times_output(scales, anchored):
    torch.manual_seed(3)
    config = ModelConfig(
        encoder_dim=32, hex_channels=8, active_tasks=TASKS, heads=TASKS, nll_tasks=("uvwFI",)
    )
    plain, scaled, folded = (
        XECMultiHeadModel(config, get_layout("physical"), Normalisation()).double().eval()
        for _ in range(3)
    )
    scale_heads(scaled)
    scaled.double()
    use_scales(scaled, scales, anchored=anchored)
    weights = {**scaled.state_dict(), **plain.state_dict()}
    scaled.load_state_dict(weights)
    state = fold_scales(scaled)
    folded.load_state_dict(state)
    x = torch.randn(3, 4760, 2, dtype=torch.float64)
    with torch.no_grad():
        learned, trained, physical = plain(x), scaled(x), folded(x)
    for task, scale in scales.items():
        n = len(scale.mean)
        offset = 0.0 if anchored else scale.mean
        expected = offset + scale.spread * learned[task][:, :n].float()
        torch.testing.assert_close(trained[task][:, :n], expected.double(), check_dtype=False)
        torch.testing.assert_close(
            physical[task], trained[task], check_dtype=False, rtol=1e-6, atol=1e-6
        )
    sigma = (0.5 * (trained["uvwFI"][:, 3:] - learned["uvwFI"][:, 3:])).exp()
    torch.testing.assert_close(
        sigma, scales["uvwFI"].spread.double().expand(3, 3), check_dtype=False
    )
    for name, tensor in unfold_scales(scaled, state).items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-5, atol=1e-6)


RESEARCH = {"encoder_dim": 32, "hex_channels": 8}
XEC = {"arch": "xec", "xec": {"width": 32, "head_width": 16, "fovea_rings": 3}}


@pytest.fixture
def module(simulated, request):
    """A module ready to be trained, and the events it was prepared on."""
    torch.manual_seed(4)
    events = {name: torch.from_numpy(values[:400]) for name, values in simulated.items()}
    targets = {"energy": events["energyTruth"][:, None], "uvwFI": events["uvwTruth"]}
    batch = RawBatch(events["npho"], events["relative_time"], events["dead"], targets)
    config = RegressorConfig(
        data={"train_path": (), "val_path": ()},
        model=request.param,
        training={"channel_dropout_rate": 0.0},
        tasks={"energy": {"loss_scale": [0.002]}, "uvwFI": {"loss_scale": "spread"}},
    )
    parts = [batch.take(slice(70)), batch.take(slice(70, None))]
    module = RegressorModule(config, lambda _: parts).eval()
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.prepare()
    return module, batch


@pytest.mark.parametrize("module", [RESEARCH, XEC], indirect=True, ids=["research", "xec"])
def test_saved_model_emits_what_the_trained_one_predicts(module, tmp_path):
    module, batch = module
    for model in (module.model, module.average.module):
        torch.nn.init.normal_(model.heads["energy"][-1].weight)
    torch.save(module.deployable(), tmp_path / "saved.pth")
    few = batch.take(slice(8))
    x = module.config.normalization.apply(few.npho.numpy(), few.time.numpy(), few.dead.numpy())
    for ema, trained in ((True, module.average.module), (False, module.model)):
        loaded = load_regressor(tmp_path / "saved.pth", ema=ema)
        with torch.no_grad():
            expected, result = trained(module.normalise(few)), loaded.model(torch.from_numpy(x))
        for task in TASKS:
            torch.testing.assert_close(result[task], expected[task], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("module", [XEC], indirect=True, ids=["xec"])
def test_training_starts_from_the_linear_fit(module):
    module, batch = module
    encoder = module.model.backbone
    with torch.no_grad():
        moments = encoder.standardise(encoder.view(module.normalise(batch)))[:, :N_MOMENTS]
    design = np.column_stack([moments.double().numpy(), np.ones(len(moments))])
    for task, target in batch.targets.items():
        values = target.double().numpy()
        fit = design @ np.linalg.lstsq(design, values, rcond=None)[0]
        for model in (module.model, module.average.module):
            with torch.no_grad():
                prediction = model(module.normalise(batch))[task].numpy()
            # Not least squares itself: the ridge that events left out ask for.
            error, best = (np.std(p - values, axis=0) for p in (prediction, fit))
            assert (error > 0.99 * best).all()
            assert (error < 1.4 * best).all()
