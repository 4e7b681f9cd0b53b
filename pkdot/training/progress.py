"""What a run shows of its course: a bar on a terminal, one line an epoch in a log."""

import logging
import time
from datetime import datetime, timedelta
from types import TracebackType

from tqdm.auto import tqdm

log = logging.getLogger(__name__)


class ProgressDisplay:
    """A bar where stderr is a terminal; elsewhere lines through the logger, which is silent unless somebody listens.

    Args:
        title: what is trained.
        steps: in an epoch.
        epochs: at most.
        done: steps that a resumed run has behind it.
    """

    def __init__(self, title: str, *, steps: int, epochs: int, done: int = 0) -> None:
        self._title, self._epochs = title, epochs
        self._bar = tqdm(total=steps * epochs, initial=done, desc=title, unit="step", disable=None)
        self._began = self._last = time.monotonic()
        self._seen = 0

    def step(self) -> None:
        """One step is done."""
        self._bar.update()

    def epoch(self, epoch: int, loss: float, score: float) -> None:
        """Epoch number ``epoch``, from 0, is done and validated."""
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
    """One epoch in a log: ``teacher: epoch 3/20, loss 0.512, val 0.733, 1.4 s, ends by 14:32:05``.

    Args:
        epoch: from 0.
        loss: mean over the epoch's steps.
        score: on the validation split.
        seconds: that the epoch took.
        left: seconds to the last epoch; patience may end the run earlier.
        now: the time of day (default: the clock's).
    """
    now = now or datetime.now()
    end = now + timedelta(seconds=left)
    day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    return (
        f"{title}: epoch {epoch + 1}/{epochs}, loss {loss:.4g}, val {score:.3f}, {seconds:.1f} s, "
        f"ends by {day}{end:%H:%M:%S}"
    )
