"""The log book of a run: ``metrics.jsonl``, the source of truth, and TensorBoard, for people to look at."""

import json
import os
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from pkdot.storage import write_text
from pkdot.training.run_folder import RunFolder


class LogBook:
    """Writes the epochs and pictures of one run.

    Args:
        folder: of the run.
        rows: how many rows of ``metrics.jsonl`` were written when the resumed state was saved; later rows are dropped.
        step: the step from which a resumed run writes TensorBoard's events again.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out, LogBook(RunFolder(Path(out))) as log:
    ...     log.epoch(0, step=10, rate=0.1, train={"loss": 0.5}, validation={"score": 0.75})
    ...     print(Path(out, "metrics.jsonl").read_text(), end="")
    {"epoch": 0, "step": 10, "lr": 0.1, "train": {"loss": 0.5}, "val": {"score": 0.75}}
    """

    def __init__(self, folder: RunFolder, *, rows: int = 0, step: int = 0) -> None:
        self._path = folder.metrics
        self.rows = rows
        known = self._path.read_text(encoding="utf-8").splitlines()[:rows] if rows else []
        write_text(self._path, "".join(line + "\n" for line in known))
        self._board = SummaryWriter(str(folder.path), purge_step=step or None)

    def epoch(self, epoch: int, step: int, rate: float, train: dict[str, float], validation: dict[str, float]) -> None:
        """Write an epoch: one JSON line, and a point of each curve for TensorBoard.

        Args:
            epoch: its number, from 0.
            step: how many steps of the run are done.
            rate: the learning rate of the last step.
            train: mean losses over the epoch's steps.
            validation: metrics of the validation split.
        """
        # Without the time of day: equal runs leave equal files.
        row = {"epoch": epoch, "step": step, "lr": rate, "train": train, "val": validation}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows += 1
        curves = {f"train/{name}": value for name, value in train.items()}
        curves |= {f"val/{name}": value for name, value in validation.items()}
        for tag, value in {**curves, "lr": rate}.items():
            self._board.add_scalar(tag, value, step)
        self._board.flush()

    def image(self, tag: str, pixels: np.ndarray[Any, Any], step: int) -> None:
        """Show a picture ``(height, width, 3)`` uint8 in TensorBoard."""
        self._board.add_image(tag, pixels, step, dataformats="HWC")
        self._board.flush()

    def __enter__(self) -> "LogBook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()
