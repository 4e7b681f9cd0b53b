"""Train runs in parallel processes. A run that is finished is not repeated.

Several commands may work on one folder at once: a run that one of them has started is left to it.
"""

import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

from tqdm import tqdm

from pkdot.comparison.run import Run
from pkdot.config import DataConfig, StudentRunConfig
from pkdot.data.study import open_study
from pkdot.storage import FolderInUse, in_use, write_text
from pkdot.training.interrupt import Interrupted
from pkdot.training.run_folder import RunFolder
from pkdot.training.student import train_student
from pkdot.training.teacher import train_teacher

log = logging.getLogger(__name__)

STOPPED, LEFT_TO_ANOTHER = 130, 75
"""Exit codes of a run's process: it was stopped and has saved its state; another process trains the same run."""
LOOK_AGAIN_S = 1.0
"""How long to wait if other commands train all runs that could be started."""
READ_AHEAD = "PKDOT_READ_AHEAD"
"""Environment variable with the data that the server of processes reads before it forks: configs as JSON."""


def read_ahead(configs: Iterable[DataConfig]) -> None:
    """Have the data sets read once for all runs, where the system can fork. Call it before the first run starts."""
    os.environ[READ_AHEAD] = json.dumps([asdict(config) for config in configs], default=str)


def run_all(runs: Sequence[Run], *, jobs: int, keep_weights: bool, title: str) -> list[Run]:
    """Train the runs that are not finished, in order. A student waits for its teacher.

    Args:
        runs: what to train.
        jobs: the number of parallel processes.
        keep_weights: whether run folders stay whole, as in ``tidy``.
        title: of the progress bar.

    Returns:
        The runs that failed.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once every run in progress has saved its state.
    """
    waiting = [run for run in runs if not run.done]
    working: dict[int, tuple[BaseProcess, Run]] = {}
    failed: list[Run] = []
    with tqdm(total=len(waiting), desc=title, unit="run", disable=None) as bar:
        try:
            while waiting or working:
                for run in _startable(waiting, [run for _, run in working.values()]):
                    if len(working) == jobs:
                        break
                    if run.done:  # by another command
                        waiting.remove(run)
                        bar.update()
                    elif not in_use(run.folder):
                        waiting.remove(run)
                        process = _start(run, keep_weights)
                        working[process.sentinel] = process, run
                if not working and waiting:
                    time.sleep(LOOK_AGAIN_S)
                for sentinel in wait(list(working)) if working else ():
                    process, run = working.pop(cast(int, sentinel))
                    process.join()
                    if process.exitcode == STOPPED:
                        raise KeyboardInterrupt
                    if process.exitcode == LEFT_TO_ANOTHER:
                        waiting.append(run)
                        continue
                    if process.exitcode != 0:
                        failed.append(run)
                        log.warning("failed: %s (%s)", run.folder, why(run, process.exitcode))
                    bar.update()
        finally:
            for process, _ in working.values():
                process.join()
    return failed


def _startable(waiting: Sequence[Run], working: Sequence[Run]) -> list[Run]:
    """The runs whose teacher is neither in training nor waiting."""
    ahead = {run.absolute_folder for run in (*waiting, *working) if run.is_teacher}
    return [run for run in waiting if run.is_teacher or run.teacher not in ahead]


def _start(run: Run, keep_weights: bool) -> BaseProcess:
    process: BaseProcess
    if sys.platform == "linux":
        # The server has imported torch and read the data, and forks: a run starts in milliseconds.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["pkdot.comparison.preloaded"])
        process = context.Process(target=execute, args=(run, keep_weights))
    else:
        process = multiprocessing.get_context("spawn").Process(target=execute, args=(run, keep_weights))
    process.start()
    return process


def execute(run: Run, keep_weights: bool) -> None:
    """Train and test in this process, silently. An error is written to a file beside the run's folder."""
    complaint = _complaint(run)
    complaint.parent.mkdir(parents=True, exist_ok=True)
    _silence(complaint.with_suffix(".log"))
    try:
        train(run)
    except (Interrupted, KeyboardInterrupt):
        os._exit(STOPPED)
    except FolderInUse:
        os._exit(LEFT_TO_ANOTHER)
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        write_text(complaint, f"{type(error).__name__}: {told}\n\n{traceback.format_exc()}")
        os._exit(1)
    complaint.unlink(missing_ok=True)
    complaint.with_suffix(".log").unlink(missing_ok=True)
    tidy(run, keep_weights)


def train(run: Run) -> None:
    """Train and test one run; a run that was stopped is resumed."""
    folder = RunFolder(run.folder)
    # In this order, a whole result that another command writes in between is kept.
    if folder.result.exists() and not run.done:
        folder.result.unlink(missing_ok=True)
    if isinstance(run.config, StudentRunConfig):
        study = open_study(run.config.data, run.config.optim, run.config.run.seed)
        train_student(run.config, study, folder)
    else:
        train_teacher(run.config, folder=folder)


def tidy(run: Run, keep_weights: bool) -> None:
    """Delete the state to resume from, TensorBoard's events and a student's weights, unless weights are kept."""
    if keep_weights:
        return
    folder = RunFolder(run.folder)
    folder.last.unlink(missing_ok=True)
    if not run.is_teacher:
        folder.best.unlink(missing_ok=True)
        folder.metadata.unlink(missing_ok=True)
    for events in run.folder.rglob("events.out.tfevents.*"):
        events.unlink(missing_ok=True)


def why(run: Run, exit_code: int | None) -> str:
    """The first line of a failed run's error file, or its exit code."""
    try:
        return _complaint(run).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return f"ended with code {exit_code}"


def _complaint(run: Run) -> Path:
    return run.folder.with_name(f"{run.folder.name}.error.txt")


def _silence(path: Path) -> None:
    """Send what the run prints to a file: several progress bars on one screen cannot be read."""
    with path.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
