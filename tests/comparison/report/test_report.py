import csv
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown import Markdown
from scipy import stats

from pkdot.comparison.report import analysis
from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.inference import gap_closed
from pkdot.comparison.report.markdown import markdown
from pkdot.comparison.report.page import html
from pkdot.comparison.report.scores import Score
from pkdot.comparison.report.write import write_report
from tests.comparison.toys import EFFECTS, comparison, reported, row, score, tables, told

VOID = {"meta", "img", "br", "hr"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects the cells of the tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.cell = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.tags.append(tag)
        if tag in ("h1", "h2", "li", "p"):
            self.texts.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = len(self.rows[-1])
            self.rows[-1] += [""] * int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][self.cell] += data
        elif {"h1", "h2", "li", "p"} & set(self.open):
            self.texts[-1] += data


def test_every_row_has_the_columns_of_its_header() -> None:
    scores = comparison(EFFECTS | {"a|b": 0.01}, data=("one", "two"), regimes=("few", "all"))
    found = tables(told(scores))
    assert len(found) == 1 + 1 + 4
    for table in found:
        assert len({len(cells) for cells in table}) == 1
        assert set("".join(table[1])) <= {"-", ":"}


def test_a_line_has_the_figures_of_the_corrected_test() -> None:
    scores = comparison({"ot": 0.02})
    runs = {name: np.array([s.value for s in scores if s.entry == name]) for name in ("ot", "none", "teacher")}
    difference, lead = runs["ot"] - runs["none"], runs["teacher"] - runs["none"]
    half = stats.t.ppf(0.975, 7) * difference.std(ddof=1) * math.sqrt(1 / 8 + 1 / 3)
    cells = row(told(scores), "ot")
    mean = 100 * difference.mean()
    assert cells[1] == "8"
    spread = stats.t.ppf(0.975, 7) * runs["ot"].std(ddof=1) * math.sqrt(1 / 8 + 1 / 3)
    assert cells[2] == f"{100 * runs['ot'].mean():.2f} ± {100 * spread:.2f}"
    closed = gap_closed(difference, lead, 1 / 3)
    assert closed is not None
    assert closed.interval is not None
    ends = f"[{100 * closed.interval.low:.0f}, {100 * closed.interval.high:.0f}]"
    assert cells[3] == f"{100 * difference.mean() / lead.mean():.0f} % {ends}"
    assert cells[4] == f"{mean:+.2f} [{mean - 100 * half:+.2f}, {mean + 100 * half:+.2f}]"
    assert cells[-1] == "helps"


def test_negative_results_stand_beside_positive_ones() -> None:
    text = told(comparison(EFFECTS))
    assert row(text, "hint")[-1] == "harms"
    assert row(text, "kd")[-1] == "helps"
    assert row(text, "sp")[-1] == "no difference shown, non-inferior"
    assert "- hint: harms on toy (few)." in text
    assert "of 4 comparisons 2 help, 1 harm and 1 show no difference (1 of these non-inferior)" in text
    assert re.search(r"\| hint \| -\d\.\d\d \*\*\* \|", text)


def test_controls_stand_on_top_and_methods_from_best_to_worst() -> None:
    (table,) = [rows for rows in tables(told(comparison(EFFECTS))) if rows[0][0] == "entry"]
    assert [cells[0] for cells in table[2:]] == [
        "**controls**",
        "teacher",
        "none",
        "all labels",
        "self-training",
        "kd from prevalent teacher",
        "**methods**",
        "kd",
        "ot",
        "sp",
        "hint",
    ]
    assert row(told(comparison(EFFECTS)), "self-training")[5:] == ["–", "–", "–", "–", "–", ""]


def test_the_families_are_corrected_apart() -> None:
    (block,) = analyse(comparison(EFFECTS, noise=0.02)).blocks
    worst = max(block.methods, key=lambda line: line.to_none.p)
    best = min(block.methods, key=lambda line: line.to_none.p)
    assert best.p == pytest.approx(min(4 * best.to_none.p, 1.0))
    assert worst.p >= worst.to_none.p
    others = [line for line in block.methods if line.entry != "ot"]
    nearest = min(others, key=lambda line: line.to_ot.p)
    assert nearest.p_ot == pytest.approx(min(3 * nearest.to_ot.p, 1.0))
    assert all(math.isnan(line.p_ot) for line in block.methods if line.entry == "ot")
    ahead = min(block.methods, key=lambda line: line.to_control.p)
    assert ahead.p_control == pytest.approx(min(4 * ahead.to_control.p, 1.0))


