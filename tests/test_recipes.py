import os
from pathlib import Path

import pytest

from pkdot.recipes import read_toml


def test_a_byte_order_mark_is_no_part_of_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_toml(tmp_path / "a.toml") == {"x": 1}


@pytest.mark.parametrize(
    "content", [b"x = 1\nx = 2\n", b"\xff\xfe", b"x = " + b"[" * 5000, b"x = " + b"9" * 9999, b"x = \x00", b"x ="]
)
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.toml: not valid TOML \(.+\)\.$"):
        read_toml(tmp_path / "a.toml")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
        with pytest.raises(ValueError, match=f"{path}: not a file"):
            read_toml(path)
    with pytest.raises(ValueError, match="nowhere: cannot be read"):
        read_toml(tmp_path / "nowhere")
