"""Students learn from teachers what the truth would have told them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xec_deploy.detector.layout import get_layout
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.export import export_bundle
from xec_deploy.normalisation import Normalisation
from xec_deploy.simulation.write import TRUTH_COLUMNS
from xec_train.checkpoint import load_regressor, open_checkpoint, save_regressor
from xec_train.config import DistillConfig, RegressorConfig
from xec_train.data import EventStream
from xec_train.distill import Teachers, train_distilled
from xec_train.distill.data import JoinedBatches, training_batches
from xec_train.distill.lesson import Lesson, mirror_lessons
from xec_train.models import ModelConfig, build_regressor
from xec_train.regressor import train_regressor

SQRT = {
    "npho_scheme": "sqrt",
    "npho_scale2": 1.0,
    "time_scale": 1e-8,
    "time_shift": 0.0,
    "sentinel_time": -2.0,
}
LOG = Normalisation(npho_scheme="log1p")
TASKS = {
    "energy": {"loss_scale": [0.02], "log_transform": True},
    "uvwFI": {"loss_scale": "spread"},
}
XEC = {"arch": "xec", "xec": {"width": 32, "head_width": 16, "fovea_rings": 4}}
RESEARCH = {
    "encoder_dim": 32,
    "hex_channels": 8,
    "num_fusion_layers": 1,
    "hidden_dim": 32,
}


def content(train, validation, folder, *, tasks=TASKS):
    return {
        "data": {"train_path": train, "val_path": [validation], "batch_size": 32, "num_workers": 0},
        "normalization": SQRT,
        "model": XEC,
        "tasks": tasks,
        "training": {
            "epochs": 1,
            "lr": 1e-3,
            "ema_decay": 0.8,
            "warmup_epochs": 0.1,
            "accelerator": "cpu",
            "mirror": True,
            "view_fit": {"epochs": 2, "copies": 2, "batch_size": 64},
        },
        "checkpoint": {"save_dir": str(folder), "save_artifacts": False},
    }


@pytest.fixture(scope="module")
def teacher(files, validation_file, tmp_path_factory):
    """A regressor of the project's architecture, with variances of the position."""
    folder = tmp_path_factory.mktemp("teacher")
    tasks = {**TASKS, "uvwFI": {"loss_fn": "gaussian_nll", "loss_scale": "spread", "loss_beta": 1}}
    config = RegressorConfig.model_validate(content(files, validation_file, folder, tasks=tasks))
    return train_regressor(config)


@pytest.fixture(scope="module")
def research_teacher(tmp_path_factory):
    """A regressor of the research architecture, with another normalisation; not trained."""
    path = tmp_path_factory.mktemp("research") / "teacher.pth"
    torch.manual_seed(3)
    tasks = tuple(TASKS)
    config = ModelConfig(**RESEARCH, outer_fine_pool=(3, 3), active_tasks=tasks, heads=tasks)
    model = build_regressor(config, get_layout("research"), LOG)
    save_regressor(path, model, normalisation=LOG, log_transform=("energy",))
    return path


@pytest.fixture(scope="module")
def unlabelled(write_events, tmp_path_factory):
    """A file as of the experiment: no truth."""
    path = tmp_path_factory.mktemp("data") / "run.root"
    truth = [name for name in TRUTH_COLUMNS if name != "dead"]
    return write_events(path, slice(0, 300), **dict.fromkeys(truth))


@pytest.fixture
def configured(unlabelled, tmp_path):
    def configured(teachers, *, tasks=TASKS, distillation=None, **training):
        given = content([unlabelled], unlabelled, tmp_path / "student", tasks=tasks)
        given["training"] |= training
        given["distillation"] = {"teachers": [str(t) for t in teachers], **(distillation or {})}
        return DistillConfig.model_validate(given)

    return configured


def events_of(config, tasks=()):
    return next(iter(EventStream(config.data.train_path, config.data, tasks, shuffle=False)))


