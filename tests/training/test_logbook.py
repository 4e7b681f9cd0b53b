"""What a run that is killed has written of its epochs."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from tensorboard.summary.writer.event_file_writer import AtomicCounter

from pkdot.training.logbook import LogBook
from pkdot.training.run_folder import RunFolder
from tests.support import rows_of


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """What TensorBoard shows."""
    events = EventAccumulator(str(folder)).Reload()
    if tag not in events.Tags()["scalars"]:
        return []
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_an_epoch_is_on_the_disk_before_the_book_is_closed(tmp_path: Path) -> None:
    log = LogBook(RunFolder(tmp_path))
    for epoch in range(3):
        log.epoch(epoch, step=epoch, rate=0.25, train={"loss": 1.0}, validation={"score": 0.5 * epoch})
        # The process might be killed here.
        assert [row["epoch"] for row in rows_of(tmp_path / "metrics.jsonl")] == list(range(epoch + 1))
        assert curve(tmp_path, "val/score") == [(step, 0.5 * step) for step in range(epoch + 1)]
        assert curve(tmp_path, "lr") == [(step, 0.25) for step in range(epoch + 1)]


def test_a_resumed_book_drops_what_its_state_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files of one second are read in the order of the numbers in their names, as texts: 10 would come before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", AtomicCounter(0))
    with LogBook(RunFolder(tmp_path)) as log:
        for epoch in range(3):
            log.epoch(epoch, step=10 * (epoch + 1), rate=0.1, train={}, validation={"score": float(epoch)})
    with LogBook(RunFolder(tmp_path), rows=1, step=20) as log:
        assert log.rows == 1
        log.epoch(1, step=20, rate=0.1, train={}, validation={"score": 7.0})
    rows = rows_of(tmp_path / "metrics.jsonl")
    assert [(row["epoch"], row["step"], row["val"]["score"]) for row in rows] == [(0, 10, 0.0), (1, 20, 7.0)]
    assert curve(tmp_path, "val/score") == [(10, 0.0), (20, 7.0)]


def test_a_new_run_starts_with_an_empty_book(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    with LogBook(RunFolder(tmp_path)) as log:
        assert log.rows == 0
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("step", [0, 3])
def test_a_picture_is_shown(tmp_path: Path, step: int) -> None:
    with LogBook(RunFolder(tmp_path)) as log:
        log.image("structure", np.zeros((4, 6, 3), np.uint8), step)
        events = EventAccumulator(str(tmp_path)).Reload()
        (picture,) = events.Images("structure")
    assert (picture.step, picture.width, picture.height) == (step, 6, 4)
