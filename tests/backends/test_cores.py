"""Granted cores are those of the affinity mask and of the control groups, whatever is less."""

import os

import pytest

from xec_deploy.backends.cores import cgroup_limit, granted_cores, processor_name


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_affinity_limits_the_cores():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert granted_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("files", "membership", "limit"),
    [
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        # A group is bound by those around it.
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 2),
        ({"job/cpu.max": "200000 100000\n"}, "0::/other\n", None),
        # Version 1, with one hierarchy a controller.
        (
            {"cpu/job/cpu.cfs_quota_us": "400000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            "3:cpu,cpuacct:/job\n2:memory:/job\n",
            4,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu:/\n", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_control_groups_limit_the_cores(tmp_path, files, membership, limit):
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    write(tmp_path / "membership", membership)
    assert cgroup_limit(tmp_path / "groups", tmp_path / "membership") == limit


def test_an_unreadable_system_has_no_limit(tmp_path):
    assert cgroup_limit(tmp_path / "absent", tmp_path / "absent") is None


def test_processor_has_a_name():
    assert processor_name() == processor_name().strip()
