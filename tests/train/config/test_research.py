"""Configurations of the research code: accepted as they are, with the meaning they had."""

import logging

import pytest

from xec_deploy.errors import UsageError
from xec_train.config import InpainterConfig, MaeConfig, RegressorConfig, load_config

# As in production: every section and key of that code's schema.
REGRESSOR = """\
data:
  train_path: /data/project/meg/E15to60_AngUni_PosSQ/train_max
  val_path: /data/project/meg/E15to60_AngUni_PosSQ/val2
  tree_name: tree
  batch_size: 1024
  chunksize: 131072
  num_workers: 2
  num_threads: 16
  prefetch_factor: 16
  npho_branch: npho
  time_branch: relative_time
  log_invalid_npho: false
  fiducial:
    enabled: true
    u_max: 23.9
    v_max: 67.9
    w_min: 0.0
    w_max: null
normalization:
  npho_scale: 20000
  npho_scale2: 1.0
  time_scale: 1.14e-7
  time_shift: -0.46
  sentinel_time: -5.0
  sentinel_npho: -1.0
  npho_scheme: sqrt
  npho_threshold: 10
model:
  outer_mode: finegrid
  outer_fine_pool: [2, 2]
  hidden_dim: 256
  drop_path_rate: 0.0
  encoder_dim: 1024
  dim_feedforward: null
  num_fusion_layers: 2
tasks:
  angle: {enabled: false, loss_fn: cosine, loss_beta: 1.0, weight: 1.0, log_transform: false}
  energy: {enabled: true, loss_fn: smooth_l1, loss_beta: 0.002, weight: 1.0, log_transform: false}
  timing: {enabled: true, loss_fn: gaussian_nll, loss_beta: 0.5, weight: 1.0}
  uvwFI: {enabled: false, loss_fn: smooth_l1, loss_beta: 1.0, weight: 1.0, log_transform: false}
training:
  epochs: 40
  lr: 3e-4
  weight_decay: 1e-4
  warmup_epochs: 5
  lr_scheduler: cosine
  max_lr: null
  pct_start: 0.3
  lr_patience: 5
  lr_factor: 0.5
  lr_min: 1e-7
  lr_restart_period: 10
  lr_restart_mult: 2
  amp: true
  ema_decay: 0.999
  channel_dropout_rate: 0.1
  grad_clip: 1.0
  grad_accum_steps: 1
  profile: false
  compile: max-autotune
  compile_fullgraph: false
loss_balance: manual
reweighting:
  angle: {enabled: false, nbins_2d: [20, 20]}
  energy: {enabled: true, nbins: 30}
  timing: {enabled: false}
  uvwFI: {enabled: false}
checkpoint:
  resume_from: null
  save_dir: artifacts
  save_interval: 10
  save_artifacts: true
  refresh_lr: false
  reset_epoch: false
  new_mlflow_run: false
distributed:
  num_gpus: 4
mlflow:
  experiment: gamma_energy
  run_name: scan_step7_fulldata
export:
  onnx: meg2ang_convnextv2.onnx
"""

MAE = """\
data:
  train_path: train
  val_path: val
  batch_size: 1024
  chunksize: 131072
  num_workers: 2
  num_threads: 8
  prefetch_factor: 2
  npho_branch: npho
  time_branch: relative_time
  log_invalid_npho: true
normalization: {npho_scale: 1000, npho_scale2: 4.08, npho_scheme: log1p, npho_threshold: 7}
model:
  outer_mode: finegrid
  outer_fine_pool: [2, 2]
  mask_ratio: 0.65
  predict_channels: [npho, time]
  decoder_dim: 128
training:
  epochs: 20
  lr: 1.0e-4
  lr_scheduler: none
  lr_min: 1e-6
  warmup_epochs: 0
  weight_decay: 1.0e-4
  loss_fn: smooth_l1
  loss_beta: 1.0
  npho_weight: 1.0
  time:
    weight: 2
    mask_ratio_scale: 1.0
    use_npho_weight: true
    npho_threshold: 50
  auto_channel_weight: true
  grad_clip: 1.0
  grad_accum_steps: 1
  ema_decay: null
  amp: true
  compile: reduce-overhead
  compile_fullgraph: false
  track_mae_rmse: false
  track_metrics: true
  profile: false
  npho_loss_weight: {enabled: true, alpha: 0.5}
  intensity_reweighting: {enabled: false, nbins: 5, target: uniform}
checkpoint:
  resume_from: null
  save_dir: artifacts
  save_interval: 10
  save_predictions: true
  root_save_interval: 10
  reset_epoch: false
  refresh_lr: false
  new_mlflow_run: false
distributed: {num_gpus: 1}
mlflow: {experiment: mae_pretraining, run_name: null}
"""

INPAINTER = """\
data: {train_path: train, val_path: val}
normalization: {npho_scheme: sqrt}
model:
  mask_ratio: {inner: 0.1, us: 0.05, ds: 0.05, outer: 0.05, top: 0.05, bot: 0.05}
  mask_npho_flat: true
  predict_channels: [npho]
  freeze_encoder: false
  use_local_context: true
  use_masked_attention: true
  head_type: cross_attention
  sensor_positions_file: lib/sensor_positions.txt
  cross_attn_k: 16
  cross_attn_hidden: 64
  cross_attn_latent_dim: 128
  cross_attn_pos_dim: 96
training:
  mae_checkpoint: null
  epochs: 50
  time_weight: 3.0
  time_mask_ratio_scale: 2.0
  use_npho_time_weight: false
  npho_threshold: null
export:
"""


