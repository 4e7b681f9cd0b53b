"""The log book: ``metrics.jsonl``, which is the source of truth, and TensorBoard, which is for looking."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from pkdot.storage import write_text
from pkdot.training.run_folder import RunFolder


class LogBook:
    """Writes the rows of one run.

    Args:
        folder: where the files go.
        rows: how many rows of ``metrics.jsonl`` the resumed state knows of; later ones are dropped and made again.
        step: the step from which TensorBoard's events are made again.
    """

    def __init__(self, folder: RunFolder, *, rows: int = 0, step: int = 0) -> None:
        self._path = folder.metrics
        self.rows = rows
        known = self._path.read_text(encoding="utf-8").splitlines()[:rows] if rows else []
        write_text(self._path, "".join(line + "\n" for line in known))
        self._board = SummaryWriter(str(folder.path), purge_step=step or None)

    def row(self, values: Mapping[str, Any]) -> None:
        """Append one JSON line. No clock time in it: equal runs leave equal files."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows += 1

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Curves for TensorBoard."""
        for tag, value in values.items():
            self._board.add_scalar(tag, value, step)
        self._board.flush()

    def image(self, tag: str, pixels: np.ndarray[Any, Any], step: int) -> None:
        """A picture ``(height, width, 3)`` uint8 for TensorBoard."""
        self._board.add_image(tag, pixels, step, dataformats="HWC")
        self._board.flush()

    def __enter__(self) -> "LogBook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
