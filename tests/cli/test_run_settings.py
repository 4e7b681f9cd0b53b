"""A run's config.toml that was emptied or cut makes no other experiment."""

from dataclasses import replace
from pathlib import Path

import pytest

from pkdot.cli.arguments import parse
from pkdot.config import DataConfig, StudentRunConfig, TeacherRunConfig
from pkdot.training.provenance import to_toml

CONFIG = StudentRunConfig(data=DataConfig(source="mine", frames=3), teacher=Path("runs/teacher"))


def read(*words: str | Path, kind: type = StudentRunConfig, command: str = "pkdot-distill") -> object:
    return parse(kind, [str(word) for word in words], command=command, description="")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a whole config."""
    (tmp_path / "config.toml").write_text(to_toml(CONFIG))
    return tmp_path


def test_a_whole_config_is_read_back(run: Path) -> None:
    expected = replace(CONFIG, run=replace(CONFIG.run, resume=run))
    assert read("--resume", run) == expected
    assert read("--recipe", run / "config.toml") == CONFIG


def test_a_config_that_was_cut_anywhere_is_not_resumed(run: Path) -> None:
    path = run / "config.toml"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"config\.toml"):
            read("--resume", run)


def test_a_config_from_before_there_were_groups_within_a_section_is_resumed(run: Path) -> None:
    path = run / "config.toml"
    old = path.read_text().replace("\n\n[data.biovid]", "")
    assert "biovid" not in old
    path.write_text(old)
    assert read("--resume", run) == replace(CONFIG, run=replace(CONFIG.run, resume=run))


def test_an_emptied_config_is_not_resumed_nor_repeated(run: Path) -> None:
    for text in ("", "\n", "# nothing\n"):
        (run / "config.toml").write_text(text)
        for words in (("--resume", run), ("--recipe", run / "config.toml")):
            with pytest.raises(ValueError, match="expected settings, found none"):
                read(*words)


def test_a_config_without_its_command_is_not_resumed(run: Path) -> None:
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.split("\n", 1)[1])
    with pytest.raises(ValueError, match="no command"):
        read("--resume", run)


def test_every_setting_is_missed(run: Path) -> None:
    path = run / "config.toml"
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith('teacher = "runs'):
            path.write_text("".join(lines[:number] + lines[number + 1 :]))
            with pytest.raises(ValueError, match=f"no .*{line.split(' = ')[0]}"):
                read("--resume", run)


def test_a_shorter_recipe_of_a_run_is_taken_with_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = run / "config.toml"
    text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("width"))
    path.write_text(text)
    assert read("--recipe", path) == CONFIG
    assert "lacks 1 settings, such as model.width: their defaults are used" in caplog.text


def test_a_recipe_of_somebodys_own_may_be_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[optim]\nepochs = 3")
    config = read("--recipe", path, kind=TeacherRunConfig, command="pkdot-train-teacher")
    assert config == TeacherRunConfig(optim=replace(TeacherRunConfig().optim, epochs=3))
    assert not caplog.text
