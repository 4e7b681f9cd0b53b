import re
from pathlib import Path
from typing import Any

import pytest

from pkdot.comparison.report.analysis import analyse
from pkdot.comparison.report.figure import draw
from pkdot.comparison.report.forest import GREEN, GREY, MARKS, short
from pkdot.comparison.report.formats import p_value
from pkdot.comparison.report.scores import Score
from pkdot.comparison.report.write import write_report
from tests.comparison.toys import comparison, score

image = pytest.importorskip("matplotlib.image")
rc_context = pytest.importorskip("matplotlib").rc_context

EFFECTS = {"ot": 0.02, "kd": 0.05, "hint": -0.04, "a method with a name that is far too long": 0.0}


def draw_scores(scores: list[Score], path: Path) -> Path:
    return draw(analyse(scores), path)


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.mark.filterwarnings("error")
def test_more_panels_make_a_larger_picture(tmp_path: Path) -> None:
    one = size(draw_scores(comparison(EFFECTS), tmp_path / "one.png"))
    two = size(draw_scores(comparison(EFFECTS, data=("one", "two"), seeds=3), tmp_path / "two.png"))
    assert two[0] == 2 * one[0]
    assert two[1] > one[1]


@pytest.mark.filterwarnings("error")
def test_short_panels_stand_below_each_other_beside_a_long_one(tmp_path: Path) -> None:
    scores = comparison({f"method {number}": 0.0 for number in range(30)}, data=("long",), seeds=3)
    beside = comparison({"kd": 0.0}, data=("one", "two"), seeds=3)
    three = size(draw_scores([*scores, *beside], tmp_path / "three.png"))
    more = comparison({"kd": 0.0}, data=("one", "two", "three", "four", "five"), seeds=3)
    assert size(draw_scores([*scores, *more], tmp_path / "six.png")) == three


@pytest.mark.parametrize("data", [("one",), ("one", "a long name, " * 3), ("one", "two", "three")])
def test_nothing_is_cut_off_at_the_sides(data: tuple[str, ...], tmp_path: Path) -> None:
    pixels = image.imread(draw_scores(comparison(EFFECTS, data=data, seeds=3), tmp_path / "figure.png"))
    assert (pixels[:, [0, 1, -2, -1]] == 1).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "scores",
    [
        comparison(EFFECTS, seeds=1),
        comparison(EFFECTS, lead=0.9),
        comparison(EFFECTS, lead=-0.9),
        [score("ot", 0.5)],
        [score(name, 0.5, seed=seed) for name in ("none", "ot") for seed in range(3)],
    ],
    ids=["one run", "teacher far ahead", "teacher far behind", "no pairs", "constant"],
)
def test_degenerate_scores_are_drawn(scores: list[Score], tmp_path: Path) -> None:
    assert min(size(draw_scores(scores, tmp_path / "new" / "figure.png"))) > 100


