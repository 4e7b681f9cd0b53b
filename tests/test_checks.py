import os
from pathlib import Path

import pytest

from pkdot.checks import check_choice, check_range, check_type, names_in, read_toml


def test_a_wrong_choice_is_told_the_choices_and_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"method 'knd' is not one of none, kd\. Did you mean 'kd'\?"):
        check_choice("method", "knd", ["none", "kd"])
    with pytest.raises(ValueError, match=r"one of none, kd\.$"):
        check_choice("method", "zzz", ["none", "kd"])


def test_a_range_may_exclude_its_lower_end() -> None:
    check_range("x", 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x 0\.0 is outside \(0\.0, 1\.0\]"):
        check_range("x", 0.0, 0.0, 1.0, open_low=True)


def test_names_of_an_unknown_place_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no module 'pkdot\.attic'"):
        names_in("pkdot.attic", "NAMES")
    with pytest.raises(ValueError, match="no dict literal"):
        names_in("pkdot.cli.console", "NAMES")


def test_a_type_is_told_by_the_name_of_what_was_expected() -> None:
    check_type("config", 3, int)
    with pytest.raises(ValueError, match="config is 'x'; expected a whole number"):
        check_type("config", "x", int)


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
