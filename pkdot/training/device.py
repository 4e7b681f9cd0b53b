"""Where a run computes."""

import torch

from pkdot.config import RunConfig


def prepare_device(run: RunConfig) -> torch.device:
    """The device of a run, with threads set and repeatable kernels chosen, for the whole process.

    Raises ``ValueError`` for a device that this machine does not have.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if run.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(run.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {run.device!r} is not to be had here; expected auto, cpu, cuda or cuda:N.") from error
    return device
