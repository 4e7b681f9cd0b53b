from pathlib import Path

import pytest
import torch

from pkdot.cli.console import run_command, shown, table
from pkdot.training.interrupt import Interrupted


def raising(error: BaseException) -> int:
    def action() -> None:
        raise error

    return run_command("pkdot-x", action)


def test_a_users_mistake_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ValueError("a.csv, line 3:\nexpected a number")) == 2
    assert capsys.readouterr().err == "pkdot-x: error: a.csv, line 3: expected a number\n"


def test_a_missing_file_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(FileNotFoundError(2, "No such file or directory", "x.csv")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_anything_else_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(RuntimeError("shape")) == 1
    told = capsys.readouterr().err
    assert "RuntimeError: shape" in told
    assert "PKDOT_TRACEBACK" in told


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKDOT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="why"):
        raising(ValueError("why"))


def test_ctrl_c_says_how_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(Interrupted(Path("runs/a"))) == 130
    assert "--resume runs/a" in capsys.readouterr().err
    assert raising(KeyboardInterrupt()) == 130
    assert "nothing was saved" in capsys.readouterr().err


def test_an_interrupted_teacher_is_resumed_by_its_own_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('command = "pkdot-train-teacher"\n')
    raising(Interrupted(tmp_path))
    assert f"To continue: pkdot-train-teacher --resume {tmp_path}" in capsys.readouterr().err


def test_a_table_aligns_figures_under_their_names() -> None:
    lines = table({"teacher": {"accuracy": 0.8125}, "student (ot)": {"accuracy": 0.7, "mae": 1.0}}, "data").splitlines()
    assert lines[0].split() == ["data", "accuracy", "mae"]
    assert lines[2].split() == ["teacher", "0.8125"]
    assert len({len(line) for line in lines}) == 1


def test_a_path_below_the_current_folder_is_shown_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "runs" / "a") == str(Path("runs", "a"))
    assert shown(tmp_path.parent) == str(tmp_path.parent)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    ],
)
def test_too_little_memory_is_told_as_such(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(error) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "out of memory; try a smaller --batch-size" in told
