"""Checkpoints of every kind: recognised, loaded strictly, written, and started from."""

import pytest
import torch

from xec_deploy.detector import get_layout
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import (
    encoder_state,
    initialise_encoder,
    load_checkpoint,
    load_encoder,
    load_inpainter,
    load_mae,
    load_regressor,
    save_encoder,
    save_inpainter,
    save_mae,
    save_regressor,
)
from xec_train.models import (
    EncoderConfig,
    InpainterModelConfig,
    MAEModelConfig,
    ModelConfig,
    XECEncoder,
    build_inpainter,
    build_mae,
    build_regressor,
)

NORMALISATION = Normalisation(npho_scheme="sqrt", npho_scale=20000.0, sentinel_time=-2.0)
PHYSICAL = get_layout("physical")
ENCODER = {
    "encoder_dim": 64,
    "hex_channels": 8,
    "num_fusion_layers": 1,
    "outer_fine_pool": (3, 3),
    "dim_feedforward": 48,
}
INPAINTERS = {
    "per_face": {
        "head_channels": 16,
        "hex_head_channels": 24,
        "predict_channels": ("npho", "time"),
    },
    "token only": {"use_local_context": False},
    "masked attention": {"use_masked_attention": True, "predict_channels": ("npho", "time")},
    "cross_attention": {
        "head_type": "cross_attention",
        "cross_attn_k": 9,
        "cross_attn_hidden": 24,
        "cross_attn_latent_dim": 20,
        "cross_attn_pos_dim": 30,
        "predict_channels": ("npho", "time"),
    },
}


