"""What ``pkdot-compare`` takes from the command line. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from pkdot.checks import check_range, settle_types

FIRST_TUNE_SEED = 100_000
"""Seeds from here on choose weights; tested seeds are below."""


class RunsFailed(Exception):
    """Some runs of a comparison failed; the others are finished."""


@dataclass
class CompareConfig:
    """Compare distillation methods over data sets, label shares, folds and seeds."""

    grid: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: what the flags say)")] = None
    """TOML file of named data sets, regimes and entries, instead of the next seven settings."""
    data: tuple[str, ...] = ("synthetic-biovid",)
    """Data sets, each as in --data of pkdot-distill."""
    methods: tuple[str, ...] = ("ot", "kd", "hint", "sp", "structure-kl")
    """Methods, each as in --method of pkdot-distill. A method that does not fit a data set's task is left out there."""
    labels: tuple[float, ...] = (1.0,)
    """Shares of the training subjects whose labels are used (0 to 1); each share is a regime of its own."""
    folds: int | Literal["loso"] = 0
    """Subject folds (number; 0: each seed has its own hold-out split). loso: leave one subject out."""
    epochs: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: that of pkdot-distill)")] = None
    """Passes over the training split (number)."""
    batch_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: that of pkdot-distill)")] = None
    """Samples in a step (number)."""
    lr: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(default: that of pkdot-distill)")] = None
    """Largest learning rate, reached after the warm-up."""
    seeds: int = 5
    """Paired repetitions (number): all methods use the same seeds."""
    first_seed: int = 0
    """The first of these seeds (number)."""
    tune_seeds: int = 2
    """Further seeds, on whose validation splits the weight of each method is chosen (number; 0: no tuning)."""
    tune: tuple[float, ...] = (0.02, 0.4, 8.0)
    """Factors on the balanced weight to choose from, the same for every method."""
    out: Path = Path("comparison")
    """Folder for the runs and the report; runs that are finished there are not repeated."""
    stage: Literal["all", "tune", "test", "report"] = "all"
    """tune: choose weights; test: train what is compared; report: write the report of the finished runs."""
    jobs: int | Literal["auto"] = "auto"
    """Parallel runs (number). auto: CPU cores // threads per run, and 1 with CUDA."""
    threads: int = 1
    """CPU threads of a run (number)."""
    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    shard: str = "1/1"
    """i/N: this machine trains the i-th of N parts of the runs; run each stage on all machines before the next."""
    cluster: Literal["none", "slurm", "local"] = "none"
    """slurm: submit each stage as a job array through submitit; local: run the same jobs on this machine, as a test."""
    array: int = 32
    """Jobs in the array (number)."""
    cluster_options: tuple[str, ...] = ()
    """submitit's parameters as name=value, such as slurm_partition=gpu or timeout_min=240."""
    keep: Literal["results", "all"] = "results"
    """results: delete a student's weights once it is tested; all: keep whole run folders."""
    dry_run: bool = False
    """Count the runs, estimate their time from finished runs, and train nothing."""

    def __post_init__(self) -> None:
        settle_types(self)
        check_range("first_seed", self.first_seed, 0, FIRST_TUNE_SEED - 1)
        check_range("seeds", self.seeds, 1, FIRST_TUNE_SEED - self.first_seed)
        check_range("tune_seeds", self.tune_seeds, 0, 10**6)
        if self.jobs != "auto":
            check_range("jobs", self.jobs, 1, 4096)
        check_range("threads", self.threads, 1, 4096)
        check_range("array", self.array, 1, 10**5)
        for factor in self.tune:
            check_range("tune", factor, 0.0, 1e9, open_low=True)
        for share in self.labels:
            check_range("labels", share, 0.0, 1.0, open_low=True)
        if not self.tune and self.tune_seeds:
            raise ValueError("tune is empty; expected at least one factor, or tune_seeds 0.")
        self.part()
        for option in self.cluster_options:
            if not all(option.partition("=")[::2]):
                raise ValueError(f"cluster option {option!r}: expected name=value, such as timeout_min=240.")

    def part(self) -> tuple[int, int]:
        """The shard as ``(i, N)``, with i from 0."""
        first, _, count = self.shard.partition("/")
        if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
            raise ValueError(f"shard {self.shard!r}: expected i/N with i from 1 to N, such as 3/8.")
        return int(first) - 1, int(count)
