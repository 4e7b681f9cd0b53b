import re
from pathlib import Path

import pytest

from pkdot.comparison.analysis import analyse
from pkdot.comparison.figure import MARKS, draw, short
from pkdot.comparison.report import write_report
from pkdot.comparison.scores import Score
from tests.comparison.toys import comparison, score

image = pytest.importorskip("matplotlib.image")
rc_context = pytest.importorskip("matplotlib").rc_context

EFFECTS = {"ot": 0.02, "kd": 0.05, "hint": -0.04, "a method with a name that is far too long": 0.0}


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.mark.filterwarnings("error")
def test_more_panels_make_a_larger_picture(tmp_path: Path) -> None:
    one = size(draw(comparison(EFFECTS), tmp_path / "one.png"))
    two = size(draw(comparison(EFFECTS, data=("one", "two"), seeds=3), tmp_path / "two.png"))
    assert two[0] == 2 * one[0]
    assert two[1] > one[1]


@pytest.mark.filterwarnings("error")
def test_short_panels_stand_below_each_other_beside_a_long_one(tmp_path: Path) -> None:
    scores = comparison({f"method {number}": 0.0 for number in range(30)}, data=("long",), seeds=3)
    beside = comparison({"kd": 0.0}, data=("one", "two"), seeds=3)
    three = size(draw([*scores, *beside], tmp_path / "three.png"))
    more = comparison({"kd": 0.0}, data=("one", "two", "three", "four", "five"), seeds=3)
    assert size(draw([*scores, *more], tmp_path / "six.png")) == three


@pytest.mark.parametrize("data", [("one",), ("one", "a long name, " * 3), ("one", "two", "three")])
def test_nothing_is_cut_off_at_the_sides(data: tuple[str, ...], tmp_path: Path) -> None:
    pixels = image.imread(draw(comparison(EFFECTS, data=data, seeds=3), tmp_path / "figure.png"))
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
    assert min(size(draw(scores, tmp_path / "new" / "figure.png"))) > 100


def test_every_verdict_has_a_look_of_its_own() -> None:
    assert len({(mark.shape, mark.filled) for mark in MARKS.values()}) == len(MARKS)


@pytest.mark.filterwarnings("error")
def test_names_are_no_formulas(tmp_path: Path) -> None:
    # Between two dollars matplotlib sets formulas, of which this is none: it would raise an error.
    name = "$\\frac{$ a_b \n\t $x$"
    plain = draw(comparison({name: 0.02, "kd": 0.0, "hint": 0.1}, data=(name, "two"), seeds=3), tmp_path / "a.png")
    assert min(size(plain)) > 100
    formula = draw(comparison({"$x$": 0.02}, seeds=3), tmp_path / "b.png")
    word = draw(comparison({"x": 0.02}, seeds=3), tmp_path / "c.png")
    assert formula.read_bytes() != word.read_bytes()
    with rc_context({"text.usetex": True, "text.parse_math": True, "axes.formatter.use_mathtext": True}):
        again = draw(comparison({"$x$": 0.02}, seeds=3), tmp_path / "d.png")
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


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run to report"):
        draw([], tmp_path / "figure.png")
    assert analyse(comparison({})).methods == []