def same_weights(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture(scope="module")
def mae():
    torch.manual_seed(3)
    return build_mae(MAEModelConfig(**ENCODER, decoder_dim=16), PHYSICAL, NORMALISATION)


@pytest.fixture
def mae_file(mae, tmp_path):
    save_mae(tmp_path / "mae.pth", mae, training={"step": 3})
    return tmp_path / "mae.pth"


def spoil(path, change):
    """Write the checkpoint again, changed."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("logvars", [False, True])
def test_autoencoder_saved_and_loaded(tmp_path, logvars):
    config = MAEModelConfig(**ENCODER, decoder_dim=16, learn_channel_logvars=logvars)
    model = build_mae(config, PHYSICAL, NORMALISATION)
    path = tmp_path / "mae.pth"
    save_mae(path, model, training={"step": 3})
    loaded = load_mae(path)
    assert loaded.model.config == config
    assert loaded.normalisation == NORMALISATION
    assert loaded.layout == "physical"
    assert loaded.training == {"step": 3}
    assert loaded.assumed == ()
    assert not loaded.model.training
    assert same_weights(loaded.model, model)


@pytest.mark.parametrize("name", INPAINTERS)
def test_inpainter_saved_and_loaded(tmp_path, name):
    config = InpainterModelConfig(**ENCODER, **INPAINTERS[name])
    model = build_inpainter(config, PHYSICAL, NORMALISATION)
    average = {
        key: value + 1 if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    path = tmp_path / "inpainter.pth"
    save_inpainter(path, model, ema_state=average)
    loaded, plain = load_inpainter(path), load_inpainter(path, ema=False)
    assert (loaded.weights, plain.weights) == ("ema", "model")
    assert loaded.model.config == config
    assert same_weights(plain.model, model)
    assert torch.equal(loaded.model.encoder.pos_embed, model.encoder.pos_embed + 1)


@pytest.mark.parametrize("name", INPAINTERS)
def test_what_the_config_lacks_is_seen_in_the_weights(tmp_path, name):
    config = InpainterModelConfig(**ENCODER, **INPAINTERS[name])
    path = tmp_path / "old.pth"
    save_inpainter(path, build_inpainter(config, PHYSICAL, NORMALISATION))
    spoil(path, lambda content: content.update(config={"layout": "physical"}))
    if name == "cross_attention":
        loaded = load_inpainter(path)
        assert loaded.model.config == config.model_copy(update={"outer_fine_pool": None})
        assert set(loaded.assumed) == {"outer_fine_pool", *Normalisation.model_fields}
    else:  # the regions of the outer tubes tell that no pooling is not it
        with pytest.raises(BundleError, match=r"gather_indices.*check.* outer_fine_pool"):
            load_inpainter(path)
    known = {"outer_fine_pool": [3, 3], **NORMALISATION.model_dump()}
    loaded = load_inpainter(path, config=known)
    assert loaded.model.config == config
    assert loaded.normalisation == NORMALISATION
    assert loaded.assumed == ()


def test_what_a_regressor_lacks_is_seen_in_the_weights(legacy, tmp_path):
    content = torch.load(legacy / "regressor_split.pth", weights_only=True)
    stated = content["config"]
    content["config"] = {"active_tasks": stated["active_tasks"], "npho_threshold": None}
    torch.save(content, tmp_path / "old.pth")
    loaded = load_regressor(tmp_path / "old.pth").model.config
    whole = load_regressor(legacy / "regressor_split.pth").model.config
    silent = {"drop_path_rate", "dim_feedforward"}  # the second with its value, not the rule
    assert loaded.model_dump(exclude=silent) == whole.model_dump(exclude=silent)


def test_given_values_must_not_contradict(mae_file):
    assert load_mae(mae_file, config={"outer_fine_pool": [3, 3]}).assumed == ()
    with pytest.raises(BundleError, match=r"mae\.pth: config key 'decoder_dim' is 16, not 8"):
        load_mae(mae_file, config={"decoder_dim": 8})
    with pytest.raises(UsageError, match=r"no config key 'decoder_dims'.*'decoder_dim'"):
        load_mae(mae_file, config={"decoder_dims": 8})


def test_wrong_kind(mae_file, legacy):
    with pytest.raises(
        BundleError,
        match=r"mae\.pth: not a regressor checkpoint: it holds a masked autoencoder",
    ):
        load_regressor(mae_file)
    with pytest.raises(BundleError, match="not an inpainter checkpoint"):
        load_inpainter(mae_file)
    with pytest.raises(BundleError, match=r"not a masked autoencoder checkpoint.* a regressor"):
        load_mae(legacy / "regressor_split.pth")
    spoil(mae_file, lambda content: content.update(kind="inpainter"))
    with pytest.raises(BundleError, match="says it is of kind 'inpainter' but holds a masked"):
        load_mae(mae_file)


@pytest.mark.parametrize("name", ["mae_finegrid", "inpainter_perface", "inpainter_crossattn"])
def test_loading_is_strict(legacy, tmp_path, name):
    content = torch.load(legacy / f"{name}.pth", weights_only=True)
    state, path = content["model_state_dict"], tmp_path / "spoiled.pth"
    victim = next(key for key in state if key.endswith("proj.weight") or "linear.weight" in key)
    for change, message in (
        (lambda s: s.pop(victim), "Missing key"),
        (lambda s: s.update(surprise=torch.zeros(2)), "Unexpected key"),
        (lambda s: s.update({victim: s[victim][:-1]}), "size mismatch"),
        (
            lambda s: s.update({"encoder.hex_edge_index": s["encoder.hex_edge_index"] + 1}),
            "hex_edge_index is not the index map of layout 'research'",
        ),
    ):
        spoiled = dict(state)
        change(spoiled)
        torch.save({**content, "model_state_dict": spoiled}, path)
        with pytest.raises(BundleError, match=message):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("inpainter_perface", "head_outer_sensor.gather_indices"),
        ("inpainter_crossattn", "cross_attn_head.knn_indices"),
    ],
)
def test_indices_may_differ_within_bounds(legacy, tmp_path, name, buffer):
    content = torch.load(legacy / f"{name}.pth", weights_only=True)
    path, indices = tmp_path / "other.pth", content["model_state_dict"][buffer]
    indices[7] = 3
    torch.save(content, path)
    assert (load_inpainter(path).model.get_buffer(buffer)[7] == 3).all()
    for wrong in (-1, 4760):
        indices[7] = wrong
        torch.save(content, path)
        with pytest.raises(BundleError, match=f"{buffer} holds indices outside 0 to"):
            load_inpainter(path)


def test_prefixes_of_wrapped_models(mae, mae_file):
    def wrap(content):
        state = content["model_state_dict"]
        content["model_state_dict"] = {f"module._orig_mod.{k}": v for k, v in state.items()}

    assert same_weights(load_mae(spoil(mae_file, wrap)).model, mae)


@pytest.mark.parametrize("prefix", ["", "encoder.", "module."])
def test_bare_encoder(mae, tmp_path, prefix):
    state = mae.encoder.state_dict()
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "bare.pth")
    with pytest.raises(BundleError, match="layout 'research'"):
        load_checkpoint(tmp_path / "bare.pth")
    loaded = load_checkpoint(tmp_path / "bare.pth", layout="physical")
    assert same_weights(loaded.model, mae.encoder)
    assert loaded.normalisation is None
    assert loaded.assumed == ("outer_fine_pool",)


def test_encoder_alone(mae, tmp_path):
    save_encoder(tmp_path / "encoder.pth", mae, training={"step": 5})
    loaded = load_checkpoint(tmp_path / "encoder.pth")
    assert type(loaded).__name__ == "EncoderCheckpoint"
    assert loaded.normalisation == NORMALISATION
    assert loaded.layout == "physical"
    assert same_weights(loaded.model, mae.encoder)


def test_encoder_of_every_kind(mae, mae_file, tmp_path):
    regressor = build_regressor(ModelConfig(**ENCODER), PHYSICAL, NORMALISATION)
    regressor.backbone.load_state_dict(mae.encoder.state_dict())
    save_regressor(tmp_path / "regressor.pth", regressor, normalisation=NORMALISATION)
    inpainter = build_inpainter(InpainterModelConfig(**ENCODER), PHYSICAL, NORMALISATION)
    inpainter.encoder.load_state_dict(mae.encoder.state_dict())
    save_inpainter(tmp_path / "inpainter.pth", inpainter)
    save_encoder(tmp_path / "encoder.pth", mae)
    for path in (mae_file, *(tmp_path / f"{n}.pth" for n in ("regressor", "inpainter", "encoder"))):
        assert same_weights(load_encoder(path).model, mae.encoder), path
        started = XECEncoder(EncoderConfig(**ENCODER), PHYSICAL, NORMALISATION.sentinel_time)
        started.load_state_dict(encoder_state(path, normalisation=NORMALISATION, layout="physical"))
        assert same_weights(started, mae.encoder)
        started = XECEncoder(EncoderConfig(**ENCODER), PHYSICAL, NORMALISATION.sentinel_time)
        initialise_encoder(started, path, normalisation=NORMALISATION)
        assert same_weights(started, mae.encoder)


def test_encoder_of_other_inputs_is_refused(mae, mae_file):
    other = NORMALISATION.model_copy(update={"npho_scale": 1000.0, "sentinel_time": -1.0})
    with pytest.raises(
        BundleError,
        match=r"mae\.pth: .*npho_scale 20000\.0 in the file, 1000\.0 here, sentinel_time -2\.0",
    ):
        encoder_state(mae_file, normalisation=other, layout="physical")
    # The second scale belongs to another scheme.
    unused = NORMALISATION.model_copy(update={"npho_scale2": 1.0})
    encoder_state(mae_file, normalisation=unused, layout="physical")
    state = encoder_state(
        mae_file, normalisation=other, layout="physical", ignore_normalisation=True
    )
    assert torch.equal(state["pos_embed"], mae.encoder.pos_embed)
    with pytest.raises(BundleError, match="trained with layout 'physical', not 'research'"):
        encoder_state(mae_file, normalisation=NORMALISATION, layout="research")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer_fine_pool": (2, 2)}, r"outer_fine_pool \(3, 3\), not \(2, 2\)"),
        ({"encoder_dim": 96}, "do not fit the encoder to train.*size mismatch"),
        ({"num_fusion_layers": 2}, "do not fit the encoder to train.*Missing key"),
    ],
)
def test_encoder_of_another_shape_is_refused(mae_file, change, message):
    config = EncoderConfig(**{**ENCODER, **change})
    encoder = XECEncoder(config, PHYSICAL, NORMALISATION.sentinel_time)
    with pytest.raises(BundleError, match=message):
        initialise_encoder(encoder, mae_file, normalisation=NORMALISATION)


def test_encoder_of_unknown_inputs_is_refused(mae, tmp_path):
    path = tmp_path / "bare.pth"
    torch.save(
        build_mae(mae.config, get_layout("research"), NORMALISATION).encoder.state_dict(), path
    )
    options = {"normalisation": NORMALISATION, "layout": "research"}
    with pytest.raises(BundleError, match="does not state how the encoder's input was normalised"):
        encoder_state(path, **options)
    assert encoder_state(path, **options, ignore_normalisation=True)


def test_no_model_at_all(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(BundleError, match=r"other\.pth: not a checkpoint of a known model"):
        load_checkpoint(path)
    torch.save({"encoder.pos_embed": torch.zeros(3), "decoder.weight": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match="not a checkpoint of a known model"):
        load_checkpoint(path)


def test_a_model_without_its_config(mae, tmp_path):
    path = tmp_path / "state.pth"
    torch.save(mae.state_dict(), path)
    with pytest.raises(BundleError, match="a masked autoencoder without its config"):
        load_mae(path, layout="physical")
    known = {"outer_fine_pool": [3, 3], **NORMALISATION.model_dump()}
    assert same_weights(load_mae(path, layout="physical", config=known).model, mae)
