"""Options of the training commands: those of the research code, and what they do."""

import logging
import subprocess
import sys

import click
import pytest
import yaml
from click.testing import CliRunner

from xec_deploy.errors import ExitCode, UsageError
from xec_train.cli.command import TrainCommand, load
from xec_train.cli.main import cli
from xec_train.cli.train import inpainter, mae, regressor
from xec_train.config import RegressorConfig, load_config
from xec_train.config.places import key_paths
from xec_train.config.research import MOVED_TIME, UNUSED

# Exactly the options of that code's three programs, each with a value if it takes one.
RESEARCH = {
    regressor: """--train_path a.root --val_path b.root --tree tree --batch_size 8 --chunksize 100
    --num_workers 2 --num_threads 4 --prefetch_factor 3 --npho_scale 10 --npho_scale2 2
    --time_scale 1e-7 --time_shift -0.5 --sentinel_time -5 --npho_threshold 10 --npho_scheme sqrt
    --outer_mode finegrid --outer_fine_pool 3 3 --hidden_dim 128 --drop_path_rate 0.1 --epochs 3
    --lr 1e-3 --weight_decay 1e-3 --warmup_epochs 1 --ema_decay 0.9 --channel_dropout_rate 0.2
    --grad_clip 2 --grad_accum_steps 2 --compile none --tasks energy --loss_balance auto
    --resume_from last.pth --save_dir out --refresh_lr --reset_epoch --new_mlflow_run
    --mlflow_experiment e --run_name r --onnx model.onnx --profile""",
    mae: """--train_root a.root --val_root b.root --save_path out --epochs 3 --batch_size 8
    --chunksize 100 --num_workers 2 --num_threads 4 --prefetch_factor 3 --npho_branch npho
    --time_branch time --npho_scale 10 --npho_scale2 2 --time_scale 1e-7 --time_shift -0.5
    --sentinel_time -5 --outer_mode finegrid --outer_fine_pool 3 3 --mask_ratio 0.5
    --decoder_dim 64 --lr 1e-3 --lr_scheduler cosine --lr_min 1e-5 --warmup_epochs 1
    --weight_decay 1e-3 --loss_fn l1 --loss_beta 0.5 --npho_weight 2 --time_weight 3
    --auto_channel_weight --grad_clip 2 --grad_accum_steps 2 --ema_decay 0.9
    --time_mask_ratio_scale 2 --npho_threshold 10 --no_npho_time_weight --no_track_mae_rmse
    --no_track_metrics --profile --npho_scheme sqrt --npho_loss_weight_enabled
    --npho_loss_weight_alpha 0.3 --intensity_reweighting_enabled --intensity_reweighting_nbins 7
    --intensity_reweighting_target sqrt --compile none --mlflow_experiment e --mlflow_run_name r
    --resume_from last.pth --reset_epoch --refresh_lr --save_predictions""",
    inpainter: """--train_root a.root --val_root b.root --save_path out --epochs 3 --batch_size 8
    --chunksize 100 --num_workers 2 --num_threads 4 --prefetch_factor 3 --npho_branch npho
    --time_branch time --npho_scale 10 --npho_scale2 2 --time_scale 1e-7 --time_shift -0.5
    --sentinel_time -5 --outer_mode finegrid --outer_fine_pool 3 3 --mask_ratio 0.1 --lr 1e-3
    --lr_scheduler cosine --lr_min 1e-5 --warmup_epochs 1 --weight_decay 1e-3 --loss_fn l1
    --loss_beta 0.5 --npho_weight 2 --grad_clip 2 --grad_accum_steps 2 --ema_decay 0.9
    --time_mask_ratio_scale 2 --npho_threshold 10 --profile --npho_scheme sqrt
    --npho_loss_weight_enabled --npho_loss_weight_alpha 0.3 --intensity_reweighting_enabled
    --intensity_reweighting_nbins 7 --intensity_reweighting_target sqrt --compile none
    --mlflow_experiment e --mlflow_run_name r --resume_from last.pth --reset_epoch --refresh_lr
    --save_predictions --mae_checkpoint mae.pth --finetune_encoder --global_only
    --disable_mae_rmse_metrics --mask_npho_flat --save_interval 5
    --set model.predict_channels=[npho,time] --time_weight 3 --use_npho_time_weight""",
}
FILES = ["--train-path", "a.root", "--val-path", "b.root"]


