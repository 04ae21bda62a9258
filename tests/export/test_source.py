"""What is refused on the way from a checkpoint to a bundle, and what must be said."""

import os
import pickle

import pytest
import torch

from xec_deploy.detector.layout import get_layout
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.export import export_bundle
from xec_deploy.export.golden import golden_events
from xec_deploy.export.graph import DeployedInpainter
from xec_deploy.export.source import open_source
from xec_deploy.normalisation import Normalisation
from xec_train.models import InpainterModelConfig, build_inpainter


class Malicious:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def changed(reference, tmp_path):
    """Write a copy of a reference checkpoint with changed content."""

    def change(name, edit):
        content = torch.load(reference / "legacy" / f"{name}.pth", weights_only=True)
        edit(content)
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        return path

    return change


@pytest.mark.parametrize("plain_pickle", [True, False])
def test_a_file_that_would_execute_code_is_refused_and_does_not(tmp_path, plain_pickle):
    trace, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"model_state_dict": {}, "config": Malicious(trace)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    message = (
        "not a checkpoint" if plain_pickle else "refused: opening .* would execute code .*system"
    )
    with pytest.raises(BundleError, match=rf"evil\.pth.*{message}"):
        export_bundle(path, tmp_path / "a.xec")
    assert not trace.exists()
    assert not (tmp_path / "a.xec").exists()


@pytest.mark.parametrize("name", ["mae_finegrid", "inpainter_perface", "regressor_split"])
def test_missing_and_extra_tensors_are_named(changed, tmp_path, name):
    victim = {
        "mae_finegrid": "encoder.backbone.stem.0.bias",
        "inpainter_perface": "head_inner.pred_head.2.bias",
        "regressor_split": "heads.energy.6.bias",
    }[name]
    path = changed(name, lambda content: content["model_state_dict"].pop(victim))
    with pytest.raises(BundleError, match=f"Missing key.*{victim.rsplit('encoder.', 1)[-1]}"):
        export_bundle(path, tmp_path / "a.xec")

    def add(content):
        content["model_state_dict"][f"{victim}2"] = torch.zeros(1)

    with pytest.raises(BundleError, match=f"Unexpected key.*{victim}2"):
        export_bundle(changed(name, add), tmp_path / "a.xec")


def test_what_the_config_does_not_state_must_be_said(changed, tmp_path):
    path = changed("regressor_finegrid", lambda c: [c["config"].pop(k) for k in MISSING])
    with pytest.raises(UsageError) as caught:
        export_bundle(path, tmp_path / "a.xec")
    for key, value in MISSING.items():
        assert f"--set {key}={value}" in str(caught.value)
    said = {"outer_fine_pool": [3, 3], "npho_scheme": "log1p", "npho_threshold": 100.0}
    with pytest.raises(UsageError, match="'npho_scale2'"):
        open_source(path, None, said)
    loaded = open_source(path, None, {**said, "npho_scale2": 4.08})
    assert loaded.architecture.outer_fine_pool == (3, 3)
    with pytest.raises(BundleError, match="'encoder_dim' is 128, not 64"):
        open_source(path, None, {**said, "encoder_dim": 64})


MISSING = {
    "outer_fine_pool": "null",
    "npho_scheme": "log1p",
    "npho_scale2": "4.08",
    "npho_threshold": "100.0",
}


def test_scales_that_a_scheme_does_not_use_need_not_be_said(changed):
    path = changed("inpainter_perface", lambda c: c["config"].pop("npho_scale2"))
    assert open_source(path, None, None).normalisation.npho_scheme == "sqrt"


def test_a_bare_encoder_must_be_told_its_normalisation(reference, tmp_path):
    content = torch.load(reference / "legacy" / "mae_finegrid.pth", weights_only=True)
    state = content["model_state_dict"]
    encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    path = tmp_path / "encoder.pth"
    torch.save({f"module.{name}": tensor for name, tensor in encoder.items()}, path)
    with pytest.raises(UsageError, match=r"does not state .*--set outer_fine_pool=null"):
        export_bundle(path, tmp_path / "a.xec")
    stated = {k: v for k, v in content["config"].items() if k in Normalisation.model_fields}
    loaded = open_source(path, None, {"outer_fine_pool": [3, 3], **stated})
    assert loaded.normalisation == Normalisation()


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"log_transform": ("energy",)}, "--log-transform"),
        ({"io": "legacy"}, "--io legacy"),
        ({"parts": True}, "--parts"),
        ({"inpainter": "any.pth"}, "--inpainter"),
    ],
)
def test_options_of_regressors_are_refused_for_others(reference, tmp_path, options, option):
    path = reference / "legacy" / "mae_finegrid.pth"
    with pytest.raises(UsageError, match=f"{option} is for regressors"):
        export_bundle(path, tmp_path / "a.xec", **options)


def test_only_an_inpainter_can_be_put_ahead(reference, tmp_path):
    folder = reference / "legacy"
    with pytest.raises(BundleError, match=r"mae_finegrid\.pth: not an inpainter checkpoint"):
        export_bundle(
            folder / "regressor_split.pth",
            tmp_path / "a.xec",
            inpainter=folder / "mae_finegrid.pth",
        )
    with pytest.raises(UsageError, match="normalised events has neither"):
        export_bundle(
            folder / "regressor_split.pth",
            tmp_path / "a.xec",
            inpainter=folder / "inpainter_perface.pth",
            io="legacy",
        )


@pytest.mark.parametrize("channels", [("npho",), ("npho", "time")])
@pytest.mark.parametrize("mode", ["finegrid", "split"])
def test_filled_channels_have_a_time_only_if_it_was_predicted(channels, mode):
    normalisation = Normalisation(npho_scheme="linear", npho_scale=100.0)
    config = InpainterModelConfig(
        encoder_dim=32,
        hex_channels=8,
        num_fusion_layers=1,
        dim_feedforward=8,
        head_channels=8,
        hex_head_channels=8,
        outer_mode=mode,
        predict_channels=channels,
    )
    torch.manual_seed(0)
    model = build_inpainter(config, get_layout("research"), normalisation).eval()
    filler = DeployedInpainter(model, normalisation)
    events = golden_events()
    # A bright channel with a time that is none of an event's: it must not pass for one.
    npho, time, dead = (
        torch.from_numpy(part[:4]) for part in (events.npho, events.time, events.dead)
    )
    dead[2, 4742] = True  # of the dense centre, which heads per face do not predict in split mode
    time = torch.where(dead, torch.tensor(3e-9), time)
    with torch.inference_mode():
        filled, seconds, left = filler(npho, time, dead)
    unusable = dead | ~torch.isfinite(npho) | (npho > 9e9)
    predicted = model.predicted.expand_as(unusable)
    assert torch.equal(left, unusable & ~predicted)
    assert bool(left.any()) == (mode == "split")
    replaced = unusable & predicted
    assert torch.isfinite(filled[replaced]).all()
    for new, old in ((filled, npho), (seconds, time)):
        kept = ~replaced
        assert torch.equal(new[kept].view(torch.int32), old[kept].view(torch.int32))
    if "time" in channels:
        assert (seconds[replaced].abs() < 1e-5).all()
    else:
        assert (seconds[replaced] > 9e9).all()
