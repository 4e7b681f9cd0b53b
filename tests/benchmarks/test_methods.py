import importlib
from pathlib import Path
from types import ModuleType

import pytest

from pkdot.comparison.grid import read_grid

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("benchmarks.methods")


def test_every_part_is_a_grid_and_every_grid_a_part(methods: ModuleType) -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.toml")} == set(methods.PARTS)
    for name in methods.PARTS:
        grid = read_grid(BENCHMARKS / f"{name}.toml")
        assert "few labels" in grid.regimes
        assert grid.entries


def test_the_document_has_the_conclusions_and_the_reports_a_heading_deeper(methods: ModuleType) -> None:
    head = "# Title\n\n```\npkdot-compare --grid here.toml\n```\n\n![All](report.png)\n\n"
    report = f"{head}## In short\n\nkd helps.\n\n## toy, few\n\n| a |\n"
    text = methods.compose("Use kd.\n", {"rivals": report})
    assert text.startswith("# Distillation methods compared\n")
    assert "\nUse kd.\n\n## Every method on vectors and signals\n" in text
    assert "](rivals.png)" in text
    assert "\n### In short\n\nkd helps.\n\n### toy, few\n" in text
    assert "here.toml" not in text
    assert ".png" not in methods.compose("Use kd.\n", {"rivals": report.replace("![All](report.png)\n\n", "")})
