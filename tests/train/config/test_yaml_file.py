"""The YAML configuration: right files, and an answer for each way to get them wrong."""

import pytest

from xec_deploy.errors import UsageError
from xec_deploy.simulation import SimulationConfig
from xec_train.config import (
    DistillConfig,
    InpainterConfig,
    MaeConfig,
    RegressorConfig,
    build_config,
    find_config,
    load_config,
    recipes,
)
from xec_train.models import EncoderConfig

GOOD = """\
data: {train_path: [a.root], val_path: [b.root]}
model: {encoder_dim: 64}
tasks:
  energy: {weight: 2.0, loss_scale: [0.001]}
  angle: {enabled: false}
  uvwFI: {}
training: {lr: 1e-3}
"""
KINDS = {"mae": MaeConfig, "inpainter": InpainterConfig, "distill": DistillConfig}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "train.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def refused(write):
    def refused(text, *parts, overrides=()):
        path = write(text)
        with pytest.raises(UsageError) as caught:
            load_config(RegressorConfig, path, overrides)
        for part in parts:
            assert part in str(caught.value)
        assert path.read_text() == text

    return refused


def test_good_file_stays_untouched(write):
    path = write(GOOD)
    config = load_config(RegressorConfig, path, ["training.epochs=3"])
    assert config.data.train_path == ("a.root",)
    assert config.model.encoder_dim == 64
    assert config.training.lr == 1e-3
    assert config.training.epochs == 3
    assert config.active_tasks == ("energy", "uvwFI")
    assert config.tasks["energy"].loss_scale == (0.001,)
    assert config.layout == "research"
    assert path.read_text() == GOOD


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes(name, caplog):
    kind = KINDS.get(name.split("_", maxsplit=1)[0], RegressorConfig)
    config = load_config(kind, name)
    assert load_config(kind, recipes()[name]) == config
    assert config.network()
    assert "without effect" not in caplog.text


def test_there_is_a_recipe_for_every_model():
    assert {"compact", "mae", "inpainter_per_face", "inpainter_cross_attention"} < set(recipes())
    widths = [load_config(RegressorConfig, f"regressor_{n}").model.encoder_dim for n in (256, 512)]
    assert widths == [256, 512]


def test_mae_and_inpainter_recipes_fit_the_regressor_they_start():
    mae, regressor = load_config(MaeConfig, "mae"), load_config(RegressorConfig, "regressor_512")
    inpainter = load_config(InpainterConfig, "inpainter_per_face")
    assert mae.normalization == regressor.normalization == inpainter.normalization
    shared = EncoderConfig.model_fields
    assert all(
        getattr(mae.model, name) == getattr(other.model, name)
        for name in shared
        for other in (regressor, inpainter)
    )
    assert mae.layout == regressor.layout == inpainter.layout


def test_a_folder_does_not_hide_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mae").mkdir()
    assert find_config("mae") == recipes()["mae"]
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match=r"mine: cannot read the configuration \(a folder\)"):
        find_config("mine")


def test_a_file_comes_before_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compact.yaml").write_text(GOOD)
    assert load_config(RegressorConfig, "compact.yaml").data.train_path == ("a.root",)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.lr=0.01", 0.01),
        ("training.lr=1e-05", 1e-5),
        ("training.lr = 0.5", 0.5),
    ],
)
def test_overrides(write, override, value):
    assert load_config(RegressorConfig, write(GOOD), [override]).training.lr == value


