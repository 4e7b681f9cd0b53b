"""Do the tests notice wrong code? Change one operator or number at a time and run the tests that cover it.

cosmic-ray makes the mutants; this script draws a seeded sample of them and runs, for each, the tests that pass through
the changed statement, the fastest first, until one fails. It changes files in place and restores them: run it on a
copy of the tree, from the copy's root, in an environment with cosmic-ray and coverage. Neither is needed otherwise.

    cp -r CHECKOUT COPY && cd COPY && ln -s ../teachers ../students pkdot/
    python -m benchmarks.mutants --modules pkdot/losses pkdot/tasks.py --tests tests/losses tests/test_tasks.py \
        --count 120 --seed 15 --out OUT

A stopped run is resumed. After new tests were written, `--again` measures what they cover and tries the survivors
again.
"""

import argparse
import ast
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest
from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

PRELOADED = ("torch", "scipy.stats", "ot", "hypothesis")
"""Imported once, before the tests of each mutant run in a fork; nothing of what is mutated."""


@dataclass(frozen=True)
class Mutant:
    """One change: a file, cosmic-ray's operator, the number of its place in the file, and the line."""

    path: str
    operator: str
    occurrence: int
    line: int

    def code(self, source: str) -> str | None:
        """The file with the change, or None where the operator changes nothing."""
        mutated: str | None = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        return mutated


def draw(modules: list[Path], count: int, seed: int) -> list[Mutant]:
    """Draw places at random, then one of the possible changes at each place; annotations are left alone."""
    places: dict[tuple[str, int, int], list[Mutant]] = defaultdict(list)
    for item in _all_work_items(modules, {}):
        (spec,) = item.mutations
        mutant = Mutant(str(spec.module_path), spec.operator_name, spec.occurrence, spec.start_pos[0])
        places[mutant.path, *spec.start_pos].append(mutant)
    annotated = {str(path): annotations(path.read_text()) for path in modules}
    generator = random.Random(seed)
    order = sorted(places)
    generator.shuffle(order)
    drawn: list[Mutant] = []
    for path, line, column in order:
        mutant = generator.choice(places[path, line, column])
        free = not any(low <= (line, column) < high for low, high in annotated[path])
        if len(drawn) < count and free and changes_meaning(Path(path).read_text(), mutant):
            drawn.append(mutant)
    return drawn


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the type annotations of a file begin and end."""
    nodes = [getattr(node, field, None) for node in ast.walk(ast.parse(source)) for field in ("annotation", "returns")]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n is not None]


def changes_meaning(source: str, mutant: Mutant) -> bool:
    """Whether the changed text is a valid program that differs from the original."""
    mutated = mutant.code(source)
    try:
        return mutated is not None and ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def statement(source: str, line: int) -> tuple[range, range]:
    """The lines of the statement around a line (of its head, if it has a body), and of the definition around it."""
    inner, outer = range(line, line + 1), range(0)
    for node in ast.walk(ast.parse(source)):  # outer nodes come before inner ones
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            end = (node.end_lineno or node.lineno) + 1
            body = getattr(node, "body", None)
            inner = range(node.lineno, max(body[0].lineno, line + 1) if body else end)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                outer = range(node.lineno, end)
    return inner, outer


class Recorder:
    """A pytest plugin: which lines each test runs, and how long it takes."""

    def __init__(self, tracer: coverage.Coverage) -> None:
        self.tracer, self.seconds = tracer, defaultdict[str, float](float)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """From here on, lines belong to this test."""
        self.tracer.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Set-up, call and tear-down count."""
        self.seconds[report.nodeid] += report.duration


def in_a_fork(log: Path, limit: float, work: Any) -> int:
    """The exit code of a function in a new process, or 124 if it took longer than its limit."""
    process = os.fork()
    if process == 0:
        os.setsid()
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        os._exit(work())
    end, done, status = time.monotonic() + limit, 0, 0
    try:
        while not done and time.monotonic() < end:
            time.sleep(0.05)
            done, status = os.waitpid(process, os.WNOHANG)
    finally:
        if not done:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) if done else 124


def run_tests(*arguments: str, plugins: tuple[Any, ...] = ()) -> int:
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments], plugins=plugins))


