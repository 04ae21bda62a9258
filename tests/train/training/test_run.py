"""The fit: what is logged, saved and refused."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from xec_deploy.errors import CheckFailed, MissingExtra, UsageError
from xec_train.checkpoint import open_checkpoint

HERE = Path(__file__).parent


def rows_of(folder):
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_files_of_a_training(tiny, tmp_path):
    module = tiny.run(tiny.config(tmp_path, epochs=5, checkpoint={"save_interval": 2}))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "metrics.csv",
        "checkpoint_best.pth",
        "checkpoint_last.pth",
        "checkpoint_epoch_2.pth",
        "checkpoint_epoch_4.pth",
    }
    assert [tiny.open(tmp_path / f"checkpoint_epoch_{n}.pth")["epoch"] for n in (2, 4)] == [2, 4]
    last = tiny.open(tmp_path / "checkpoint_last.pth")
    assert (last["epoch"], last["global_step"]) == (5, 35)
    for name, tensor in module.average.module.state_dict().items():
        assert torch.equal(last["ema_state_dict"][f"module.{name}"], tensor)
    expected = {
        "model_state_dict",
        "ema_state_dict",
        "best_ema_state",
        "epoch",
        "optimizer_state_dict",
        "scaler_state_dict",
        "scheduler_state_dict",
        "best_val_loss",
        "mlflow_run_id",
        "config",
    }
    assert expected <= set(last)


def test_the_best_is_the_smallest_validation_loss(tiny, tmp_path):
    # The rate is so large that it gets worse in the end.
    tiny.run(tiny.config(tmp_path, epochs=12, lr=0.6, lr_scheduler="none", ema_decay=0.1))
    losses = [float(row["val_loss"]) for row in rows_of(tmp_path) if row["val_loss"]]
    best = open_checkpoint(tmp_path / "checkpoint_best.pth")
    assert best["best_val_loss"] == pytest.approx(min(losses), rel=1e-12)
    assert best["epoch"] == 1 + losses.index(min(losses))
    assert open_checkpoint(tmp_path / "checkpoint_last.pth")["best_val_loss"] == min(losses)


def test_metrics_say_how_fast_and_how_large(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path, grad_clip=0.1))
    rows = [row for row in rows_of(tmp_path) if row["train_loss"]]
    assert len(rows) == 3
    for row in rows:
        assert float(row["events_per_s"]) > 0
        assert 0 <= float(row["data_share"]) < 1
        assert float(row["grad_norm"]) > 0
        assert float(row["skipped_steps"]) == 0
        assert 0 < float(row["lr"]) <= 0.02


def test_validation_is_spread_evenly_over_the_epoch(tiny, tmp_path):
    tiny.run(tiny.config(tmp_path, epochs=2, val_every_steps=3), steps=8)
    steps = [int(row["step"]) + 1 for row in rows_of(tmp_path) if row["val_loss"]]
    # Three an epoch of eight, 2 2/3 steps apart at most.
    assert steps == [2, 4, 6, 8, 10, 12, 14, 16]


def test_accumulated_batches_are_one_step(tiny, tmp_path):
    one = tiny.run(tiny.config(tmp_path / "one", epochs=1), steps=6, dropout=0.0)
    config = tiny.config(tmp_path / "two", epochs=1, grad_accum_steps=2)
    two = tiny.run(config, steps=6, dropout=0.0)
    assert one.steps_per_epoch == 6
    assert two.steps_per_epoch == 3
    assert two.trainer.global_step == 3
    assert two.learning_rate.steps == 3
    assert two.average.n_averaged == 3


def test_a_loss_that_is_not_finite_is_skipped_and_counted(tiny, tmp_path):
    def spoil(batch, loss):
        return loss * float("nan") if batch == 4 else loss

    module = tiny.run(tiny.config(tmp_path), spoil=spoil)
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert [float(row["skipped_steps"]) for row in rows_of(tmp_path) if row["train_loss"]] == [
        1
    ] * 3


def test_a_training_that_diverges_is_given_up(tiny, tmp_path):
    with pytest.raises(CheckFailed, match="no finite gradient"):
        tiny.run(tiny.config(tmp_path, epochs=9), spoil=lambda _, loss: loss * float("nan"))


def test_bfloat16(tiny, tmp_path):
    module = tiny.run(tiny.config(tmp_path, precision="bf16-mixed"), dropout=0.0)
    assert module.losses[-1] < module.losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def test_without_averages_the_weights_themselves_are_validated(tiny, tmp_path):
    module = tiny.run(tiny.config(tmp_path, ema_decay=None))
    assert module.average is None
    assert module.evaluated is module.model
    assert open_checkpoint(tmp_path / "checkpoint_last.pth")["ema_state_dict"] is None


def test_a_gpu_that_is_not_there(tiny, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=r"training\.accelerator is 'gpu' and no GPU is visible"):
        tiny.run(tiny.config(tmp_path, accelerator="gpu"))


def test_loggers_that_are_not_installed(tiny, tmp_path):
    config = tiny.config(tmp_path)
    try:
        import mlflow  # noqa: F401
    except ModuleNotFoundError:
        asked = config.model_copy(
            update={"mlflow": config.mlflow.model_copy(update={"enabled": True})}
        )
        with pytest.raises(MissingExtra, match=r"mlflow\.enabled needs mlflow.*\[mlflow\]"):
            tiny.run(asked)
    else:
        pytest.skip("MLflow is installed")


def test_tensorboard(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    config = tiny.config(tmp_path, epochs=1)
    section = config.tensorboard.model_copy(update={"enabled": True})
    tiny.run(config.model_copy(update={"tensorboard": section}))
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own libraries
def test_mlflow_and_a_resumed_training_in_the_same_run(tiny, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (extra mlflow)")
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = tiny.config(tmp_path, epochs=1)
    section = config.mlflow.model_copy(update={"enabled": True, "tracking_uri": database})
    tiny.run(config.model_copy(update={"mlflow": section}))
    again = tiny.config(
        tmp_path,
        epochs=2,
        checkpoint={"resume_from": str(tmp_path / "checkpoint_last.pth"), "refresh_lr": True},
    )
    tiny.run(again.model_copy(update={"mlflow": section}))
    client = mlflow.MlflowClient(database)
    experiment = client.get_experiment_by_name(section.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    epochs = client.get_metric_history(run.info.run_id, "val_loss")
    assert len(epochs) == 2
    assert open_checkpoint(tmp_path / "checkpoint_last.pth")["mlflow_run_id"] == run.info.run_id


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from conftest import run_tiny, tiny_config
run_tiny(tiny_config({save_dir!r}, epochs=100000, val_every_steps=2, checkpoint={checkpoint}))
"""


@pytest.mark.slow
def test_a_killed_job_leaves_a_valid_last_checkpoint(tmp_path):
    last = tmp_path / "checkpoint_last.pth"
    resume = {}
    steps = [0]
    for delay in (0.0, 0.013, 0.038):
        code = KILLED.format(folder=str(HERE), save_dir=str(tmp_path), checkpoint=resume)
        before = last.stat().st_mtime_ns if last.exists() else 0
        job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while not last.exists() or last.stat().st_mtime_ns == before:
                assert job.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(delay)
        finally:
            job.send_signal(signal.SIGKILL)
            job.wait()
        content = open_checkpoint(last)
        assert content["global_step"] > steps[-1]
        steps.append(content["global_step"])
        resume = {"resume_from": str(last)}
