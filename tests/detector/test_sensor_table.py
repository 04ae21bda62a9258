"""A user's table of surveyed positions: exact where it is right, clear where it is wrong."""

import numpy as np
import pytest

from xec_deploy.detector import design_geometry, load_geometry, read_sensor_table
from xec_deploy.errors import ExitCode, InputError


@pytest.fixture(scope="session")
def lines():
    """A right table made from the design, as lines; the header is line 1."""
    design = design_geometry()
    rows = ["sensor_id,face,x,y,z,nx,ny,nz"]
    rows += [
        ",".join([str(i), str(design.face[i])] + [repr(float(v)) for v in values])
        for i, values in enumerate(np.hstack([design.position, design.normal]))
    ]
    return tuple(rows)


@pytest.fixture
def write(tmp_path):
    def write(rows, encoding="utf-8", newline="\n"):
        path = tmp_path / "table.csv"
        path.write_bytes((newline.join(rows) + newline).encode(encoding))
        return path

    return write


@pytest.fixture
def refused(write):
    def refused(rows, *parts):
        path = write(rows)
        with pytest.raises(InputError) as caught:
            read_sensor_table(path)
        message = str(caught.value)
        for part in (str(path), *parts):
            assert part in message
        assert caught.value.exit_code is ExitCode.UNUSABLE

    return refused


def edited(lines, line, column, text):
    """Replace one value; ``line`` as an editor counts."""
    rows = list(lines)
    values = rows[line - 1].split(",")
    values[lines[0].split(",").index(column)] = text
    rows[line - 1] = ",".join(values)
    return rows


def test_surveyed_positions_are_exact(table, surveyed, table_path):
    position = np.stack([table["x"], table["y"], table["z"]], axis=-1)
    normal = np.stack([table["nx"], table["ny"], table["nz"]], axis=-1)
    np.testing.assert_array_equal(surveyed.position, position)
    np.testing.assert_array_equal(surveyed.face, table["face"])
    # The table has six digits; the normals are brought to unit length.
    np.testing.assert_allclose(surveyed.normal, normal, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(surveyed.normal, axis=1), 1, rtol=1e-12)
    assert surveyed.source == str(table_path)
    # Surveyed positions differ from the design by up to 1 cm: it is not the design by mistake.
    distance = np.linalg.norm(surveyed.position - design_geometry().position, axis=1)
    assert 0.1 < distance.max() < 1.5


def test_round_trip_of_the_design(lines, write):
    read = read_sensor_table(write(lines))
    np.testing.assert_array_equal(read.position, design_geometry().position)
    np.testing.assert_allclose(read.normal, design_geometry().normal, atol=1e-15)


def test_rows_in_any_order(table_path, surveyed, write):
    rows = table_path.read_text().splitlines()
    shuffled = [rows[0], *np.random.default_rng(1).permutation(rows[1:])]
    assert read_sensor_table(write(shuffled)).sha256 == surveyed.sha256


def test_columns_in_any_order(table_path, surveyed, write):
    rows = [row.split(",") for row in table_path.read_text().splitlines()]
    reversed_columns = [",".join(row[::-1]) for row in rows]
    assert read_sensor_table(write(reversed_columns)).sha256 == surveyed.sha256


@pytest.mark.parametrize(
    "options", [{"encoding": "utf-8-sig"}, {"newline": "\r\n"}], ids=["byte order mark", "CRLF"]
)
def test_files_of_spreadsheets(lines, write, options):
    read = read_sensor_table(write(lines, **options))
    np.testing.assert_array_equal(read.position, design_geometry().position)


def test_spaces_and_blank_lines(lines, write):
    rows = [line.replace(",", ", ") for line in lines]
    rows.insert(100, "")
    read = read_sensor_table(write(rows))
    np.testing.assert_array_equal(read.position, design_geometry().position)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot read the sensor table"):
        load_geometry(tmp_path / "nowhere.csv")


def test_folder(tmp_path):
    with pytest.raises(InputError, match="cannot read the sensor table"):
        load_geometry(tmp_path)


def test_binary_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\x80\xff\x00" * 100)
    with pytest.raises(InputError, match="not a text file"):
        read_sensor_table(path)


def test_empty_file(refused):
    refused([], "no column 'sensor_id'")


def test_missing_column(lines, refused):
    rows = [lines[0].replace("nz", "n_z"), *lines[1:]]
    refused(rows, "no column 'nz'", "Did you mean 'n_z'?")


@pytest.mark.parametrize("text", ["abc", "", "nan", "inf", "1,5"])
def test_value_that_is_no_number(lines, refused, text):
    refused(edited(lines, 42, "y", f'"{text}"'), "line 42", "column 'y'", repr(text))


def test_short_row(lines, refused):
    rows = list(lines)
    rows[99] = rows[99].rsplit(",", 1)[0]
    refused(rows, "line 100", "column 'nz'", "missing")


def test_line_numbers_count_blank_lines(lines, refused):
    rows = edited(lines, 42, "x", "abc")
    rows.insert(10, "")
    refused(rows, "line 43")


def test_missing_sensor(lines, refused):
    rows = [*lines[:1235], *lines[1236:]]
    refused(rows, "sensor 1234 is missing", "4759 rows")


def test_repeated_sensor(lines, refused):
    refused([*lines, lines[18]], "sensor 17 occurs more than once")
    refused(edited(lines, 18, "sensor_id", "3"), "sensor 3 occurs more than once")


@pytest.mark.parametrize("number", ["4760", "-1", "16.5"])
def test_sensor_that_does_not_exist(lines, refused, number):
    refused(edited(lines, 18, "sensor_id", number), f"sensor id {number} does not exist")


@pytest.mark.parametrize("number", ["1", "6", "-1", "0.5"])
def test_wrong_face(lines, refused, number):
    refused(edited(lines, 18, "face", number), f"sensor 16 is on face {number}, expected 0")


def test_normal_of_wrong_length(lines, refused):
    refused(edited(lines, 18, "nx", "2.0"), "normal of sensor 16", "not 1")


def test_only_a_header(lines, refused):
    refused(lines[:1], "0 rows", "sensor 0 is missing")
