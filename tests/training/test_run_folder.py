from pathlib import Path

import pytest

from pkdot.training.run_folder import new_run_folder


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("ot+0.5xkd-watch", "ot+0.5xkd-watch"),
        ("teacher-Übung_2", "teacher-Übung_2"),
        ("teacher-../../x", "teacher-..-..-x"),
        ("teacher-a/b\\c", "teacher-a-b-c"),
        ("teacher-a: b?\n*\0😀", "teacher-a-b-"),
        ("𝔞" * 300, "𝔞" * 50),
    ],
)
def test_a_run_folder_has_a_name_that_any_system_takes(tmp_path: Path, name: str, kept: str) -> None:
    folders = [new_run_folder(tmp_path / "runs", name).path for _ in range(2)]
    assert len(set(folders)) == 2
    for folder in folders:
        assert folder.parent == tmp_path / "runs"
        assert folder.is_dir()
        stem = folder.name.removeprefix(folder.name[:16])
        assert stem in (kept, f"{kept}-2")