def measure(modules: list[Path], tests: list[str], out: Path) -> None:
    """Run all tests once on the unchanged code, and write what each covers and how long it takes."""

    def work() -> int:
        include = [str(path) for path in modules]
        tracer = coverage.Coverage(data_file=str(out / "coverage"), include=include, config_file=False)
        tracer.start()
        recorder = Recorder(tracer)
        code = run_tests(*tests, plugins=(recorder,))
        tracer.stop()
        tracer.save()
        (out / "seconds.json").write_text(json.dumps(recorder.seconds))
        return code

    (out / "coverage").unlink(missing_ok=True)
    if in_a_fork(out / "measure.log", 3600.0, work):
        sys.exit(f"the tests do not pass on the unchanged code: see {out / 'measure.log'}")


def covering(mutant: Mutant, out: Path) -> list[str]:
    """The tests that run the statement, or those of its definition or file if it runs on import."""
    data = coverage.CoverageData(str(out / "coverage"))
    data.read()
    lines = data.contexts_by_lineno(str(Path(mutant.path).resolve()))
    inner, outer = statement(Path(mutant.path).read_text(), mutant.line)
    for wanted in (inner, outer, lines):
        found = {test for line in wanted for test in lines.get(line, []) if test}
        if found:
            seconds = json.loads((out / "seconds.json").read_text())
            return sorted(found, key=lambda test: (seconds[test], test))
    return []


def attempt(mutant: Mutant, out: Path) -> dict[str, Any]:
    """Make the change, run its tests, and undo it."""
    path, tests = Path(mutant.path), covering(mutant, out)
    source = path.read_text()
    seconds = json.loads((out / "seconds.json").read_text())
    mutated = mutant.code(source) or source
    first = next(i for i, (a, b) in enumerate(zip(source.split("\n"), mutated.split("\n"), strict=False)) if a != b)
    change = {"was": source.split("\n")[first].strip(), "became": mutated.split("\n")[first].strip()}
    try:
        path.write_text(mutated)
        limit = 30.0 + 5.0 * sum(seconds[test] for test in tests)
        code = in_a_fork(out / "mutant.log", limit, lambda: run_tests(*tests)) if tests else 0
    finally:
        path.write_text(source)
    return {**asdict(mutant), **change, "tests": len(tests), "killed": code != 0, "code": code}


def table(results: list[dict[str, Any]]) -> str:
    """The counts of each module, and the survivors."""
    rows = ["| module | sampled | killed | survived |", "|---|---|---|---|"]
    for path in [*sorted({result["path"] for result in results}), ""]:
        own = [result["killed"] for result in results if path in ("", result["path"])]
        rows.append(f"| {path or 'all'} | {len(own)} | {sum(own)} | {len(own) - sum(own)} |")
    left = [result for result in results if not result["killed"]]
    rows += ["", *(f"- {r['path']}:{r['line']} ({r['tests']} tests): `{r['was']}` -> `{r['became']}`" for r in left)]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--modules", nargs="+", type=Path, required=True, help="files or folders to change")
    parser.add_argument("--tests", nargs="+", required=True, help="files or folders of tests")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for coverage, results.jsonl and table.md")
    parser.add_argument("--again", action="store_true", help="measure again, and try the survivors again")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever stops it, the file is restored
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    origin = Path((importlib.util.find_spec("pkdot") or sys.exit("pkdot is not there")).origin or "")
    if not origin.is_relative_to(Path.cwd()):
        sys.exit(f"pkdot is imported from {origin}; expected the copy in {Path.cwd()}")
    for name in PRELOADED:
        importlib.import_module(name)
    modules = sorted({file for path in options.modules for file in (path.rglob("*.py") if path.is_dir() else [path])})
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if options.again:
        results = [result for result in results if result["killed"]]
    if options.again or not (options.out / "seconds.json").exists():
        measure(modules, options.tests, options.out)
    known = {(result["path"], result["operator"], result["occurrence"]) for result in results}
    file.write_text("".join(json.dumps(result) + "\n" for result in results))
    for mutant in draw(modules, options.count, options.seed):
        if (mutant.path, mutant.operator, mutant.occurrence) in known:
            continue
        results.append(attempt(mutant, options.out))
        with file.open("a") as log:
            log.write(json.dumps(results[-1]) + "\n")
        print(f"{len(results)}/{options.count} killed={results[-1]['killed']} {mutant.path}:{mutant.line}", flush=True)
    (options.out / "table.md").write_text(table(results) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
