"""Matrices are painted row by row on one scale, with their bands marked and named."""

import numpy as np
import pytest

from pkdot.training.panels import GAP, LEFT, PANEL, TOP, Band, bands_of, draw, heat

TWO = [Band("rest", 1), Band("pain", 1)]


def picture(panels: dict[str, np.ndarray], bands: list[Band] = TWO) -> np.ndarray:
    return draw(panels, bands, low=-1.0, high=1.0, scale="similarity", caption="").astype(int)


def panel(canvas: np.ndarray, number: int) -> np.ndarray:
    left = LEFT + number * (PANEL + GAP)
    return canvas[TOP : TOP + PANEL, left : left + PANEL]


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0)])
def test_a_matrix_is_painted_row_by_row(place: tuple[int, int]) -> None:
    values = -np.ones((2, 2))
    values[place] = 1.0
    quarters = panel(picture({"only": values}), 0)[:: PANEL // 2, :: PANEL // 2][:2, :2]
    centres = panel(picture({"only": values}), 0)[PANEL // 4 :: PANEL // 2, PANEL // 4 :: PANEL // 2]
    assert quarters.shape == centres.shape == (2, 2, 3)
    red = np.argwhere(centres[..., 0] > centres[..., 2])
    assert red.tolist() == [list(place)]


def test_panels_stand_beside_each_other_under_their_titles_on_one_scale() -> None:
    canvas = picture({"cold": -np.ones((2, 2)), "warm": np.ones((2, 2)), "half": np.full((2, 2), 0.5)})
    colours = [panel(canvas, number)[PANEL // 4, PANEL // 4].tolist() for number in range(3)]
    assert colours == [[33, 60, 120], [158, 35, 40], [202, 139, 139]]
    for number in range(3):
        left = LEFT + number * (PANEL + GAP)
        assert (canvas[: TOP - 4, left : left + 60] < 128).any()
    bar = canvas[TOP : TOP + PANEL, LEFT + 3 * (PANEL + GAP) - GAP + 22]
    assert bar[0].tolist() == [158, 35, 40]
    assert bar[-1].tolist() == [33, 60, 120]


def test_blocks_have_a_line_between_them_and_a_name_on_both_axes() -> None:
    bands = [Band("rest", 3), Band("pain", 1)]
    canvas = picture({"only": np.zeros((4, 4)), "other": np.zeros((4, 4))}, bands)
    edge = PANEL * 3 // 4
    for number in range(2):
        dark = (panel(canvas, number) < 200).all(-1)
        assert dark[edge].all()
        assert dark[:, edge].all()
        assert dark.sum() == 2 * PANEL - 1
        left = LEFT + number * (PANEL + GAP)
        below = (canvas[TOP + PANEL + 2 : TOP + PANEL + 18, left : left + PANEL] < 128).any((0, 2))
        assert below[:edge].any()
        assert below[edge:].any()
    beside = (canvas[TOP : TOP + PANEL, : LEFT - 4] < 128).any((1, 2))
    assert beside[:edge].any()
    assert beside[edge:].any()


def test_names_that_have_no_room_do_not_overlap() -> None:
    many = [Band(f"a very long name {number}", 1) for number in range(60)]
    canvas = picture({"only": np.zeros((60, 60))}, many)
    assert (canvas[TOP + PANEL + 2 : TOP + PANEL + 18, : LEFT + PANEL] == 255).all()
    assert (canvas[TOP : TOP + PANEL, : LEFT - 4] == 255).all()


def test_blocks_are_runs_of_equal_names() -> None:
    assert bands_of(["a", "a", "b", "a"]) == [Band("a", 2), Band("b", 1), Band("a", 1)]
    assert bands_of([]) == []


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (-1.0, (33, 60, 120)),
        (-0.5, (139, 152, 179)),
        (0.0, (245, 243, 238)),
        (0.5, (202, 139, 139)),
        (1.0, (158, 35, 40)),
        (9.0, (158, 35, 40)),
    ],
)
def test_colours_lie_between_those_of_the_ends_and_the_middle(value: float, colour: tuple[int, int, int]) -> None:
    assert np.abs(heat(np.array([[value]]), -1.0, 1.0).astype(int) - np.array(colour)).max() <= 1


def test_equal_values_are_no_error() -> None:
    assert heat(np.full((3, 3), 5.0), 5.0, 5.0).shape == (PANEL, PANEL, 3)
