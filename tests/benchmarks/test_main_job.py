import numpy as np

from benchmarks.main_job import differences

COLUMNS = {"teacher": [0.8, 0.9, 0.7], "student": [0.7, 0.8, 0.7], "control": [0.6, 0.8, 0.6]}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_error_over_splits_is_corrected_for_their_overlap() -> None:
    lead, gain = (cells(line) for line in differences(COLUMNS, ratio=0.5, new_splits=True)[2:])
    points = np.array([20.0, 10.0, 10.0])
    assert lead[:2] == ["teacher - control", "+13.33"]
    assert lead[2] == f"{points.std(ddof=1) * np.sqrt(1 / 3 + 0.5):.2f}"
    assert gain[:2] == ["student - control", "+6.67"]


def test_seeds_on_one_split_have_no_error_over_splits() -> None:
    lead = cells(differences(COLUMNS, ratio=0.5, new_splits=False)[2])
    assert lead == ["teacher - control", "+13.33", "none: one split", ""]
