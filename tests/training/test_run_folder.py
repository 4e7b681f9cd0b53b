import json
from pathlib import Path

import pytest

from pkdot.config import RunConfig, TeacherRunConfig
from pkdot.storage import FolderInUse
from pkdot.training.fingerprint import Fingerprint
from pkdot.training.run_folder import RunFolder, finished_runs, held, new_run_folder

ONE = Fingerprint({"seed": 1})


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


def config_in(out: Path) -> TeacherRunConfig:
    return TeacherRunConfig(run=RunConfig(out=out))


def begin(config: TeacherRunConfig, error: BaseException, state: str = "") -> None:
    with held(config, ONE, name="teacher") as folder:
        assert folder.config.exists()
        if state:
            folder.last.write_text(state)
        raise error


@pytest.mark.parametrize("existed", [True, False])
def test_a_run_that_fails_before_its_first_state_leaves_nothing_behind(tmp_path: Path, existed: bool) -> None:
    out = tmp_path / "runs"
    if existed:
        out.mkdir()
    with pytest.raises(ValueError, match="no such sample"):
        begin(config_in(out), ValueError("no such sample"))
    assert list(tmp_path.rglob("*")) == ([out] if existed else [])


def test_a_run_that_fails_later_keeps_what_it_needs_to_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begin(config_in(tmp_path), KeyboardInterrupt(), state="a state")
    (folder,) = map(RunFolder, tmp_path.iterdir())
    assert {folder.config, folder.fingerprint, folder.versions, folder.last} <= set(folder.path.iterdir())


def test_a_folder_with_another_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with held(config_in(tmp_path), ONE, name="teacher", folder=folder):
        before = {path: path.read_bytes() for path in folder.path.iterdir()}
        with pytest.raises(FolderInUse), held(config_in(tmp_path), ONE, name="teacher", folder=folder):
            pass
    other = Fingerprint({"seed": 2})
    with (
        pytest.raises(ValueError, match="begun with other settings or data: seed 1 instead of 2"),
        held(config_in(tmp_path), other, name="teacher", folder=folder),
    ):
        pass
    assert all(path.read_bytes() == content for path, content in before.items() if "lock" not in path.name)


def test_finished_runs_are_those_of_a_kind_that_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = ("data", "split_digest", "label_digest", "label_share", "primary_metric")
    result = dict.fromkeys(keys, "x") | {"metrics": {}}
    texts = {
        "a": json.dumps(result | {"kind": "teacher"}),
        "b": json.dumps(result | {"kind": "student"}),
        "c": "{",
        "d": "{}",
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    assert [run.folder.path.name for run in finished_runs(tmp_path, "teacher")] == ["a"]
    assert sorted(record.getMessage().split(":")[0] for record in caplog.records) == [
        f"passed over {tmp_path / name}" for name in "cd"
    ]