@pytest.fixture
def read(tmp_path):
    def read(kind, text, *overrides):
        path = tmp_path / "research.yaml"
        path.write_text(text)
        config = load_config(kind, path, overrides)
        assert path.read_text() == text
        return config

    return read


def test_regressor(read, caplog):
    config = read(RegressorConfig, REGRESSOR)
    assert config.data.train_path == ("/data/project/meg/E15to60_AngUni_PosSQ/train_max",)
    assert config.data.fiducial.enabled
    assert config.normalization.npho_scale == 20000.0
    assert config.normalization.sentinel_time == -5.0
    assert config.training.lr == 3e-4
    assert config.training.compile == "max-autotune"
    assert config.active_tasks == ("energy", "timing")
    assert config.nll_tasks == ("timing",)
    assert config.tasks["energy"].loss_scale is None
    assert config.network().heads == ("energy", "timing")
    assert config.network().nll_tasks == ("timing",)
    assert config.layout == "research"
    assert config.reweighting["energy"].enabled
    assert config.directory.as_posix() == "artifacts/scan_step7_fulldata"
    assert config.export.bundle == "meg2ang_convnextv2.xec"
    assert config.distributed.devices_on(gpu=True) == 4
    assert config.distributed.devices_on(gpu=False) == 1
    assert config.training.precision_on(gpu=True) == "bf16-mixed"
    assert config.training.precision_on(gpu=False) == "32-true"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "data.num_threads" in warnings[0]
    assert "data.log_invalid_npho" in warnings[0]


def test_missing_keys_take_defaults_and_that_is_said(read, caplog):
    caplog.set_level(logging.INFO, "xec_train")
    config = read(RegressorConfig, "data: {train_path: a, val_path: b}\ntasks: {energy: {}}\n")
    assert config.data.batch_size == 256
    assert config.training.lr_scheduler == "none"
    assert "keys take their defaults" in caplog.text


def test_mae(read, caplog):
    config = read(MaeConfig, MAE)
    assert config.training.time.weight == 2.0
    assert config.training.npho_loss_weight.enabled
    assert config.training.ema_decay is None
    assert config.training.warmup_epochs == 0
    assert config.network().learn_channel_logvars
    # The threshold of the times is that of the training, as it was there.
    assert config.normalization.npho_threshold == 50
    assert "data.num_threads" in caplog.text


def test_inpainter_with_flat_options_of_times(read, caplog):
    config = read(InpainterConfig, INPAINTER)
    assert config.training.time.weight == 3.0
    assert config.training.time.mask_ratio_scale == 2.0
    assert not config.training.time.use_npho_weight
    assert config.normalization.npho_threshold == 100
    assert config.model.mask_ratio["inner"] == 0.1
    assert config.model.sensor_positions_file == "lib/sensor_positions.txt"
    assert not config.encoder_frozen
    assert config.network().head_type == "cross_attention"
    assert "model.use_masked_attention (head_type is cross_attention)" in caplog.text


def test_an_encoder_is_frozen_where_it_was_trained_before(read):
    text = INPAINTER.replace("  freeze_encoder: false\n", "")
    assert not read(InpainterConfig, text).encoder_frozen
    assert read(InpainterConfig, text, "training.mae_checkpoint=mae.pth").encoder_frozen


@pytest.mark.parametrize("word", ["none", "null", "None", "~", "false"])
def test_no_schedule_and_no_compilation_in_any_word(read, word):
    text = REGRESSOR.replace("lr_scheduler: cosine", f"lr_scheduler: {word.lower()}")
    text = text.replace("compile: max-autotune", f"compile: {word.lower()}")
    training = read(RegressorConfig, text).training
    assert training.lr_scheduler == training.compile == "none"


def test_overrides_replace_values_in_either_spelling(read):
    text = REGRESSOR.replace("train_path", "train_root").replace("save_dir", "save_path")
    config = read(RegressorConfig, text, "data.train_root=[x, y]", "checkpoint.save_dir=z")
    assert config.data.train_path == ("x", "y")
    assert config.checkpoint.save_dir == "z"
    for key in ("normalization.npho_threshold", "training.time.npho_threshold"):
        assert read(MaeConfig, MAE, f"{key}=3").normalization.npho_threshold == 3


def test_two_spellings_that_differ(read):
    with pytest.raises(UsageError, match=r"'data.val_root' and 'data.val_path' are the same key"):
        read(MaeConfig, MAE.replace("  val_path: val\n", "  val_path: val\n  val_root: other\n"))


def test_losses_that_cannot_be(read):
    text = REGRESSOR.replace("loss_fn: gaussian_nll", "loss_fn: cosine")
    with pytest.raises(UsageError, match=r"tasks\.timing\.loss_fn: cosine is for angle"):
        read(RegressorConfig, text)
    with pytest.raises(UsageError, match=r"tasks\.uvwFI\.log_transform is for energy and timing"):
        read(
            RegressorConfig,
            REGRESSOR,
            "tasks.uvwFI.enabled=true",
            "tasks.uvwFI.log_transform=true",
        )
