import io
import logging
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest

from pkdot.training.progress import ProgressDisplay, epoch_line
from pkdot.training.teacher import train_teacher
from tests.support import teacher_config

NOON = datetime(2026, 3, 14, 12, 0, 0)
LINE = re.compile(r"teacher: epoch (\d)/2, loss \d+\.\d+, val \d\.\d{3}, \d+\.\d s, ends by \d\d:\d\d:\d\d")


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_says_epoch_loss_score_seconds_and_the_end() -> None:
    line = epoch_line("teacher", 2, 20, 0.51234, 0.73333, 1.44, left=92.0, now=NOON)
    assert line == "teacher: epoch 3/20, loss 0.5123, val 0.733, 1.4 s, ends by 12:01:32"


def test_an_end_on_another_day_has_its_date() -> None:
    line = epoch_line("teacher", 0, 2, 1.0, 0.5, 60.0, left=13 * 3600.0, now=NOON)
    assert line.endswith("ends by 2026-03-15 01:00:00")


def test_the_end_follows_from_the_epochs_so_far(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([100.0, 104.0, 110.0])
    told = []
    monkeypatch.setattr("pkdot.training.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("pkdot.training.progress.epoch_line", lambda *values: str(told.append(values)))
    caplog.set_level(logging.INFO, "pkdot")
    with ProgressDisplay("teacher", steps=3, epochs=10, done=15) as display:
        display.epoch(5, 0.5, 0.7)
        display.epoch(6, 0.4, 0.8)
    seconds_and_left = [values[-2:] for values in told]
    assert seconds_and_left == [(4.0, 16.0), (6.0, 15.0)]  # 4 epochs of 4 s, then 3 of (4 + 6) / 2 s
    assert [values[1:3] for values in told] == [(5, 10), (6, 10)]


def test_without_a_terminal_a_run_logs_a_line_an_epoch(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "pkdot")
    train_teacher(teacher_config(vectors, tmp_path))
    lines = [match for record in caplog.records if (match := LINE.fullmatch(record.getMessage()))]
    assert [match[1] for match in lines] == ["1", "2"]
    assert "step" not in capfd.readouterr().err


def test_nobody_who_listens_to_no_logger_is_told(
    vectors: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("pkdot").setLevel(logging.NOTSET)
    train_teacher(teacher_config(vectors, tmp_path))
    out, err = capfd.readouterr()
    assert "epoch 1/2" not in out + err


def test_on_a_terminal_there_is_a_bar_and_no_line(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.set_level(logging.INFO, "pkdot")
    train_teacher(teacher_config(vectors, tmp_path))
    assert not [record for record in caplog.records if "ends by" in record.getMessage()]
    assert "teacher: 100%" in terminal.getvalue()
    assert re.search(r"6/6 \[.*val=\d\.\d{3}\]", terminal.getvalue())