def test_a_student_agrees_with_its_teacher_though_it_saw_no_truth(configured, teacher, simulated):
    config = configured([teacher])
    best = train_distilled(config)
    student, taught = load_regressor(best), load_regressor(teacher)
    rows = slice(300, 400)
    raw = [simulated[name][rows] for name in ("npho", "relative_time", "dead")]
    with torch.no_grad():
        inputs = torch.from_numpy(student.normalisation.apply(*raw))
        mine, theirs = student.model(inputs), taught.model(inputs)
    assert mine["uvwFI"].shape == (100, 3)
    assert student.log_transform == ("energy",)
    for task, truth in (
        ("energy", np.log(simulated["energyTruth"][rows])[:, None]),
        ("uvwFI", simulated["uvwTruth"][rows]),
    ):
        components = truth.shape[1]
        apart = (mine[task] - theirs[task][:, :components]).numpy()
        assert np.abs(apart).mean() < 0.5 * np.abs(truth - truth.mean(axis=0)).mean()


def test_the_result_says_who_taught_it_and_exports(configured, teacher, tmp_path):
    best = train_distilled(configured([teacher], view_fit={"epochs": 0}))
    recorded = load_regressor(best).training["teachers"]
    sha256 = load_regressor(teacher).sha256
    assert [entry["sha256"] for entry in recorded] == [sha256]
    assert recorded[0]["arch"] == "xec"
    bundle = export_bundle(best, tmp_path / "student.xec")
    assert bundle.manifest.training["teachers"][0]["sha256"] == sha256
    names = set(open_checkpoint(best)["model_state_dict"])
    assert names == set(load_regressor(best).model.state_dict())


def test_teachers_of_different_kinds_are_averaged(configured, teacher, research_teacher):
    config = configured([teacher, research_teacher])
    batch = events_of(config)
    each = []
    for path in (teacher, research_teacher):
        loaded = load_regressor(path)
        x = loaded.normalisation.apply(*(t.numpy() for t in (batch.npho, batch.time, batch.dead)))
        with torch.no_grad():
            each.append(loaded.model(torch.from_numpy(x)))
    lessons = Teachers.of_config(config).teach(batch).targets
    energy = Lesson.unpack("energy", lessons["energy"])
    torch.testing.assert_close(energy.mean, (each[0]["energy"].exp() + each[1]["energy"].exp()) / 2)
    assert energy.log_variance.isnan().all()
    assert not energy.has_truth.any()
    position = Lesson.unpack("uvwFI", lessons["uvwFI"]).mean
    torch.testing.assert_close(position, (each[0]["uvwFI"][:, :3] + each[1]["uvwFI"]) / 2)
    assert train_distilled(config).is_file()


def test_a_mixture_of_gaussians_is_wider_where_its_teachers_disagree(configured, teacher):
    tasks = {"uvwFI": {"loss_fn": "gaussian_nll", "loss_scale": "spread"}}
    config = configured([teacher], tasks=tasks)
    single = Teachers.of_config(config)
    checkpoint = load_regressor(teacher)
    other = load_regressor(teacher)
    with torch.no_grad():
        other.model.anchors["uvwFI"].bias[:3] += 2.0
    both = Teachers({"one": checkpoint, "other": other}, config.active_tasks)
    batch = events_of(config)
    alone = Lesson.unpack("uvwFI", single.teach(batch).targets["uvwFI"])
    mixed = Lesson.unpack("uvwFI", both.teach(batch).targets["uvwFI"])
    torch.testing.assert_close(mixed.mean, alone.mean + 1.0, atol=1e-4, rtol=1e-4)
    variance = alone.log_variance.exp() + 1.0
    torch.testing.assert_close(mixed.log_variance.exp(), variance, atol=1e-3, rtol=1e-3)


def test_a_student_learns_variances(configured, teacher):
    tasks = {"uvwFI": {"loss_fn": "gaussian_nll", "loss_scale": "spread"}}
    best = train_distilled(configured([teacher], tasks=tasks))
    batch = events_of(configured([teacher], tasks=tasks))
    found = []
    for path in (best, teacher):
        loaded = load_regressor(path)
        x = loaded.normalisation.apply(*(t.numpy() for t in (batch.npho, batch.time, batch.dead)))
        with torch.no_grad():
            found.append(loaded.model(torch.from_numpy(x))["uvwFI"][:, 3:].mean(dim=0))
    torch.testing.assert_close(found[0], found[1], atol=0.5, rtol=0)