def test_methods_are_compared_with_the_teacher_without_privileged_modalities() -> None:
    scores = comparison(EFFECTS)
    runs = {
        name: np.array([s.value for s in scores if s.entry == name]) for name in ("kd", "kd from prevalent teacher")
    }
    mean = 100 * (runs["kd"] - runs["kd from prevalent teacher"]).mean()
    text = told(scores)
    assert row(text, "kd")[8].startswith(f"{mean:+.2f} [")
    assert row(text, "kd")[9] == "<0.001"
    without = told([s for s in scores if s.entry != "kd from prevalent teacher"])
    assert "difference to control" in text
    assert "difference to control" not in without


def test_the_test_is_named_and_so_are_missing_runs() -> None:
    scores = [s for s in comparison(EFFECTS) if not (s.entry == "kd" and s.seed in (1, 2))]
    text = told(scores, notes=("Weights were chosen on validation.",))
    assert "Nadeau and Bengio 2003" in text
    assert "one family, all methods against none within one data set and regime" in text
    assert "Runs of each entry: 8, on 8 splits; missing: kd 2." in text
    assert "- Weights were chosen on validation." in text
    assert "pkdot-compare --seeds 8" in text
    assert row(text, "kd")[1] == "6"


def test_a_method_that_one_data_set_lacks_is_reported_on_the_others() -> None:
    scores = [s for s in comparison(EFFECTS, data=("one", "two")) if (s.entry, s.data) != ("kd", "two")]
    text = told(scores)
    assert "- kd: helps on one (few)." in text
    (summary,) = [rows for rows in tables(text) if rows[0][0] == "method"]
    assert [cells[2] for cells in summary if cells[0] == "kd"] == ["–"]


def test_one_run_has_no_test_and_says_so() -> None:
    text = told(comparison(EFFECTS, seeds=1))
    assert "on 1 split, too few for an interval or a test" in text
    assert {row(text, name)[-1] for name in EFFECTS} == {"too few splits"}
    assert "nan" not in text


def test_seeds_on_one_split_are_advised_to_use_folds() -> None:
    text = told([replace(score, split="its own") for score in comparison(EFFECTS, seeds=5)])
    assert "Runs of each entry: 5, on 1 split, too few for an interval or a test: all seeds use the same sam" in text


def test_a_teacher_behind_its_student_leaves_no_gap_to_close() -> None:
    text = told(comparison(EFFECTS, lead=-0.03))
    assert "The teacher does not lead" in text
    assert row(text, "kd")[3] == "–"


