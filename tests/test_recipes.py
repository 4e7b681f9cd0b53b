import os
from pathlib import Path

import pytest

from pkdot.config import BioVidConfig, DataConfig, StudentRunConfig
from pkdot.recipes import read_toml, setting_names, settings_from


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


def test_a_setting_of_a_group_may_stand_beside_the_group() -> None:
    expected = DataConfig(frames=4, biovid=BioVidConfig("ordinal", "B"))
    tables = (
        {"frames": 4, "biovid": {"levels": "ordinal", "part": "B"}},
        {"frames": 4, "levels": "ordinal", "part": "B"},
        {"frames": 4, "levels": "ordinal", "biovid": {"part": "B"}},
    )
    assert [settings_from(DataConfig, table) for table in tables] == [expected] * 3
    assert settings_from(DataConfig, {"levels": "binary", "biovid": {"levels": "ordinal"}}).biovid.levels == "ordinal"


def test_groups_may_hold_groups() -> None:
    found = settings_from(StudentRunConfig, {"data": {"part": "B"}, "optim": {"epochs": 3}, "with_control": True})
    assert (found.data.biovid.part, found.optim.epochs, found.with_control) == ("B", 3, True)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    for table in ({"leveles": "ordinal"}, {"biovid": {"parts": "B"}}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            settings_from(DataConfig, table)
    with pytest.raises(ValueError, match="levels is 'bin'"):
        settings_from(DataConfig, {"levels": "bin"})


def test_names_of_settings_know_their_group() -> None:
    names = setting_names(DataConfig)
    assert {name for name, group in names.items() if group} == {"levels", "part"}
    assert {"source", "biovid", "image_size"} <= set(names)
