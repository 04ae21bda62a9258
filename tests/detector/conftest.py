"""The surveyed sensor table, read independently of the package."""

import numpy as np
import pytest

from xec_deploy.detector import read_sensor_table


@pytest.fixture(scope="session")
def table_path(reference):
    return reference / "sensor_table.csv"


@pytest.fixture(scope="session")
def table(table_path):
    """The table as a structured array, one field per column."""
    return np.genfromtxt(table_path, delimiter=",", names=True)


@pytest.fixture(scope="session")
def surveyed(table_path):
    return read_sensor_table(table_path)
