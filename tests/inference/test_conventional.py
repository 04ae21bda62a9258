"""The conventional reconstruction beside the network's results."""

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from xec_deploy import cpp, infer
from xec_deploy.cli.infer import infer as infer_command
from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import open_events
from xec_deploy.inference.provenance import read_provenance
from xec_deploy.reconstruction import default_constants


@pytest.fixture(scope="module")
def batch(events_file):
    with open_events(events_file) as file:
        return next(file.batches(130))


def test_branches_are_those_of_the_library(bundle, events_file, batch, tmp_path, read):
    infer(bundle, events_file, tmp_path / "out.root", reco="conventional", batch=50, threads=1)
    rows = read(tmp_path / "out.root")
    expected = cpp.reconstruct(batch.npho, batch.time, batch.dead)
    np.testing.assert_array_equal(rows["energy_conv"], expected.energy.astype(np.float32))
    np.testing.assert_array_equal(rows["timing_conv"], expected.timing.astype(np.float32))
    for index, axis in enumerate("uvw"):
        for name, values in (
            (f"{axis}_conv", expected.uvw),
            (f"{axis}_fit", expected.fit.uvw),
            (f"{axis}_fit_error", expected.fit.uvw_error),
        ):
            np.testing.assert_array_equal(rows[name], values[:, index].astype(np.float32))
    for name in ("scale", "chi2_ndf", "n_sensors", "status"):
        values = getattr(expected.fit, name)
        np.testing.assert_array_equal(rows[f"fit_{name}"], values.astype(rows[f"fit_{name}"].dtype))
    assert np.isfinite(rows["theta_conv"]).all()
    infer(bundle, events_file, tmp_path / "plain.root", batch=50, threads=1)
    plain = read(tmp_path / "plain.root")
    assert set(rows) - set(plain) == {name for name in rows if "_conv" in name or "fit" in name}
    for name, values in plain.items():
        np.testing.assert_array_equal(rows[name], values)


def test_titles_have_units_and_the_meaning_of_the_status(bundle, events_file, tmp_path):
    infer(bundle, events_file, tmp_path / "out.root", reco="conventional")
    with uproot.open(tmp_path / "out.root") as file:
        titles = {branch.name: branch.title for branch in file["xec"].branches}
    assert titles["energy_conv"] == "energy_conv [GeV]: weighted sum of photons"
    assert titles["u_fit"].startswith("u_fit [cm]")
    assert "3 too few sensors" in titles["fit_status"]


def test_unreadable_events_have_a_status_and_no_values(bundle, reference_root, tmp_path, read):
    infer(bundle, reference_root / "no_events.root", tmp_path / "none.root", reco="conventional")
    assert len(read(tmp_path / "none.root")["energy_conv"]) == 0


def test_another_reconstruction_is_another_result(bundle, events_file, tmp_path):
    path = tmp_path / "out.root"
    constants = tmp_path / "constants.json"
    constants.write_text(
        default_constants().model_copy(update={"time_light": 0.0}).model_dump_json()
    )
    infer(bundle, events_file, path, reco="conventional")
    assert read_provenance(path)["conventional"]["geometry"]["source"] == "design"
    again = infer(bundle, events_file, path, reco="conventional", threads=2)
    assert again.files[0].outcome == "skipped"
    for other in ({}, {"reco": "conventional", "reco_constants": constants}):
        assert infer(bundle, events_file, path, **other).files[0].outcome == "failed"


def test_wrong_options(bundle, events_file, tmp_path):
    out = tmp_path / "out.root"
    with pytest.raises(UsageError, match="Did you mean 'conventional'"):
        infer(bundle, events_file, out, reco="conventionel")
    with pytest.raises(UsageError, match="--geometry has no use"):
        infer(bundle, events_file, out, geometry="table.csv")
    with pytest.raises(InputError, match=r"absent\.csv"):
        infer(bundle, events_file, out, reco="conventional", geometry="absent.csv")
    with pytest.raises(UsageError, match="--keep 'u_fit'"):
        infer(bundle, events_file, out, reco="conventional", keep=["u_fit"])


def test_command(bundle, events_file, tmp_path, read):
    arguments = [bundle.path, events_file, "-o", tmp_path / "out.root", "--reco", "conventional"]
    done = CliRunner().invoke(infer_command, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "w_conv" in read(tmp_path / "out.root")
