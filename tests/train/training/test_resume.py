"""An interrupted and resumed training is the uninterrupted one, bit for bit."""

import csv
import os
import shutil
import signal

import pytest
import torch

from xec_deploy.errors import BundleError, PartialFailure, UsageError
from xec_train.checkpoint import open_checkpoint

RUNS = {
    "epochs": {},
    "often": {"val_every_steps": 4, "lr_scheduler": "plateau", "lr_patience": 1},
    "accumulated": {"grad_accum_steps": 2, "lr_scheduler": "onecycle"},
    "no average": {"ema_decay": None, "lr_scheduler": "cosine_restarts", "lr_restart_period": 1},
}
NOT_COMPARED = ("events_per_s", "data_share")


def rows_of(folder):
    with (folder / "metrics.csv").open() as stream:
        return [
            {name: value for name, value in row.items() if name not in NOT_COMPARED}
            for row in csv.DictReader(stream)
        ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folders of trainings that ran through, with a copy of every last checkpoint."""
    from xec_train.training.checkpoints import Checkpoints

    folders = {}

    def run(name, tiny):
        if name not in folders:
            folder = tmp_path_factory.mktemp("whole")
            save = Checkpoints._save_last
            copies = []

            def save_and_copy(self, trainer, *first):
                save(self, trainer, *first)
                copy = tmp_path_factory.mktemp("copy")
                shutil.copytree(folder, copy, dirs_exist_ok=True)
                copies.append(copy)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Checkpoints, "_save_last", save_and_copy)
                tiny.run(tiny.config(folder, **RUNS[name]))
            folders[name] = (folder, copies)
        return folders[name]

    return run


def assert_equal(tiny, folder, other):
    mine, theirs = (tiny.open(f / "checkpoint_last.pth") for f in (folder, other))
    for unequal in ("training", "loops"):  # notes, and how Lightning counts a last epoch
        del mine[unequal], theirs[unequal]
    assert tiny.difference(mine, theirs) == []
    assert rows_of(folder) == rows_of(other)


@pytest.mark.parametrize("name", RUNS)
def test_from_every_checkpoint_a_killed_job_can_leave(uninterrupted, tiny, tmp_path, name):
    whole, copies = uninterrupted(name, tiny)
    assert len(copies) >= 3
    for number, copy in enumerate(copies):
        folder = tmp_path / str(number)
        shutil.copytree(copy, folder)
        resume = {"resume_from": str(folder / "checkpoint_last.pth")}
        tiny.run(tiny.config(folder, checkpoint=resume, **RUNS[name]))
        assert_equal(tiny, folder, whole)


@pytest.mark.parametrize(
    ("name", "stage", "at"),
    [
        ("epochs", "training", 1),
        ("epochs", "training", 7),
        ("epochs", "training", 8),
        ("epochs", "training", 12),
        ("epochs", "validation", 1),
        ("epochs", "validation", 3),
        ("epochs", "validation", 5),
        ("often", "training", 4),
        ("often", "validation", 4),
        ("often", "validation", 8),
        ("accumulated", "training", 3),
    ],
)
def test_after_a_signal_at_any_moment(uninterrupted, tiny, tmp_path, name, stage, at):
    whole, _ = uninterrupted(name, tiny)

    def interrupt(now, batch):
        if (now, batch) == (stage, at):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(PartialFailure, match=r"a signal stopped the training.*--resume_from"):
        tiny.run(tiny.config(tmp_path, **RUNS[name]), on_batch=interrupt)
    resume = {"resume_from": str(tmp_path / "checkpoint_last.pth")}
    tiny.run(tiny.config(tmp_path, checkpoint=resume, **RUNS[name]))
    assert_equal(tiny, tmp_path, whole)


def test_signal_handlers_are_put_back(tiny, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    tiny.run(tiny.config(tmp_path, epochs=1))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_reset_epoch_takes_nothing_but_weights(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path / "first", epochs=1))
    last = tmp_path / "first" / "checkpoint_last.pth"
    again = {"resume_from": str(last), "reset_epoch": True}
    tiny.run(tiny.config(tmp_path / "second", epochs=1, checkpoint=again))
    content = tiny.open(tmp_path / "second" / "checkpoint_last.pth")
    assert content["global_step"] == 7
    assert content["scheduler_state_dict"]["steps"] == 7
    assert content["epoch"] == 1


def test_refresh_lr_plans_the_rest_anew(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path, epochs=1))
    resume = {"resume_from": str(tmp_path / "checkpoint_last.pth"), "refresh_lr": True}
    options = {"epochs": 3, "lr": 0.005, "lr_scheduler": "onecycle", "warmup_epochs": 0}
    tiny.run(tiny.config(tmp_path, checkpoint=resume, **options))
    state = tiny.open(tmp_path / "checkpoint_last.pth")["scheduler_state_dict"]
    assert state["plan"]["kind"] == "onecycle"
    assert (state["plan"]["start"], state["plan"]["total"], state["steps"]) == (7, 14, 14)
    rates = [float(row["lr"]) for row in rows_of(tmp_path) if row.get("lr")]
    assert len(rates) == 3

    # What was refreshed goes on as it is when it is resumed without refreshing again.
    again = {"resume_from": str(tmp_path / "checkpoint_last.pth")}
    tiny.run(tiny.config(tmp_path, checkpoint=again, **options))


def test_another_plan_needs_refresh_lr(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path, epochs=1, lr_scheduler=None))
    resume = {"resume_from": str(tmp_path / "checkpoint_last.pth")}
    message = r"schedule differs from the checkpoint's: kind 'none' there, 'cosine' here.*refresh"
    with pytest.raises(UsageError, match=message):
        tiny.run(tiny.config(tmp_path, epochs=2, checkpoint=resume))
    resume["refresh_lr"] = True
    tiny.run(tiny.config(tmp_path, epochs=2, checkpoint=resume))


def test_another_seed_or_model_is_refused(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path, epochs=1))
    resume = {"resume_from": str(tmp_path / "checkpoint_last.pth")}
    with pytest.raises(BundleError, match=r"trained with training\.seed 1, not 2"):
        tiny.run(tiny.config(tmp_path, epochs=1, seed=2, checkpoint=resume))
    content = open_checkpoint(tmp_path / "checkpoint_last.pth")
    content["config"]["encoder_dim"] = 64
    torch.save(content, tmp_path / "other.pth")
    resume = {"resume_from": str(tmp_path / "other.pth")}
    with pytest.raises(BundleError, match="trained with encoder_dim 64, not 1024"):
        tiny.run(tiny.config(tmp_path, epochs=1, checkpoint=resume))


@pytest.mark.parametrize("best_is_there", [True, False])
def test_in_another_folder_there_is_a_best_checkpoint_too(tiny, tmp_path, best_is_there):
    first, second = tmp_path / "first", tmp_path / "second"
    tiny.run(tiny.config(first, epochs=2, lr_scheduler="none"))
    best = tiny.open(first / "checkpoint_best.pth")
    if not best_is_there:
        (first / "checkpoint_best.pth").unlink()
    resume = {"resume_from": str(first / "checkpoint_last.pth"), "refresh_lr": True}
    # At this rate nothing gets better any more.
    tiny.run(tiny.config(second, epochs=3, lr=5.0, lr_scheduler="none", checkpoint=resume))
    found = tiny.open(second / "checkpoint_best.pth")
    assert (found["epoch"] == best["epoch"]) == best_is_there
    assert (found["best_val_loss"] == best["best_val_loss"]) == best_is_there


def test_a_missing_checkpoint_is_an_error(tiny, tmp_path):
    resume = {"resume_from": str(tmp_path / "nowhere.pth")}
    with pytest.raises(BundleError, match=r"nowhere\.pth: no such file"):
        tiny.run(tiny.config(tmp_path / "run", checkpoint=resume))
    assert not (tmp_path / "run").exists()