def parse(command, arguments):
    """Configuration of a command line."""
    with (
        click.Context(cli, **cli.context_settings) as parent,
        command.make_context(command.name, list(arguments), parent=parent) as context,
    ):
        return load(context)


def names(command):
    return {flag.parameter: flag for flag in command.flags}


@pytest.mark.parametrize("command", RESEARCH, ids=lambda command: command.name)
def test_every_option_of_the_research_code(command):
    arguments = RESEARCH[command].split()
    config = parse(command, arguments)
    assert config == parse(
        command, [a.replace("_", "-") if a[:2] == "--" else a for a in arguments]
    )
    assert config.data.train_path == ("a.root",)
    assert config.data.val_path == ("b.root",)
    assert config.data.batch_size == 8
    assert config.normalization.npho_threshold == 10
    assert config.normalization.time_shift == -0.5
    assert config.model.outer_fine_pool == (3, 3)
    assert config.training.lr == 1e-3
    assert config.training.profile
    assert config.checkpoint.save_dir == "out"
    assert config.checkpoint.resume_from == "last.pth"
    assert config.checkpoint.reset_epoch
    assert config.mlflow.run_name == "r"
    assert config.directory.as_posix() == "out/r"


def test_options_of_one_model():
    config = parse(regressor, RESEARCH[regressor].split())
    assert config.active_tasks == ("energy",)
    assert config.loss_balance == "auto"
    assert config.export.bundle == "model.xec"
    config = parse(mae, RESEARCH[mae].split())
    assert config.training.auto_channel_weight
    assert not config.training.track_metrics
    assert not config.training.track_mae_rmse
    assert not config.training.time.use_npho_weight
    assert config.training.intensity_reweighting.nbins == 7
    config = parse(inpainter, RESEARCH[inpainter].split())
    assert not config.encoder_frozen
    assert not config.model.use_local_context
    assert not config.training.track_mae_rmse
    assert config.model.mask_npho_flat


@pytest.mark.parametrize("command", RESEARCH, ids=lambda command: command.name)
def test_every_option_stands_for_a_key(command):
    keys = {*key_paths(command.config_class()), *UNUSED, *MOVED_TIME, "export.onnx"}
    assert {flag.key for flag in command.flags} <= keys


def test_options_override_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: {train_path: x, val_path: y}\ntraining: {lr: 1e-3}\ntasks: {energy: {}}")
    config = parse(regressor, ["--config", str(path), "--lr", "0.5", "--set", "training.lr=0.1"])
    assert config.training.lr == 0.5
    assert config.data.train_path == ("x",)


def test_patterns_the_shell_has_expanded():
    many = ["--train-path", "a.root", "b.root", "c.root", "--val-path=d.root", "e.root"]
    config = parse(regressor, [*many, "--tasks", "uvwFI", "energy,timing", "--lr", "1"])
    assert config.data.train_path == ("a.root", "b.root", "c.root")
    assert config.data.val_path == ("d.root", "e.root")
    assert config.active_tasks == ("energy", "timing", "uvwFI")