def test_overrides_of_every_kind(write):
    config = load_config(
        RegressorConfig,
        write(GOOD),
        [
            "data.train_path=[x.root, y.root]",
            "model.outer_fine_pool=[2, 2]",
            "tasks.timing.weight=3",
            "model.layout=research",
            "normalization.npho_scheme=sqrt",
            "model.layout=physical",
        ],
    )
    assert config.data.train_path == ("x.root", "y.root")
    assert config.model.outer_fine_pool == (2, 2)
    assert config.active_tasks == ("energy", "timing", "uvwFI")
    assert config.normalization.npho_scheme == "sqrt"
    assert config.layout == "physical"  # the last one counts


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.lr", ("has no '='",)),
        ("training.lrr=1", ("unknown key 'training.lrr'", "Did you mean 'lr'")),
        ("trainig.lr=1", ("unknown key 'trainig'", "Did you mean 'training'")),
        ("training.lr.x=1", ("key 'lr' is 0.001 (number), not a section",)),
        ("training.lr=[1", ("not valid YAML",)),
        ("training.lr=fast", ("'training.lr'", "'fast'")),
        ("model.encoder_dim=100", ("'model.encoder_dim'", "multiple of 32")),
        ("tasks.energy.wieght=1", ("'tasks.energy.wieght'", "Did you mean 'weight'")),
        ("data.chunk_size=1", ("'data.chunk_size'", "Did you mean 'chunksize'")),
        ("tasks.energi.weight=1", ("unknown key 'tasks.energi'", "Did you mean 'energy'")),
        ("epochs=1", ("unknown key 'epochs'", "Did you mean 'training.epochs'")),
        ("training.loss_fn=l1", ("Did you mean 'tasks.angle.loss_fn'",)),
        ("model.active_tasks=[energy]", ("It follows from the section tasks",)),
        ("data.truth={energi: e}", ("unknown key 'data.truth.energi'", "Did you mean 'energy'")),
        ("..=1", ("names no key",)),
        ("training.lr=true", ("'training.lr' is True (true or false). Valid: a number above 0",)),
        ("training.lr=.nan", ("is nan (number). Valid: a number above 0, finite",)),
        ("training.lr='1e-4'", ("is '1e-4' (text). Valid: a number above 0, without quotes",)),
        ("training.epochs=2.5", ("is 2.5 (number). Valid: a whole number of at least 1",)),
        ("training.amp=1", ("is 1 (number). Valid: true or false",)),
        ("training.lr_scheduler=cosin", ("Valid: one of none, cosine, onecycle",)),
        ("mlflow.run_name=12", ("Valid: a text, or null, in quotes if it looks like a number",)),
        ("model.outer_fine_pool=[3]", ("two values, each a whole number of at least 1, or null",)),
        ("tasks.energy.loss_scale=wide", ("a list, each entry a number above 0 or spread",)),
        ("export=[1]", ("'export' is [1] (list). Valid: a section",)),
        ("normalization.npho_scale=-1", ("'normalization.npho_scale'", "Valid: a number above 0")),
        ("tasks.energy.loss_scale=[1, 2]", ("tasks.energy.loss_scale", "2 values, expected 1")),
    ],
)
def test_wrong_overrides(refused, override, parts):
    refused(GOOD, *parts, overrides=[override])


def test_unknown_key_in_the_file(refused):
    refused(GOOD + "epochs: 3\n", "train.yaml", "unknown key 'epochs'")


def test_missing_key(refused):
    text = GOOD.replace("val_path", "test_path")
    refused(text, "train.yaml", "data.")
    refused("tasks: {energy: {}}\n", "key 'data.train_path' is missing")


def test_no_task(refused):
    start = GOOD.split("tasks", maxsplit=1)[0]
    for tasks in ("{}", "{energy: {enabled: false}}"):
        refused(f"{start}tasks: {tasks}\n", "no task is enabled")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("data: [unclosed", "not valid YAML"),
        ("", "not a mapping"),
        ("- 1\n- 2\n", "not a mapping"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("training: {lr: 1, epochs: 2, lr: 3}", "key 'lr' is given twice at line 1"),
        ("data: !!set {a, b}", "data"),
        ("data: {dead: !!binary aGVsbG8=}", "a value that no key takes"),
        ("data: &x {dead: *x}", "a reference to itself"),
        ("[" * 3000, "nested too deeply"),
    ],
)
def test_bad_yaml(refused, text, part):
    refused(text, "train.yaml", part)


def test_several_mistakes_are_named_together(refused):
    text = GOOD.replace("lr: 1e-3", "lr: fast, epochs: 0, sead: 3")
    refused(text, "unknown key 'training.sead'", "'seed'", "training.epochs, training.lr")


def test_numbers_dates_and_null_sections(write):
    config = load_config(
        RegressorConfig,
        write(GOOD + "mlflow: {run_name: 2026-11-24}\nexport:\ncheckpoint: {save_dir: '1e5'}\n"),
        ["training.weight_decay=1e-05"],
    )
    assert config.mlflow.run_name == "2026-11-24"
    assert config.checkpoint.save_dir == "1e5"
    assert config.training.weight_decay == 1e-5
    assert config.export.bundle is None


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot read the configuration"):
        load_config(RegressorConfig, tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match="cannot read"):
        load_config(RegressorConfig, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="not a text file"):
        load_config(RegressorConfig, tmp_path / "binary.yaml")


def test_configuration_of_the_simulation():
    config = build_config(SimulationConfig, {}, ["energy_min=52.8", "energy_max=52.8"], "--set")
    assert config.energy_min == config.energy_max == 52.8
    with pytest.raises(UsageError, match=r"--set: energy_min is above energy_max"):
        build_config(SimulationConfig, {}, ["energy_min=70"], "--set")
