"""Checkpoints: the research code's reproduced, what is wrong refused by name."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from xec_deploy.detector import get_layout
from xec_deploy.errors import BundleError
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.checkpoint import load_regressor, save_regressor
from xec_train.models import TASK_DIMENSIONS, ModelConfig, XECMultiHeadModel

RESEARCH = ("regressor_finegrid", "regressor_split")


def outputs(loaded, events):
    """Float64 outputs of a loaded checkpoint from raw values."""
    raw = (
        torch.from_numpy(events["npho"].astype(np.float64)),
        torch.from_numpy(events["time"].astype(np.float64)),
        torch.from_numpy(events["dead"]),
    )
    x = torch.stack(normalise_arrays(*raw, loaded.normalisation, torch), -1)
    with torch.no_grad():
        result = loaded.model.double()(x)
    return {task: value.numpy() for task, value in result.items()}


@pytest.fixture(scope="module")
def content(legacy):
    """A research checkpoint to spoil: ``content()`` is a fresh copy."""

    def content(name="regressor_finegrid"):
        return torch.load(legacy / f"{name}.pth", weights_only=True)

    return content


@pytest.fixture
def refused(tmp_path):
    def refused(content, *parts, **options):
        path = tmp_path / "spoiled.pth"
        torch.save(content, path)
        with pytest.raises(BundleError) as caught:
            load_regressor(path, **options)
        for part in (str(path), *parts):
            assert part in str(caught.value)

    return refused


@pytest.mark.parametrize("name", RESEARCH)
def test_research_outputs(legacy, name, record_property):
    events = np.load(legacy / f"{name}.npz")
    loaded = load_regressor(legacy / f"{name}.pth")
    result = outputs(loaded, events)
    expected = {key[4:]: events[key] for key in events.files if key.startswith("out_")}
    assert result.keys() == expected.keys() == set(loaded.model.config.active_tasks)
    for task, values in expected.items():
        deviation = np.abs(result[task] - values).max()
        record_property(f"{name} {task}", float(deviation))
        assert deviation < 1e-9 * max(1, np.abs(values).max())


def test_what_is_known_of_a_research_checkpoint(legacy):
    fine = load_regressor(legacy / "regressor_finegrid.pth")
    assert fine.layout == "research"
    assert fine.weights == "ema"
    assert fine.log_transform == ()
    assert fine.normalisation == Normalisation()
    assert "epoch" in fine.training
    assert len(fine.sha256) == 64
    assert not fine.model.training
    assert next(fine.model.parameters()).dtype == torch.float32
    assert set(fine.model.heads) == set(TASK_DIMENSIONS)
    split = load_regressor(legacy / "regressor_split.pth", log_transform=("energy",))
    assert split.weights == "model"
    assert split.log_transform == ("energy",)
    assert split.normalisation.npho_scale == 0.58
    assert split.model.config.nll_tasks == ("energy",)
    assert split.model.config.outputs_of("energy") == 2


def test_averaged_weights_are_preferred_and_differ(legacy):
    path = legacy / "regressor_finegrid.pth"
    averaged, plain = load_regressor(path), load_regressor(path, ema=False)
    assert plain.weights == "model"
    events = np.load(legacy / "regressor_finegrid.npz")
    left, right = outputs(averaged, events), outputs(plain, events)
    assert all(np.abs(left[task] - right[task]).max() > 1e-6 for task in left)


def test_best_averaged_weights(content, tmp_path):
    spoiled = content()
    spoiled["best_ema_state"], spoiled["ema_state_dict"] = spoiled["ema_state_dict"], None
    torch.save(spoiled, tmp_path / "best.pth")
    assert load_regressor(tmp_path / "best.pth").weights == "ema"


def test_prefix_of_distributed_training(content, legacy, tmp_path):
    plain = content("regressor_split")
    plain["model_state_dict"] = {
        f"module.{name}": tensor for name, tensor in plain["model_state_dict"].items()
    }
    torch.save(plain, tmp_path / "ddp.pth")
    events = np.load(legacy / "regressor_split.npz")
    result = outputs(load_regressor(tmp_path / "ddp.pth"), events)
    np.testing.assert_allclose(result["uvwFI"], events["out_uvwFI"], rtol=0, atol=1e-9)


def test_older_files_lack_keys(content, tmp_path):
    old = content("regressor_split")
    for key in ("ema_state_dict", "best_ema_state", "epoch", "mlflow_run_id"):
        del old[key]
    for key in ("npho_scheme", "npho_threshold", "hidden_dim", "dim_feedforward"):
        del old["config"][key]
    torch.save(old, tmp_path / "old.pth")
    loaded = load_regressor(tmp_path / "old.pth")
    assert loaded.normalisation.npho_scheme == "log1p"
    assert loaded.normalisation.npho_threshold == 100.0


NAME = "backbone.backbone.stage1.0.pwconv1.weight"


def test_missing_tensor(content, refused):
    spoiled = content()
    del spoiled["ema_state_dict"][f"module.{NAME}"]
    refused(spoiled, "Missing key", NAME)


def test_extra_tensor(content, refused):
    spoiled = content()
    spoiled["ema_state_dict"]["module.backbone.surprise"] = torch.zeros(3)
    refused(spoiled, "Unexpected key", "backbone.surprise")


def test_wrong_shape(content, refused):
    spoiled = content()
    spoiled["ema_state_dict"][f"module.{NAME}"] = torch.zeros(3, 3)
    refused(spoiled, "size mismatch", NAME)


def test_wrong_encoder_dim(content, refused):
    spoiled = content()
    spoiled["config"]["encoder_dim"] = 64
    refused(spoiled, "size mismatch", "encoder_dim")
    spoiled["config"]["encoder_dim"] = 100
    refused(spoiled, "'encoder_dim'", "multiple of 32")


@pytest.mark.parametrize("buffer", ["hex_edge_index", "top_hex_indices", "bottom_hex_indices"])
def test_wrong_index_map(content, refused, buffer):
    spoiled = content()
    spoiled["ema_state_dict"][f"module.backbone.{buffer}"][..., 0] += 1
    refused(spoiled, f"backbone.{buffer}", "not the index map of layout 'research'")


def test_layout_the_weights_do_not_belong_to(content, refused):
    refused(content(), "hex_edge_index", "layout 'physical'", layout="physical")


def test_unknown_layout(content, refused):
    spoiled = content()
    spoiled["config"]["layout"] = "fysical"
    refused(spoiled, "unknown layout 'fysical'", "Did you mean 'physical'")


def test_bad_config_value(content, refused):
    spoiled = content()
    spoiled["config"]["npho_scheme"] = "cbrt"
    refused(spoiled, "'npho_scheme'")


def test_active_task_without_a_head(content, refused):
    spoiled = content("regressor_split")
    state = spoiled["model_state_dict"]
    spoiled["model_state_dict"] = {k: v for k, v in state.items() if "heads.uvwFI" not in k}
    refused(spoiled, "'uvwFI' is active but its head has no weights")


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class Shell(Payload):
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("payload", [Payload, Shell])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_executed(content, tmp_path, payload, zipped):
    touched, path = tmp_path / "executed", tmp_path / "evil.pth"
    spoiled = content()
    spoiled["config"]["extra"] = payload(touched)
    torch.save(spoiled, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BundleError, match=r"evil\.pth: refused: .*execute code \(\S+\)"):
        load_regressor(path)
    assert not touched.exists()


def test_bare_pickle_is_refused_and_not_executed(tmp_path):
    touched, path = tmp_path / "executed", tmp_path / "evil.pth"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"config": Shell(touched)}, protocol=protocol))
        with pytest.raises(BundleError):
            load_regressor(path)
        assert not touched.exists()


@pytest.mark.parametrize(
    "bytes_",
    [
        b"",
        b"hello world, no checkpoint",
        b"sensor_id,face\n1,2\n",
        b"a: 1\n",
        b"root\x00\x00\xf7!" * 50,
        bytes(range(256)) * 20,
        b"PK\x03\x04" + bytes(100),
    ],
)
def test_not_a_checkpoint(tmp_path, bytes_):
    path = tmp_path / "file.pth"
    path.write_bytes(bytes_)
    with pytest.raises(BundleError, match=r"file\.pth: not a checkpoint written by torch\.save"):
        load_regressor(path)


def test_truncated_checkpoint(legacy, tmp_path):
    path = tmp_path / "half.pth"
    whole = (legacy / "regressor_split.pth").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="not a checkpoint"):
        load_regressor(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere\.pth: no such file"):
        load_regressor(tmp_path / "nowhere.pth")
    with pytest.raises(BundleError, match="cannot read the file"):
        load_regressor(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"config": {}}, {"model_state_dict": {}}])
def test_other_content(content, refused):
    refused(content, "not a checkpoint")
    refused({"config": {}, "model_state_dict": None}, "holds no weights")


def test_mae_is_no_regressor(legacy):
    with pytest.raises(BundleError, match="mae_finegrid"):
        load_regressor(legacy / "mae_finegrid.pth")


@pytest.mark.parametrize("layout", ["research", "physical"])
def test_save_and_load(tmp_path, layout):
    torch.manual_seed(1)
    normalisation = Normalisation(npho_scheme="sqrt", sentinel_time=-2.0)
    config = ModelConfig(
        encoder_dim=32,
        hex_channels=8,
        active_tasks=("energy",),
        heads=("energy",),
    )
    model = XECMultiHeadModel(config, get_layout(layout), normalisation)
    average = {name: tensor + 1 for name, tensor in model.state_dict().items() if "heads" in name}
    average = {**model.state_dict(), **average}
    path = tmp_path / "own.pth"
    for ema in (average, None):  # the second replaces the first
        save_regressor(
            path,
            model,
            normalisation=normalisation,
            ema_state=ema,
            log_transform=("energy",),
            training={"step": 12},
        )
        loaded = load_regressor(path)
        assert loaded.weights == ("ema" if ema else "model")
        assert loaded.model.config == config
        assert loaded.layout == layout
        assert loaded.normalisation == normalisation
        assert loaded.log_transform == ("energy",)
        assert loaded.training == {"step": 12}
        expected = ema or model.state_dict()
        for name, tensor in loaded.model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own.pth"]
    other = "physical" if layout == "research" else "research"
    with pytest.raises(BundleError, match=f"trained with layout '{layout}', not '{other}'"):
        load_regressor(path, layout=other)
    assert load_regressor(path, layout=layout, log_transform=()).log_transform == ()