def test_tasks_leave_the_settings_of_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: {train_path: x, val_path: y}\ntasks: {energy: {weight: 3}, angle: {}}")
    config = parse(regressor, ["--config", str(path), "--tasks", "energy"])
    assert config.active_tasks == ("energy",)
    assert config.tasks["energy"].weight == 3


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (regressor, ["--refresh-lr"], "--refresh-lr has no effect without --resume-from"),
        (regressor, ["--reset_epoch"], "--reset-epoch has no effect without --resume-from"),
        (regressor, ["--lr-min", "1e-5"], "--lr-min has no effect without --lr-scheduler"),
        (
            regressor,
            ["--outer-mode", "split", "--outer-fine-pool", "3", "3"],
            "--outer-fine-pool has no effect without --outer-mode finegrid",
        ),
        (regressor, ["--arch", "xec", "--encoder-dim", "64"], "without --arch research"),
        (mae, ["--npho-loss-weight-alpha", "1"], "without --npho-loss-weight-enabled"),
        (mae, ["--intensity-reweighting-nbins", "9"], "without --intensity-reweighting-enabled"),
        (inpainter, ["--freeze-encoder"], "without --mae-checkpoint"),
        (inpainter, ["--time-weight", "2"], "without --set model.predict_channels"),
        (
            inpainter,
            ["--head-type", "cross_attention", "--global-only"],
            "without --head-type per_face",
        ),
        (regressor, ["--tasks", "energi"], "--tasks: unknown key 'tasks.energi'. Did you mean"),
        (regressor, ["--lr", "-3"], "--lr: key 'training.lr' is -3.0 (number). Valid: a number"),
        (regressor, ["--config", "regresor_512"], "one of the recipes: compact"),
    ],
)
def test_options_that_make_no_sense(command, arguments, message):
    tasks = ["--tasks", "energy"] if command is regressor and "--tasks" not in arguments else []
    with pytest.raises(UsageError) as caught:
        parse(command, [*FILES, *tasks, *arguments])
    assert message in str(caught.value)
    assert caught.value.exit_code == ExitCode.UNUSABLE


def test_misspelt_option():
    with pytest.raises(click.NoSuchOption, match="--batch-sise"):
        parse(regressor, [*FILES, "--batch_sise", "3"])


@pytest.mark.parametrize("command", RESEARCH, ids=lambda command: command.name)
def test_help_has_an_example_and_describes_every_option(command):
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert f"Example: xec-train {command.name}" in result.output
    text = " ".join(result.output.split())
    for flag in command.flags:
        assert f"[{flag.key}]" in text


def test_print_config_loads_again(tmp_path):
    arguments = ["--config", "regressor_256", "--lr", "0.125", "--set", "mlflow.run_name='1e5'"]
    result = CliRunner().invoke(cli, ["regressor", *arguments, "--print-config"])
    assert result.exit_code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(result.stdout)
    config = load_config(RegressorConfig, path)
    assert config == parse(regressor, arguments)
    assert config.mlflow.run_name == "1e5"
    assert set(yaml.safe_load(result.stdout)) == set(RegressorConfig.model_fields)


def test_values_without_effect_are_named_in_one_line(caplog):
    from xec_train.config.effects import without_effect

    config = parse(
        regressor,
        [*FILES, "--tasks=energy", "--compile", "max-autotune", "--num-gpus", "4"],
    )
    idle = ", ".join(without_effect(config, gpu=False))
    assert "training.compile: max-autotune" in idle
    assert "distributed.num_gpus: 4" in idle
    assert without_effect(config, gpu=True) == []
    caplog.clear()
    parse(regressor, [*FILES, "--tasks=energy", "--num-threads", "3"])
    assert [r.levelno for r in caplog.records].count(logging.WARNING) == 1


def test_keys_of_another_architecture_are_named():
    from xec_train.config.effects import without_effect

    def idle(*settings):
        tasks = [*FILES, "--tasks=energy"]
        return without_effect(parse(regressor, [*tasks, *settings]), gpu=True)

    assert idle("--arch", "xec") == []
    assert idle("--arch", "xec", "--set", "model.encoder_dim=64") == [
        "model.encoder_dim (model.arch is xec)"
    ]
    assert idle("--set", "model.xec.width=64") == ["model.xec (model.arch is research)"]


def test_without_torch_help_works_and_training_names_the_extra():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from xec_train.cli.main import main\n"
        "main()"
    )

    def run(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = run("regressor", "--help")
    assert shown.returncode == 0
    assert "[training.lr]" in shown.stdout
    for arguments in (("regressor",), ("slurm", "regressor", "--partition", "gpu")):
        refused = run(*arguments, "--config", "compact")
        assert refused.returncode == ExitCode.UNUSABLE
        assert "pip install 'xec-deploy[train]'" in refused.stderr


def test_commands_listed_are_those_there_are():
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command.name == name
            assert not isinstance(command, TrainCommand) or callable(command.trainer_function())
