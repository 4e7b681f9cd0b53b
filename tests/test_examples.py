"""The examples in docstrings: they run, and the rooms that users call have one for every public name."""

import doctest
import importlib
import inspect
import re
from types import ModuleType

import pytest

from tests.house import ROOT, sources, texts

WITH_EXAMPLES: list[str] = [
    *("pkdot.data", "pkdot.encoders", "pkdot.students", "pkdot.teachers"),
    "pkdot.losses",
    *("pkdot.checks", "pkdot.methods", "pkdot.metrics", "pkdot.names", "pkdot.ranking", "pkdot.recipes"),
    *("pkdot.structure", "pkdot.tasks"),
    *("pkdot.distributed", "pkdot.model", "pkdot.precision", "pkdot.storage"),
    *(f"pkdot.transport.{room}" for room in ("backends", "constants", "divergence", "histograms", "operator")),
    "pkdot.transport.solvers.matrix",
    *(f"pkdot.training.{room}" for room in ("advice", "checkpoints", "device", "evaluation", "interrupt", "logbook")),
    *(f"pkdot.training.{room}" for room in ("model_file", "network", "panels", "progress", "provenance")),
    *(f"pkdot.training.{room}" for room in ("run_folder", "schedule")),
    "pkdot.comparison.grid",
    *(f"pkdot.comparison.report.{room}" for room in ("analysis", "document", "formats", "inference", "markdown")),
    *(f"pkdot.comparison.report.{room}" for room in ("ranks", "scores", "sentences", "tables")),
    *(f"pkdot.cli.{room}" for room in ("arguments", "console", "flags", "overview", "run_settings", "streams")),
]
"""Modules and packages in which every public function and class has an example."""
SLOW_OR_OPTIONAL = ("pkdot.__main__", "pkdot.comparison.preloaded", "pkdot.transport.kernels")
"""Not imported here: they run something, or need what may not be installed."""

MODULES = sorted(name for name in sources() if not name.startswith(SLOW_OR_OPTIONAL))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    module = importlib.import_module(name)
    parser, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed = [f"{test.name}" for test in parser.find(module, name) if runner.run(test).failed]
    assert not failed


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(tuple(WITH_EXAMPLES))])
def test_every_public_name_has_an_example(name: str) -> None:
    module = importlib.import_module(name)
    assert [each for each, doc in _public(module) if ">>>" not in doc] == []


def test_tables_that_docstrings_name_exist() -> None:
    named = {path for text in texts().values() for path in re.findall(r"benchmarks/results/[\w/]+\.\w+", text)}
    assert named
    assert {path for path in named if not (ROOT / path).is_file()} == set()


def _public(module: ModuleType) -> list[tuple[str, str]]:
    """Functions and classes that are defined in a module and whose names do not begin with a stroke."""
    return [
        (name, inspect.getdoc(value) or "")
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
