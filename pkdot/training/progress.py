"""The progress of a run: a bar on a terminal, or one line per epoch in a log."""

import logging
import time
from datetime import datetime, timedelta
from types import TracebackType

from tqdm.auto import tqdm

log = logging.getLogger(__name__)


class ProgressDisplay:
    """A bar where stderr is a terminal, otherwise one line per epoch to the logger.

    Args:
        title: what is trained.
        steps: steps in an epoch.
        epochs: the largest number of epochs.
        done: steps that were done before the run was resumed.

    >>> with ProgressDisplay("teacher", steps=2, epochs=1) as display:
    ...     display.step()
    ...     display.epoch(0, loss=0.5, score=0.7)
    """

    def __init__(self, title: str, *, steps: int, epochs: int, done: int = 0) -> None:
        self._title, self._epochs = title, epochs
        self._bar = tqdm(total=steps * epochs, initial=done, desc=title, unit="step", disable=None)
        self._began = self._last = time.monotonic()
        self._seen = 0

    def step(self) -> None:
        """Count one step."""
        self._bar.update()

    def epoch(self, epoch: int, loss: float, score: float) -> None:
        """Show the training loss and the validation score of an epoch; ``epoch`` counts from 0."""
        if not self._bar.disable:
            self._bar.set_postfix(val=f"{score:.3f}")
            return
        now = time.monotonic()
        self._seen += 1
        left = (self._epochs - epoch - 1) * (now - self._began) / self._seen
        log.info("%s", epoch_line(self._title, epoch, self._epochs, loss, score, now - self._last, left))
        self._last = now

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def epoch_line(
    title: str,
    epoch: int,
    epochs: int,
    loss: float,
    score: float,
    seconds: float,
    left: float,
    now: datetime | None = None,
) -> str:
    """One epoch in a log.

    Args:
        title: what is trained.
        epoch: counted from 0.
        epochs: the largest number of epochs.
        loss: mean over the epoch's steps.
        score: on the validation split.
        seconds: duration of the epoch.
        left: seconds until the last epoch ends; patience may end the run earlier.
        now: the time of day; None asks the clock.

    >>> epoch_line("teacher", 2, 20, 0.5123, 0.7334, seconds=1.4, left=65, now=datetime(2024, 1, 1, 14, 31))
    'teacher: epoch 3/20, loss 0.5123, val 0.733, 1.4 s, ends by 14:32:05'
    """
    now = now or datetime.now()
    end = now + timedelta(seconds=left)
    day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    return (
        f"{title}: epoch {epoch + 1}/{epochs}, loss {loss:.4g}, val {score:.3f}, {seconds:.1f} s, "
        f"ends by {day}{end:%H:%M:%S}"
    )
