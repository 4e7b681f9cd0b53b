"""How a run computes: one process, its device, its threads, and deterministic kernels."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

from pkdot.checks import check_range, check_type
from pkdot.config import StudentRunConfig, TeacherRunConfig
from pkdot.distributed import is_distributed

Train = TypeVar("Train", bound=Callable[..., Any])

THREADS_PER_CORE = 16
"""Largest number of threads per core: high, so that a small machine can repeat the run of a large one."""
LAUNCHERS = {
    "WORLD_SIZE": "torchrun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "SLURM_STEP_NUM_TASKS": "srun",
}
"""Environment variables with the number of processes that were started; the first one that is set decides."""


def trainer(kind: type[TeacherRunConfig | StudentRunConfig]) -> Callable[[Train], Train]:
    """Decorate a function that trains: torch has the run's settings while it runs, and its old settings afterwards.

    Raises:
        ValueError: on a call, if the config is not a ``kind``, or if several processes were started to train together.

    >>> @trainer(TeacherRunConfig)
    ... def train(config):
    ...     return torch.are_deterministic_algorithms_enabled()
    >>> train(TeacherRunConfig()), torch.are_deterministic_algorithms_enabled()
    (True, False)
    """

    def decorate(train: Train) -> Train:
        @wraps(train)
        def trained(config: Any, *args: Any, **kwargs: Any) -> Any:
            check_type("config", config, kind)
            check_one_process()
            with repeatable(config.run.threads):
                return train(config, *args, **kwargs)

        return cast(Train, trained)

    return decorate


@contextmanager
def repeatable(threads: int = 0) -> Iterator[None]:
    """Compute with deterministic kernels and this number of threads (0: as many as before).

    >>> with repeatable(threads=1):
    ...     torch.get_num_threads()
    1
    """
    check_threads(threads)
    enabled, before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_num_threads(threads or before)
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.set_num_threads(before)


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU where there is one. Raises ``ValueError`` if it is not available.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a meta device holds no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"device {name!r} is not available; expected auto, cpu, cuda or cuda:N.") from error
    if device.type == "cpu" and device.index:
        raise ValueError(f"device {name!r}: all cores together are one device; expected cpu.")
    return device


def check_threads(threads: int) -> None:
    """Raise ``ValueError`` for more threads than this machine can use.

    >>> check_threads(1)
    """
    cores = os.cpu_count() or 1
    check_range(f"threads (at most {THREADS_PER_CORE} for each of {cores} cores)", threads, 0, THREADS_PER_CORE * cores)


def check_one_process(environ: Mapping[str, str] = os.environ) -> None:
    """Raise ``ValueError`` if a launcher has started several processes: each would train the same run.

    >>> check_one_process({"WORLD_SIZE": "1"})
    >>> check_one_process({"WORLD_SIZE": "4"})
    Traceback (most recent call last):
    ValueError: torchrun started 4 processes, and training on more than one is not supported; ...
    """
    count, launcher = next(((environ[name], told) for name, told in LAUNCHERS.items() if environ.get(name)), ("1", ""))
    if is_distributed() or (count.isdigit() and int(count) > 1):
        started = f"{launcher} started {count} processes" if launcher else "several processes were started"
        raise ValueError(
            f"{started}, and training on more than one is not supported; expected one process. Set WORLD_SIZE=1 "
            "if each process should train a run of its own."
        )
