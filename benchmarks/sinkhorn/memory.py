"""Peak extra memory of one call, each in its own process.

Linux hands the peak of a process down to the program that it starts (``ru_maxrss`` outlives ``exec``), so that a child
of a large parent would seem to need nothing. Where there is /proc, the kernel's own counter is therefore reset before
the call and read after it.
"""

import gc
import json
import re
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.sinkhorn.clouds import Case, clouds
from benchmarks.sinkhorn.loss_step import loss_steps
from benchmarks.sinkhorn.peers import all_methods

MIB = 2**20
_ROOT = Path(__file__).parents[2]
_TINY = (1, 32, 8)


@dataclass(frozen=True)
class Job:
    """What the child does: one method's call at this knob, or, without a knob, the loss step of this name."""

    name: str
    problems: int
    points: int
    dimension: int
    mix: float
    threads: int
    device: str = "cpu"
    knob: float | None = None

    @property
    def case(self) -> Case:
        """The clouds or embeddings it is done on."""
        return Case(self.problems, self.points, self.dimension, self.mix)


def peak_growth(job: Job, timeout: float) -> float | None:
    """MiB that the call adds to the memory in use before it; None if the child failed or took too long."""
    command = [sys.executable, "-m", "benchmarks.sinkhorn.memory", json.dumps(asdict(job))]
    try:
        child = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=timeout)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = error.stderr.decode() if isinstance(error.stderr, bytes) else error.stderr
        lines = (output or "").strip().splitlines() or [type(error).__name__]
        print(f"memory of {job.name}: {lines[-1]}", file=sys.stderr)
        return None
    return float(child.stdout.splitlines()[-1])


def in_buffers(mib: float, case: Case) -> float:
    """MiB in units of one float32 cost matrix, of all problems."""
    return mib * MIB / (4 * case.elements)


def _call_of(job: Job) -> Callable[[], object]:
    """The call, after one of the same kind on a tiny problem; what compiles has compiled."""
    tiny = Case(*_TINY, job.mix)
    if job.knob is None:
        loss_steps(tiny, job.device)[job.name]()
        return loss_steps(job.case, job.device)[job.name]
    knob = job.knob
    (method,) = all_methods(job.device, only=job.name)[0]
    small, large = (tuple(z.to(job.device) for z in clouds(case)) for case in (tiny, job.case))
    method.prepare(*small).call(knob)
    prepared = method.prepare(*large)
    return lambda: prepared.call(knob)


def growth(call: Callable[[], object], device: str) -> float:
    """MiB that a call adds at its peak to what this process holds before it."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - allocated) / MIB
    if not _reset_peak():
        before = _max_rss()
        call()
        return _max_rss() - before
    held = _status("VmRSS")
    call()
    return max(_status("VmHWM") - held, 0.0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {name}.")
    return int(found[1]) * 1024 / MIB


def _max_rss() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak * 1024 / MIB


def main() -> None:
    warnings.simplefilter("ignore")
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    print(growth(_call_of(job), job.device))


if __name__ == "__main__":
    main()
