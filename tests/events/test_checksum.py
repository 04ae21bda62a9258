import pytest

from xec_deploy.errors import InputError
from xec_deploy.events import file_checksum


def test_follows_the_content(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 9_000_000)
    first = file_checksum(path)
    assert first.startswith("xxh3_128:")
    assert file_checksum(str(path)) == first
    path.write_bytes(b"x" * 8_999_999 + b"y")
    assert file_checksum(path) != first


def test_unreadable(tmp_path):
    with pytest.raises(InputError, match="reading failed"):
        file_checksum(tmp_path / "absent")