def drawn(scores: list[Score], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The panels of the picture, with what stands in them."""
    found: list[Any] = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda self, *_, **__: found.__setitem__(slice(None), self.axes)
    )
    draw_scores(scores, Path("x.png"))  # never written
    return found


def lines_at(axes: Any, place: float) -> list[tuple[list[float], str, str]]:
    """x, colour and shape of the lines that lie level at a height."""
    lines = [(list(line.get_xdata()), line) for line in axes.lines if set(line.get_ydata()) == {place}]
    return [([float(value) for value in x], line.get_color(), line.get_marker()) for x, line in lines]


def test_a_line_shows_its_difference_interval_and_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = comparison(EFFECTS)
    (panel,) = drawn(scores, monkeypatch)
    (block,) = analyse(scores).blocks
    shown = [*(line for line in block.controls if line.entry not in ("teacher", "none")), *block.methods]
    assert [label.get_text() for label in panel.get_yticklabels()] == [short(line.entry) for line in shown]
    bottom, top = panel.get_ylim()
    assert top < 0 < len(shown) - 1 < bottom
    for place, line in enumerate(shown):
        bar, *_, dot = lines_at(panel, place)
        kind = "control" if line in block.controls else line.verdict.removesuffix(" shown, non-inferior")
        mark = MARKS[kind.removesuffix(" shown")]
        assert dot == ([pytest.approx(100 * line.to_none.mean)], mark.colour, mark.shape)
        assert bar[:2] == (pytest.approx([100 * line.to_none.low, 100 * line.to_none.high]), mark.colour)
    assert {MARKS[name].colour for name in ("helps", "harms", "no difference", "control")} == {
        line.get_color() for line in panel.lines if line.get_marker() in "ovD"
    }
    lead = 100 * block.line("teacher").to_none.mean  # type: ignore[union-attr]
    assert panel.get_title(loc="left") == "toy, few"
    assert panel.get_title(loc="right") == f"teacher {lead:+.1f}"
    assert [lead] in [list(line.get_xdata())[:1] for line in panel.lines if line.get_linestyle() == "--"]
    dividers = [line.get_ydata()[0] for line in panel.lines if line.get_color() == GREY and len(line.get_xdata()) == 2]
    assert 2.5 in dividers  # between three controls and the methods


def test_an_entry_without_pairs_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (panel,) = drawn([*comparison({"ot": 0.02}), score("kd", 0.5, seed=99)], monkeypatch)
    assert [label.get_text() for label in panel.get_yticklabels()][3:] == ["ot"]


@pytest.mark.parametrize(("sign", "arrow"), [(1, ">"), (-1, "<")])
def test_values_beyond_the_panel_are_arrows_at_its_side(sign: int, arrow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"teacher": sign * 0.45, "none": 0.0, "all labels": sign * 0.4, "ot": 0.001, "kd": 0.002}
    scores = [score(name, 0.5 + gain, seed=seed) for seed in range(3) for name, gain in gains.items()]
    scores += [score("hint", 0.5 + gain, seed=seed) for seed, gain in ((3, 0.06), (4, -0.06))]
    scores += [score("none", 0.5, seed=seed) for seed in (3, 4)]
    (panel,) = drawn(scores, monkeypatch)
    left, right = panel.get_xlim()
    side = right if sign > 0 else left
    assert lines_at(panel, -0.6) == [([side], GREEN, arrow)]
    assert lines_at(panel, 0) == [([side], "black", arrow)]
    (told,) = panel.texts
    assert told.get_text() == f"{40 * sign:+.1f}"
    assert told.get_ha() == ("right" if sign > 0 else "left")
    ends = {(x[0], shape) for x, _, shape in lines_at(panel, 3) if shape in ("<", ">")}
    assert ends == {(left, "<"), (right, ">")}
    assert [x for x, _, shape in lines_at(panel, 3) if shape == "None"] == [[left, right]]


def test_the_diagram_has_ranks_names_bars_and_the_critical_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = comparison({"a": 0.03, "b": 0.02, "c": 0.01, "d": 0.031}, data=tuple("123456"), seeds=4, noise=0.001)
    ranks = analyse(scores).ranks
    assert ranks is not None
    diagram = drawn(scores, monkeypatch)[-1]
    assert f"p of Friedman's test {p_value(ranks.p)}" in diagram.get_title(loc="left")
    named = {text.get_text(): text for text in diagram.texts}
    assert any(name.startswith(f"critical difference {ranks.critical_difference:.2f}: ") for name in named)
    half = (len(ranks.entries) + 1) // 2
    for place, (entry, mean) in enumerate(zip(ranks.entries, ranks.mean_ranks, strict=True)):
        text = named[f"{entry}  {mean:.2f}" if place < half else f"{mean:.2f}  {entry}"]
        assert text.get_ha() == ("right" if place < half else "left")
        assert text.get_style() == ("italic" if entry == "none" else "normal")
        assert any(line.get_xdata()[0] == mean and len(line.get_xdata()) == 3 for line in diagram.lines)
    (difference,) = [line for line in diagram.lines if line.get_marker() == "|"]
    assert list(difference.get_xdata()) == [1, pytest.approx(1 + min(ranks.critical_difference, 4))]
    bars = [list(line.get_xdata()) for line in diagram.lines if line.get_linewidth() == 3]
    assert bars == [
        [pytest.approx(ranks.mean_ranks[first], abs=0.06), pytest.approx(ranks.mean_ranks[last], abs=0.06)]
        for first, last in ranks.groups
    ]
    assert bars


def test_the_legend_has_the_marks_of_the_picture_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def read(self: Any, *_: object, **__: object) -> None:
        found[:] = [text.get_text() for part in self.subfigs for key in part.legends for text in key.get_texts()]

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", read)
    draw_scores(comparison({"ot": 0.02}, seeds=3), Path("x.png"))
    assert found[0] == "undistilled student"
    assert {MARKS[name].meaning for name in ("control", "helps")} <= set(found)
    assert MARKS["harms"].meaning not in found
    assert any(name.startswith("teacher") for name in found)
    draw_scores([score(name, 0.5, seed=seed) for name in ("none", "ot") for seed in range(3)], Path("x.png"))
    assert not any(name.startswith("teacher") for name in found)


def test_every_verdict_has_a_look_of_its_own() -> None:
    assert len({(mark.shape, mark.filled) for mark in MARKS.values()}) == len(MARKS)
    assert len({MARKS[name].colour for name in ("control", "helps", "harms", "no difference")}) == 4


@pytest.mark.filterwarnings("error")
def test_names_are_no_formulas(tmp_path: Path) -> None:
    # Between two dollars matplotlib sets formulas, of which this is none: it would raise an error.
    name = "$\\frac{$ a_b \n\t $x$"
    plain = draw_scores(
        comparison({name: 0.02, "kd": 0.0, "hint": 0.1}, data=(name, "two"), seeds=3), tmp_path / "a.png"
    )
    assert min(size(plain)) > 100
    formula = draw_scores(comparison({"$x$": 0.02}, seeds=3), tmp_path / "b.png")
    word = draw_scores(comparison({"x": 0.02}, seeds=3), tmp_path / "c.png")
    assert formula.read_bytes() != word.read_bytes()
    with rc_context({"text.usetex": True, "text.parse_math": True, "axes.formatter.use_mathtext": True}):
        again = draw_scores(comparison({"$x$": 0.02}, seeds=3), tmp_path / "d.png")
    assert again.read_bytes() == formula.read_bytes()


def test_long_names_are_cut() -> None:
    assert short("ot+kd") == "ot+kd"
    assert short("x" * 31) == "x" * 29 + "…"
    assert short("x" * 30) == "x" * 30
    assert short("a\n b") == "a b"


def test_the_report_shows_the_picture(tmp_path: Path) -> None:
    path = write_report(comparison({"ot": 0.02}, seeds=2), tmp_path, command="c")
    assert "(report.png)" in path.read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"', page)


def test_the_picture_is_also_a_pdf_and_an_svg_and_the_same_every_time(tmp_path: Path) -> None:
    scores = comparison(EFFECTS, data=("one", "two"), seeds=3)
    first, again = (draw_scores(scores, tmp_path / name / "report.png") for name in ("first", "again"))
    assert sorted(path.name for path in first.parent.iterdir()) == ["report.pdf", "report.png", "report.svg"]
    for ending in (".png", ".pdf", ".svg"):
        assert first.with_suffix(ending).read_bytes() == again.with_suffix(ending).read_bytes()
    assert first.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    drawing = first.with_suffix(".svg").read_text(encoding="utf-8")
    assert re.search(r"<text [^>]*>kd</text>", drawing)
    assert not re.search(r"date|20\d\d-\d\d-\d\d", drawing)


def test_controls_alone_are_drawn(tmp_path: Path) -> None:
    scores = comparison({}, seeds=3)
    assert analyse(scores).methods == []
    assert min(size(draw_scores(scores, tmp_path / "figure.png"))) > 100
