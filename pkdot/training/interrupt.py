"""Ctrl-C ends a run between two steps, not in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(Exception):
    """The user has stopped a training, and its state was saved.

    >>> Interrupted(Path("runs/teacher")).folder.name
    'teacher'
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped; the state is saved in {folder}")
        self.folder = folder


class StopRequest:
    """Whether the user has asked to stop.

    >>> request = StopRequest()
    >>> request.receive(signal.SIGINT, None)
    >>> request.made
    True
    """

    def __init__(self) -> None:
        self.made = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one asks the run to stop, the second one stops it at once."""
        if self.made:
            raise KeyboardInterrupt
        self.made = True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the loop reads between two steps.

    >>> with stop_requests() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    ...     stop.made
    True
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
