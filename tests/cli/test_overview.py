import configparser
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pkdot.cli import compare, distill, evaluate, overview, train_teacher

COMMANDS = [train_teacher, distill, evaluate, compare]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_every_command_is_listed_with_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    names = {line.partition(" = ")[0] for line in lines if line} - {"pkdot"}
    assert overview.main(words) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert {name for name, _ in listed} == names
    assert all(told.endswith(".") for _, told in listed)


def test_python_m_pkdot_is_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pkdot", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("pkdot", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"pkdot {version('pkdot')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_version(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["--version"])  # type: ignore[attr-defined]
    assert not end.value.code
    assert capsys.readouterr().out == f"{command.COMMAND} {version('pkdot')}\n"  # type: ignore[attr-defined]


def test_a_word_that_is_no_command_is_told_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert overview.main(["distil"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "unexpected 'distil'" in told
    assert all(command.COMMAND in told for command in COMMANDS)