def test_variances_that_a_teacher_lacks_cannot_be_learned(configured, research_teacher):
    tasks = {"uvwFI": {"loss_fn": "gaussian_nll"}}
    with pytest.raises(UsageError, match="says nothing of variances"):
        Teachers.of_config(configured([research_teacher], tasks=tasks))


def test_a_task_the_teacher_does_not_know(configured, teacher):
    with pytest.raises(UsageError, match="does not know timing"):
        train_distilled(configured([teacher], tasks={**TASKS, "timing": {}}))


def test_the_mirror_image_of_an_answer(configured):
    batch = events_of(configured(["teacher.pth"]))
    lesson = Lesson(*torch.randn(3, len(batch), 3))
    batch = replace(batch, targets={"uvwFI": lesson.packed()})
    mirrored = mirror_lessons(batch, torch.full((len(batch),), 1))
    before, after = (Lesson.unpack("uvwFI", b.targets["uvwFI"]) for b in (batch, mirrored))
    sign = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(after.mean, before.mean * sign)
    torch.testing.assert_close(after.truth, before.truth * sign)
    torch.testing.assert_close(after.log_variance, before.log_variance)
    torch.testing.assert_close(
        mirror_lessons(mirrored, torch.full((len(batch),), 1)).npho, batch.npho
    )


def test_truth_is_used_where_there_is_some(configured, teacher, files):
    labelled = {"label_weight": 0.5, "labelled_path": files, "labelled_share": 0.25}
    config = configured([teacher], distillation=labelled)
    batches = training_batches(config)
    assert isinstance(batches, JoinedBatches)
    first = next(iter(batches))
    assert len(first) == 32
    known = first.targets["energy"].isfinite().all(dim=1)
    assert known.sum() == 8
    assert ((first.targets["energy"][known] > 0.01) & (first.targets["energy"][known] < 0.06)).all()
    assert train_distilled(config).is_file()


def test_joined_batches_continue_where_they_were(configured, files):
    labelled = {"label_weight": 0.5, "labelled_path": files[2:], "labelled_share": 0.5}
    config = configured(["teacher.pth"], distillation=labelled)
    batches = training_batches(config)
    whole = [[batch.event for batch in batches] for _ in range(2)]
    again = training_batches(config)
    again.load_state_dict({**again.state_dict(), "epoch": 1, "batches": 4})
    rest = [batch.event for batch in again]
    assert len(rest) == len(whole[1]) - 4 > 0
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[1][4:], strict=True))


def test_a_student_is_continued_only_with_its_teachers(configured, teacher, research_teacher):
    config = configured([teacher], view_fit={"epochs": 0}, epochs=2)
    train_distilled(config)
    last = config.directory / "checkpoint_last.pth"
    fresh = {"resume_from": str(last), "refresh_lr": True}
    checkpoint = config.checkpoint.model_copy(update=fresh)
    training = config.training.model_copy(update={"epochs": 3})
    longer = config.model_copy(update={"checkpoint": checkpoint, "training": training})
    train_distilled(longer)
    assert open_checkpoint(last)["epoch"] == 3
    other = config.distillation.model_copy(update={"teachers": (str(research_teacher),)})
    with pytest.raises(BundleError, match="other teachers"):
        train_distilled(longer.model_copy(update={"distillation": other}))


@pytest.mark.parametrize(
    ("distillation", "message"),
    [
        ({"labelled_path": ["x.root"]}, "not used without"),
        ({"labelled_path": ["x.root"], "label_weight": 1.0, "labelled_share": 0.01}, "0 events"),
    ],
)
def test_contradictions_are_named(configured, distillation, message):
    with pytest.raises(ValueError, match=message):
        configured(["teacher.pth"], distillation=distillation)
