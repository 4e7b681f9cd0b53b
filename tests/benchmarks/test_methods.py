import importlib
from pathlib import Path
from types import ModuleType

import pytest

from pkdot.comparison.analysis import analyse
from pkdot.comparison.grid import read_grid
from pkdot.comparison.statistics import holm
from pkdot.comparison.tables import p_value
from tests.comparison.toys import comparison

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("benchmarks.methods")


def test_every_part_is_a_grid_and_every_grid_a_part_or_the_first_look(methods: ModuleType) -> None:
    names = {path.stem for path in BENCHMARKS.glob("*.toml")}
    assert names == {*methods.PARTS, "quick"}
    for name in names:
        grid = read_grid(BENCHMARKS / f"{name}.toml")
        assert "few labels" in grid.regimes
        assert grid.entries


def test_the_document_has_the_conclusions_and_the_reports_a_heading_deeper(methods: ModuleType) -> None:
    head = "# Title\n\n```\npkdot-compare --grid here.toml\n```\n\n![All](report.png)\n\n"
    report = f"{head}## In short\n\nkd helps.\n\n## toy, few\n\n| a |\n"
    text = methods.compose("Use kd.\n", "| promised |", {"rivals": report})
    assert text.startswith("# Distillation methods compared\n")
    assert "\nUse kd.\n\n| promised |\n\n## Every method on vectors and signals\n" in text
    assert "](rivals.png)" in text
    assert text.index("| promised |") < text.index("## Every method")
    assert "\n### In short\n\nkd helps.\n\n### toy, few\n" in text
    assert "here.toml" not in text
    assert ".png" not in methods.compose(
        "Use kd.\n", "| promised |", {"rivals": report.replace("![All](report.png)\n\n", "")}
    )


def test_the_recipe_is_corrected_over_the_data_sets_of_a_regime(methods: ModuleType) -> None:
    scores = comparison({"kd": 0.004}, data=("a", "b", "c"), regimes=("few", "all"), noise=0.01)
    rows = [line.split(" | ") for line in methods.recipe_table(scores).splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| {data}, {regime}" for regime in ("few", "all") for data in "abc"]
    for regime in ("few", "all"):
        blocks = [block for block in analyse(scores).blocks if block.regime == regime]
        corrected = holm([line.to_none.p for block in blocks for line in block.methods])
        own = [row for row in rows if row[0].endswith(regime)]
        assert [row[7] for row in own] == [p_value(p) for p in corrected]
