"""Sinkhorn divergences at equal accuracy: pkdot beside geomloss, POT, OTT-JAX and flash-sinkhorn, in one run.

    python -m benchmarks.sinkhorn_speed --write benchmarks/results/sinkhorn_speed.md --growth
    python -m benchmarks.sinkhorn_speed --quick

Each method computes the debiased divergence of two clouds (cost |x-y|^2/2, blur 0.1) and its gradient in x. Every
method has a setting that makes it more exact. The first one is taken whose gradient is within 1e-2, or 1e-3, of a
converged gradient in float64, for each of three draws of the clouds. These settings are timed in turn, and the tables
show medians. Then the whole loss step from embeddings is timed, and peak memory is measured, each in its own process.
Packages that are not installed are left out:

    pip install geomloss pot ott-jax matplotlib
"""

import argparse
import os
from pathlib import Path

RESULTS = Path("benchmarks/results")
PARTS = ("solvers", "loss", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", metavar="N,B,k", help="problems, points and dimension (default: eight)")
    parser.add_argument("--mix", nargs="+", type=float, default=[0.6, 0.3], help="class strength: less is harder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="small shapes and few rounds, to see that it runs")
    parser.add_argument("--draws", type=int, default=3, help="of the clouds, on which a setting must be exact enough")
    parser.add_argument("--rounds", type=int, default=15, help="of each timing, interleaved")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of all rounds of one setting; at 3x give up")
    parser.add_argument("--threads", type=int, default=len(_cores()), help="cores that every package may use")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds summed over threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--write", type=Path, metavar="MD", help="Markdown file, renewed after every case")
    parser.add_argument("--growth", type=Path, nargs="?", const=RESULTS / "sinkhorn_growth.png", metavar="PNG",
                        help="also draw cost against the number of points")  # fmt: skip
    parser.add_argument("--sizes", nargs="+", type=int, metavar="B", help="of the figure (default: 128 ... 8192)")
    arguments = parser.parse_args()
    if min(arguments.draws, arguments.rounds, arguments.threads, arguments.limit) <= 0:
        parser.error("--draws, --rounds, --threads and --limit must be above 0.")
    _keep_to(arguments.threads)
    # The thread pools of torch and of XLA look at the cores they may use when they are imported: not before this line.
    from benchmarks.sinkhorn.command import run

    try:
        run(arguments)
    except ValueError as error:
        parser.error(str(error))


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _keep_to(threads: int) -> None:
    """Restrict this process and its children to a number of cores."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, _cores()[:threads])
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()


if __name__ == "__main__":
    main()
