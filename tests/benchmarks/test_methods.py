import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import methods
from benchmarks.pages import Part, chapters, part_page, recipe_table, short_page
from pkdot.comparison.grid_source import read_grid
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.formats import p_value, points
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


REPORT = "# Title\n\n```\npkdot-compare --grid here.toml\n```\n\n![All](report.png)\n\n## In short\n\nkd helps.\n"
CONCLUSIONS = "Use kd.\n\n## rivals\n\nkd leads.\n\n## history\n\nIt came about.\n"


def test_a_part_has_a_page_with_its_conclusions_its_figure_and_its_report() -> None:
    part = Part("Every method", ("--seeds", "1"))
    text = part_page("rivals", part, chapters(CONCLUSIONS)["rivals"], REPORT)
    assert text.startswith("# Every method\n\n`benchmarks/grids/rivals.toml`, --seeds 1; one part of [")
    assert "\n\n## What it shows\n\nkd leads.\n\n![Differences to the undistilled student](../rivals.png)\n\n" in text
    assert text.endswith("\n\n## In short\n\nkd helps.\n")
    assert "here.toml" not in text
    assert ".png" not in part_page("rivals", part, "", REPORT.replace("![All](report.png)\n\n", ""))


def test_the_short_page_has_a_table_for_each_regime_over_the_data_sets_of_all_shown_parts() -> None:
    parts = {"recipe": Part("Recipe", ()), "rivals": Part("R", (), shown=True), "frames": Part("F", (), shown=True)}
    found = {
        "recipe": analyse(comparison({"kd": 0.02}, data=("a",))),
        "rivals": analyse(comparison({"ot": 0.02, "kd": 0.05}, data=("a", "b"), regimes=("few", "all"))),
        "frames": analyse(comparison({"hint": -0.05}, data=("c",))),
    }
    text = short_page(chapters(CONCLUSIONS), parts, found)
    assert text.index("| data set |") < text.index("Use kd.") < text.index("### Few") < text.index("### All")
    few, every = text[text.index("### Few") : text.index("### All")], text[text.index("### All") :]
    assert "| method | a | b | c |" in few
    assert "| method | a | b |\n" in every
    (kd,) = [block.line("kd") for block in found["rivals"].blocks if (block.data, block.regime) == ("b", "few")]
    assert kd is not None
    row = next(line for line in few.splitlines() if line.startswith("| kd |"))
    assert row.split(" | ")[2:] == [f"{points(kd.to_none.mean)} ***", "– |"]
    assert next(line for line in few.splitlines() if line.startswith("| teacher |")).count("+") == 3
    assert "](rivals.png)" in text
    for name in ("recipe", "rivals", "frames", "history"):
        assert f"](methods/{name}.md)" in text


def test_the_recipe_is_corrected_over_the_data_sets_of_a_regime() -> None:
    found = analyse(comparison({"kd": 0.004}, data=("a", "b", "c"), regimes=("few", "all"), noise=0.01))
    table = recipe_table(found)
    assert [name for name, _ in table.groups] == ["few", "all"]
    for regime, rows in table.groups:
        assert [row[0].text for row in rows] == ["a", "b", "c"]
        blocks = [block for block in found.blocks if block.regime == regime]
        corrected = holm([line.to_none.p for block in blocks for line in block.methods])
        assert [row[7].text for row in rows] == [p_value(p) for p in corrected]


def rounded(figures: Iterable[str], like: str) -> set[float]:
    """Figures with as many places as one has."""
    return {round(float(figure), len(like.partition(".")[2])) for figure in figures}


@pytest.mark.parametrize("name", ["", *methods.PARTS])
def test_every_figure_of_the_conclusions_stands_in_a_table(name: str) -> None:
    results = methods.RESULTS / "methods"
    pages = [results / f"{name}.md"] if name else list(results.glob("*.md"))
    tables = [line for page in pages for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    told = chapters((methods.HERE / "conclusions.md").read_text("utf-8"))[name]
    pattern = r"(?<![\w.-])[+-]\d+(?:\.\d+)?(?!\w)|\d+\.\d\d|\d+(?= %)|(?<=Holm p )\d\.\d+"
    quoted = re.findall(pattern, " ".join(told.split()))
    assert quoted
    known = re.findall(r"(?<![\w.])[+-]?\d+(?:\.\d+)?", "\n".join(tables))
    signed = [figure for figure in known if figure[0] in "+-"]
    for figure in quoted:
        assert float(figure) in rounded(signed if figure[0] in "+-" else known, figure), figure


def test_the_first_table_comes_soon() -> None:
    lines = (methods.RESULTS / "methods.md").read_text("utf-8").splitlines()
    assert next(place for place, line in enumerate(lines, start=1) if line.startswith("|")) <= 30


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (methods.RESULTS / "methods.md", *(methods.RESULTS / "methods").glob("*.md")):
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).is_file(), link


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
    monkeypatch.setattr(methods, "PARTS", {name: Part(name.title(), flags) for name in ("one", "two")})
    monkeypatch.setattr(methods, "HERE", here)
    monkeypatch.setattr(methods, "GRIDS", here / "grids")
    monkeypatch.setattr(methods, "RESULTS", here / "results")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, tmp_path / "work") == 0
    return here / "results"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


def call(monkeypatch: pytest.MonkeyPatch, work: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["methods.py", "--work", str(work), *words])
    code: int = methods.main()
    return code


def test_without_all_recorded_runs_the_committed_pages_stay(
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    before = contents(published)
    assert {"methods.md", "one.csv", "two.csv", "one.md", "two.md"} <= set(before)
    assert b"[One](methods/one.md)" in before["methods.md"]
    assert before["two.md"].startswith(b"# Two\n")
    for result in (tmp_path / "work" / "runs" / "two").rglob("kd/*/result.json"):
        result.unlink()
    assert call(monkeypatch, tmp_path / "work", "--stage", "report") == 0
    assert "2 runs of two, the first of them toy / few labels / 0 / 0 / kd" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--stage", "report") == 2
    assert contents(published) == before

    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--recorded") == 0
    assert "one: 1" in capsys.readouterr().err
    assert (published / "methods.md").read_bytes() == before["methods.md"]
    assert (published / "two.csv").read_bytes() == before["two.csv"]

    (tmp_path / "new" / "runs" / "two" / "report.md").unlink()
    assert call(monkeypatch, tmp_path / "new", "--parts", "one", "--stage", "report") == 0
    assert "missing here: two has no report." in capsys.readouterr().err
    assert (published / "methods.md").read_bytes() == before["methods.md"]
