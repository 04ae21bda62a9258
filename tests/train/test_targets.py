"""Scales of the targets and the linear anchors."""

import numpy as np
import pytest
import torch

from xec_deploy.detector import get_layout
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import load_regressor
from xec_train.config import RegressorConfig, TaskConfig
from xec_train.data import RawBatch
from xec_train.models import ModelConfig, XECMultiHeadModel
from xec_train.regressor import RegressorModule
from xec_train.targets import fold_scales, measure_scales

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


def test_folded_model_emits_mean_plus_spread_times_output(scales):
    torch.manual_seed(3)
    config = ModelConfig(encoder_dim=32, hex_channels=8, active_tasks=TASKS, heads=TASKS)
    model, folded = (
        XECMultiHeadModel(config, get_layout("physical"), Normalisation()).double().eval()
        for _ in range(2)
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded.load_state_dict({**before, **fold_scales(model, scales)})
    x = torch.randn(3, 4760, 2, dtype=torch.float64)
    with torch.no_grad():
        plain, physical = model(x), folded(x)
    for task, scale in scales.items():
        expected = scale.mean.double() + scale.spread.double() * plain[task]
        torch.testing.assert_close(physical[task], expected, rtol=1e-12, atol=1e-12)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.fixture
def module(simulated, request):
    """A module to be trained, with random heads, and events for it."""
    torch.manual_seed(4)
    events = {name: torch.from_numpy(values[:150]) for name, values in simulated.items()}
    targets = {"energy": events["energyTruth"][:, None], "uvwFI": events["uvwTruth"]}
    batch = RawBatch(events["npho"], events["relative_time"], events["dead"], targets)
    config = RegressorConfig(
        data={"train_path": (), "val_path": ()},
        model={"encoder_dim": 32, "hex_channels": 8, "moments": request.param},
        tasks={"energy": {"loss_scale": [0.002]}, "uvwFI": {"loss_scale": "spread"}},
    )
    module = RegressorModule(config, measure_scales([batch], config.tasks), 10).eval()
    for model in (module.model, module.average):
        for task in TASKS:
            torch.nn.init.normal_(model.heads[task][-1].weight)
    return module, batch


@pytest.mark.parametrize("module", [False, True], indirect=True, ids=["plain", "moments"])
def test_saved_model_emits_what_the_trained_one_predicts(module, tmp_path):
    module, batch = module
    if module.config.model.moments:
        module.initialise_anchors([batch])
        for model in (module.model, module.average):
            torch.nn.init.normal_(model.heads["energy"][-1].weight)
    module.save(tmp_path / "saved.pth")
    few = batch.take(slice(8))
    x = module.config.normalization.apply(few.npho.numpy(), few.time.numpy(), few.dead.numpy())
    for ema, trained in ((True, module.average), (False, module.model)):
        loaded = load_regressor(tmp_path / "saved.pth", ema=ema)
        with torch.no_grad():
            expected, result = module.predict(trained, few), loaded.model(torch.from_numpy(x))
        for task in TASKS:
            torch.testing.assert_close(result[task], expected[task], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("module", [True], indirect=True, ids=["moments"])
def test_training_starts_from_the_linear_fit(module):
    module, batch = module
    module.initialise_anchors([batch.take(slice(70)), batch.take(slice(70, None))])
    x = module.config.normalization.apply(
        batch.npho.numpy(), batch.time.numpy(), batch.dead.numpy()
    )
    with torch.no_grad():
        moments = module.model.moments(torch.from_numpy(x)).double().numpy()
    design = np.column_stack([moments, np.ones(len(moments))])
    few = batch.take(slice(8))
    for task, target in batch.targets.items():
        fit = design @ np.linalg.lstsq(design, target.double().numpy(), rcond=None)[0]
        for model in (module.model, module.average):
            with torch.no_grad():
                prediction = module.predict(model, few)[task].numpy()
            spread = target.numpy().std()
            np.testing.assert_allclose(prediction, fit[:8], atol=2e-3 * spread)