@pytest.mark.parametrize(
    "scores",
    [
        [score("ot", 0.5)],
        [score("teacher", 0.5)],
        [score("ot", 0.5, seed=seed) for seed in range(3)] + [score("none", 0.5, seed=seed) for seed in range(3, 6)],
        [score(name, 0.5, seed=seed) for name in ("teacher", "none", "ot", "kd") for seed in range(3)],
        [score("ot", math.nan), score("none", 0.5)],
    ],
    ids=["method alone", "teacher alone", "no pairs", "constant", "nan"],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_scores_make_a_report(scores: list[Score]) -> None:
    text = told(scores)
    assert "nan" not in text
    Page(html(reported(scores)))


def test_without_ot_there_is_no_comparison_with_it() -> None:
    text = told(comparison({"kd": 0.02, "hint": 0.0}))
    assert "difference to ot" not in text
    assert "difference to ot" not in told(comparison({"ot": 0.02}))
    assert "difference to ot" in told(comparison({"ot": 0.02, "kd": 0.0}))


def test_ranks_are_reported_or_said_to_be_left_out() -> None:
    assert "is left out: it needs at least 3 methods" in told(comparison(EFFECTS))
    text = told(comparison(EFFECTS, data=("one", "two", "three")))
    assert "Friedman's test" in text
    assert "Nemenyi's critical difference" in text


def test_colours_of_the_page_are_those_of_the_verdicts() -> None:
    page = html(reported(comparison(EFFECTS)))
    assert re.search(r'<td class="word helps">helps</td>', page)
    assert re.search(r'<td class="word harms">harms</td>', page)
    assert re.search(r'<td class="word tie">no difference shown, non-inferior</td>', page)
    assert re.search(r'<td class="harms">-\d\.\d\d \[', page)


def test_the_page_has_the_rows_of_the_markdown() -> None:
    scores = comparison(EFFECTS | {"<b> & 'c'": 0.01}, data=("one", "two"))
    page = Page(html(reported(scores, title="A < B", command="pkdot-compare --out 'a & b'")))
    expected = [
        [unescape(cell.strip("*") if cell.startswith("**") else cell) for cell in cells]
        for table in tables(told(scores))
        for cells in (table[0], *table[2:])
    ]
    assert page.rows == expected


NAMES = (
    "ot+0.5*kd+2*hint",
    "<script>alert(1)</script>",
    "a|b||c",
    "[x](http://there) and ![x](y.png)",
    "[x]: y",
    "*_** __init__ _x_ a_b ***",
    "`code` ``` fence",
    "one\n\n# two\r\n- three",
    "# heading #",
    "1. first",
    "12) twelfth",
    "- bullet",
    "+ bullet",
    "> quote",
    "[ ] task",
    "a\\b \\* \\\\| \\",
    "&lt; &#42; & <0.001 a<b",
    "-- --- ==",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_with_markup_are_shown_as_they_are(name: str) -> None:
    scores = comparison({name: 0.02, "kd": 0.0}, data=(name, "other"), regimes=(f"in {name}", "r"), seeds=3)
    report = reported(scores, title=name, command="c", notes=(name, f"{name}: note"))
    page, rendered = Page(html(report)), Page(rendered_by_another(markdown(report)))
    # A browser shows a line break as a space.
    assert rendered.rows == [[" ".join(cell.split()) for cell in row] for row in page.rows]
    assert rendered.texts == [" ".join(text.split()) for text in page.texts]
    assert {tag for tag in rendered.tags if tag not in page.tags} <= {"code", "strong"}
    assert rendered.tags.count("code") == 1
    plain = " ".join(name.split())
    assert f"{plain}, in {plain}" in rendered.texts
    assert plain in rendered.texts


def rendered_by_another(text: str) -> str:
    """As HTML, by a renderer that knows nothing of this project."""
    return str(Markdown(extensions=["tables", "fenced_code", "sane_lists"]).convert(text))


def test_strikes_formulas_and_entities_are_escaped_too() -> None:
    # Not every renderer knows them: GitHub's does.
    text = told(comparison({"~~x~~ $y$ &gt; <!-- z": 0.02}))
    assert "| &#126;&#126;x&#126;&#126; &#36;y&#36; &#38;gt; &#60;!-- z |" in text


def test_the_text_of_the_report_itself_is_not_escaped() -> None:
    text = told(comparison(EFFECTS))
    assert "standard error sqrt((1/J + n_test/n_train) s²)" in text
    assert re.search(r"\| \+\d\.\d\d \*\*\* \|", text)
    assert "\\" not in text
    assert "&" not in text


@pytest.mark.parametrize("command", ["pkdot-compare --data 'a```b'", "a\n````\n# b `c`", "plain"])
def test_the_command_is_shown_as_it_is(command: str) -> None:
    text = markdown(reported(comparison({"ot": 0.02}), command=command))
    shown = rendered_by_another(text)
    (code,) = re.findall(r"<pre><code>(.*?)\n?</code></pre>", shown, flags=re.DOTALL)
    assert unescape(code) == command
    # Readers differ in what closes a block: this one does in none of them.
    fence = text.splitlines()[2]
    assert set(fence) == {"`"}
    assert fence not in command
    assert shown.count("<h1") == 1


def test_a_report_on_disk_needs_no_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO", logger="pkdot"):
        path = write_report(comparison(EFFECTS), tmp_path / "new", command="c")
    assert sorted(found.name for found in path.parent.iterdir()) == ["report.html", "report.md", "scores.csv"]
    assert "pip install 'pkdot[report]'" in caplog.text
    assert "report.png" not in path.read_text(encoding="utf-8")


def test_scores_are_analysed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = analysis._compared
    seen: list[str] = []
    monkeypatch.setattr(analysis, "_compared", lambda block: (seen.append(block.data), compared(block))[1])
    write_report(comparison({"ot": 0.02}, data=("one", "two"), seeds=2), tmp_path, command="c")
    assert seen == ["one", "two"]


def test_the_scores_on_disk_are_those_of_the_report(tmp_path: Path) -> None:
    scores = comparison({"ot": 0.02, "ot+kd, odd": 0.01})
    with (write_report(scores, tmp_path, command="c").with_name("scores.csv")).open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["entry"] for line in lines] == [score.entry for score in scores]
    assert [float(line["value"]) for line in lines] == [score.value for score in scores]
    assert {line["split"] for line in lines} == {f"split {seed}" for seed in range(8)}


def test_a_figure_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: cannot be read"):
        html(reported(comparison(EFFECTS)), figure=tmp_path / "none.png")


def test_nothing_to_report_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run to report"):
        write_report([], tmp_path / "out", command="c")
    assert not (tmp_path / "out").exists()


def test_the_report_needs_no_torch() -> None:
    code = "import sys, pkdot.comparison.report.write; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
