import sys
from pathlib import Path

import pytest

from benchmarks import methods
from pkdot.comparison.grid import read_grid
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.formats import p_value
from pkdot.comparison.report.inference import holm
from tests.comparison.toys import comparison
from tests.support import write_vectors

GRIDS = Path(__file__).parents[2] / "benchmarks" / "grids"


def test_every_part_is_a_grid_and_every_grid_a_part_or_the_first_look() -> None:
    names = {path.stem for path in GRIDS.glob("*.toml")}
    assert names == {*methods.PARTS, "quick"}
    for name in names:
        grid = read_grid(GRIDS / f"{name}.toml")
        assert "few labels" in grid.regimes
        assert grid.entries


def test_the_document_has_the_conclusions_and_the_reports_a_heading_deeper() -> None:
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


def test_the_recipe_is_corrected_over_the_data_sets_of_a_regime() -> None:
    scores = comparison({"kd": 0.004}, data=("a", "b", "c"), regimes=("few", "all"), noise=0.01)
    rows = [line.split(" | ") for line in methods.recipe_table(scores).splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| {data}, {regime}" for regime in ("few", "all") for data in "abc"]
    for regime in ("few", "all"):
        blocks = [block for block in analyse(scores).blocks if block.regime == regime]
        corrected = holm([line.to_none.p for block in blocks for line in block.methods])
        own = [row for row in rows if row[0].endswith(regime)]
        assert [row[7] for row in own] == [p_value(p) for p in corrected]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The results of two toy grids, published from the folder ``work``."""
    here = tmp_path / "here"
    (here / "results").mkdir(parents=True)
    (here / "grids").mkdir()
    (here / "conclusions.md").write_text("Use kd.")
    data = write_vectors(tmp_path / "toy").as_posix()
    for name in ("one", "two"):
        grid = f'[sets.toy]\ndata = {{ source = "{data}" }}\noptim = {{ epochs = 1, batch_size = 16 }}\n'
        grid += '[regimes."few labels"]\ndata = { labels = 0.4 }\n[entries.kd]\ndistill = { method = "kd" }\n'
        (here / "grids" / f"{name}.toml").write_text(grid)
    flags = ("--seeds", "2", "--tune-seeds", "0", "--jobs", "2")
    monkeypatch.setattr(methods, "PARTS", {name: methods.Part(name.title(), flags) for name in ("one", "two")})
    monkeypatch.setattr(methods, "HERE", here)
    monkeypatch.setattr(methods, "GRIDS", here / "grids")
    monkeypatch.setattr(methods, "RESULTS", here / "results")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, tmp_path / "work") == 0
    return here / "results"


def call(monkeypatch: pytest.MonkeyPatch, work: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["methods.py", "--work", str(work), *words])
    code: int = methods.main()
    return code


def test_a_folder_that_lacks_recorded_runs_leaves_the_document_alone(
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    assert {"methods.md", "one.csv", "two.csv"} <= set(before)
    assert b"## One" in before["methods.md"]
    assert b"## Two" in before["methods.md"]
    for result in (tmp_path / "work" / "runs" / "two").rglob("kd/*/result.json"):
        result.unlink()
    assert call(monkeypatch, tmp_path / "work", "--stage", "report") == 0
    assert "2 runs of two, the first of them toy / few labels / 0 / 0 / kd" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--stage", "report") == 2
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before

    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--recorded") == 0
    assert "one: 1" in capsys.readouterr().err
    assert (published / "methods.md").read_bytes() == before["methods.md"]
    assert (published / "two.csv").read_bytes() == before["two.csv"]

    (tmp_path / "new" / "runs" / "two" / "report.md").unlink()
    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--stage", "report") == 0
    assert "missing here: two has no report." in capsys.readouterr().err
    assert (published / "methods.md").read_bytes() == before["methods.md"]
