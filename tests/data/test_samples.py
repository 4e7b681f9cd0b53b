import logging
from pathlib import Path

import numpy as np
import pytest

from tests.data.watch import CSV, TOML, edit, open_manifest, refusal, write_watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the data set of the watch."""
    return write_watch(tmp_path)


def test_several_regression_targets_are_labelled_together(folder: Path) -> None:
    edit(folder / "dataset.toml", 'task = "classification"', 'task = "regression"')
    edit(folder / "dataset.toml", 'classes = ["row", "press"]\n', "")
    edit(folder / "dataset.toml", '["exercise"]', '["valence", "arousal"]')
    lines = [
        "id,subject,valence,arousal,gyroscope",
        "a,anna,0.5,-1e-1,",
        "b,anna,,1,",
        "c,bert,1,,",
        "d,carl,1,2,gyro/d.npy",
    ]
    (folder / "samples.csv").write_text("\n".join(lines))
    assert [r.target for r in open_manifest(folder).records] == [(0.5, -0.1), None, None, (1.0, 2.0)]


def test_own_splits_quotes_blanks_and_a_byte_order_mark_are_understood(folder: Path) -> None:
    lines = [
        "\ufeffid, subject ,split,exercise,gyroscope,note",
        '"a,1", anna ,train,row,,"two ""words"""',
        "",
        "b,b,val,press,,",
        "c,c,test,,,",
        "d,d,test,row,gyro/d.npy,",
    ]
    text = "\n".join(lines)
    (folder / "samples.csv").write_text(text, encoding="utf-8")
    records = open_manifest(folder).records
    assert [(r.id, r.subject, r.split) for r in records][:2] == [("a,1", "anna", "train"), ("b", "b", "val")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("exercise,gyro", "exercises,gyro", "line 1: no column 'exercise' in 'id, subject, exercises, gyroscope'"),
        ("exercise,gyro", "exercises,gyro", "did you mean 'exercises'?"),
        ("exercise,gyroscope", "exercise,gyroscope,Split", "line 1: got 'Split', expected at most one column 'split'"),
        ("a,anna", '"a\nb",anna', "field id: got 'a\\nb', expected a name of 1 to 250 characters in one line"),
        ("a,anna", "a," + "n" * 10_000, "field subject: got 'nnn"),
        ("a,anna", '"a,anna', "expected a readable table of samples: unexpected end of data"),
        ("gyro/d.npy", "gyro/\0.npy", "line 5, field gyroscope: got 'gyro/\\x00.npy', expected a file below"),
        ("gyro/d.npy", "x" * 300, "File name too long"),
        ("gyro/d.npy", "gyro", "/gyro: expected a regular file, got a folder"),
        ("id,subject", "subject,subject", "no column 'id'"),
        ("exercise,gyroscope", "exercise,exercise", "more than one column 'exercise'"),
        ("a,anna,row", "a,anna,rowing", "line 2, field exercise: got 'rowing', expected one of row, press"),
        ("b,anna", "a,anna", "line 3, field id: got 'a', expected an id of its own, but line 2 has the same"),
        ("b,anna", ",anna", "line 3, field id: got ''"),
        ("b,anna", "b,", "line 3, field subject: got ''"),
        ("b,anna,press,", "b,anna,press", "line 3: got 3 cells, expected 4"),
        ("gyro/d.npy", "gyro/e.npy", "line 5, field gyroscope: got 'gyro/e.npy', expected a file below"),
    ],
)
def test_a_mistake_in_the_csv_is_named(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder / "samples.csv", old, new)
    line = refusal(folder)
    assert line.startswith(str(folder / "samples.csv"))
    assert message in line


@pytest.mark.parametrize("cell", ["high", "nan", "inf", "1,5"])
def test_a_regression_target_is_a_finite_number(folder: Path, cell: str) -> None:
    edit(folder / "dataset.toml", 'task = "classification"', 'task = "regression"')
    edit(folder / "dataset.toml", 'classes = ["row", "press"]\n', "")
    edit(folder / "samples.csv", "a,anna,row", f'a,anna,"{cell}"')
    assert f"line 2, field exercise: got '{cell}', expected a finite number" in refusal(folder)


@pytest.mark.parametrize(("mark", "shown"), [("\t", "'\\t'"), (";", "';'")])
def test_other_separators_are_told(folder: Path, mark: str, shown: str) -> None:
    (folder / "samples.csv").write_text(CSV.replace(",", mark))
    assert f"line 1: expected cells separated by commas, got {shown} in" in refusal(folder)


def test_utf_16_is_told(folder: Path) -> None:
    (folder / "samples.csv").write_bytes(CSV.encode("utf-16"))
    assert "samples.csv: expected a readable table of samples: it is UTF-16" in refusal(folder)


@pytest.mark.parametrize(
    ("classes", "cells", "places"),
    [
        ("[0, 1, 2]", ["0", "2.0", "1"], [0, 2, 1]),
        ('["0", "1", "2"]', ["0", "2.0", "+1"], [0, 2, 1]),
        ("[2, 0.5, 1]", ["2", "0.50", "1e0"], [0, 1, 2]),
        ('["1", "1.0", "x"]', ["1.0", "1", "x"], [1, 0, 2]),
    ],
)
def test_a_number_is_the_class_of_its_value(folder: Path, classes: str, cells: list[str], places: list[int]) -> None:
    edit(folder / "dataset.toml", '["row", "press"]', classes)
    for old, new in zip(("anna,row", "anna,press", "carl,press"), cells, strict=True):
        edit(folder / "samples.csv", old, f"{old[:4]},{new}")
    targets = [record.target for record in open_manifest(folder).records]
    assert targets == [(float(places[0]),), (float(places[1]),), None, (float(places[2]),)]


def test_a_number_that_is_no_class_is_named(folder: Path) -> None:
    edit(folder / "dataset.toml", '["row", "press"]', "[0, 1]")
    edit(folder / "samples.csv", "anna,row", "anna,0.5")
    assert "line 2, field exercise: got '0.5', expected one of 0, 1." in refusal(folder)


@pytest.mark.parametrize(
    ("task", "cells", "classes"),
    [
        ("classification", ["row", "press", "row"], ("press", "row")),
        ("classification", ["10", "9", "9.0"], ("9", "10")),
        ("ordinal", ["10", "-1", "0.5"], ("-1", "0.5", "10")),
    ],
)
def test_classes_left_out_are_read_off_the_column(
    folder: Path, caplog: pytest.LogCaptureFixture, task: str, cells: list[str], classes: tuple[str, ...]
) -> None:
    edit(folder / "dataset.toml", 'classes = ["row", "press"]\n', "")
    edit(folder / "dataset.toml", '"classification"', f'"{task}"')
    for old, new in zip(("anna,row", "anna,press", "carl,press"), cells, strict=True):
        edit(folder / "samples.csv", old, f"{old[:4]},{new}")
    with caplog.at_level(logging.INFO):
        manifest = open_manifest(folder)
    assert manifest.schema.task.classes == classes
    expected = f"{folder / 'dataset.toml'}: classes as in column exercise: {', '.join(classes)}"
    assert [record.getMessage() for record in caplog.records] == [expected]
    assert manifest.records[2].target is None


@pytest.mark.parametrize(
    ("task", "cells", "message"),
    [
        ("ordinal", ["row", "press", "row"], "field exercise: expected numbers, or key classes in dataset.toml"),
        ("classification", ["1", "2", "x"], "line 5, field exercise: got 'x', expected a finite number"),
        ("classification", ["1", "nan", "2"], "line 3, field exercise: got 'nan', expected a finite number"),
        ("classification", ["a", "NaN", "b"], "line 3, field exercise: got 'NaN', expected the name of a class"),
        ("classification", ["a", "x" * 251, "b"], "line 3, field exercise: got 'xxx"),
        ("classification", ["a", "a", "a"], "at least two different classes, got a."),
        ("classification", ["", "", ""], "at least two different classes, got none."),
    ],
)
def test_a_column_that_holds_no_classes_is_named(folder: Path, task: str, cells: list[str], message: str) -> None:
    edit(folder / "dataset.toml", 'classes = ["row", "press"]\n', "")
    edit(folder / "dataset.toml", '"classification"', f'"{task}"')
    for old, new in zip(("anna,row", "anna,press", "carl,press"), cells, strict=True):
        edit(folder / "samples.csv", old, f"{old[:4]},{new}")
    line = refusal(folder)
    assert line.startswith(str(folder / "samples.csv"))
    assert message in line


def test_a_column_of_measurements_is_not_taken_for_classes(folder: Path) -> None:
    text = TOML.partition("[modalities.gyroscope]")[0].replace('privileged = ["gyroscope"]\n', "")
    (folder / "dataset.toml").write_text(text.replace('classes = ["row", "press"]\n', ""))
    lines = [f"{number},{number},{number / 7:.3f}" for number in range(40)]
    (folder / "samples.csv").write_text("id,subject,exercise\n" + "\n".join(lines))
    np.save(folder / "accelerometer.npy", np.zeros((40, 3, 10)))
    assert "field exercise: got 40 different values in 40 samples, too many for classes" in refusal(folder)


@pytest.mark.parametrize("content", ["", "id,subject,exercise,gyroscope\n"])
def test_an_empty_csv_is_named(folder: Path, content: str) -> None:
    (folder / "samples.csv").write_text(content)
    assert "samples.csv" in refusal(folder)


def test_a_split_must_be_a_known_word_on_every_line(folder: Path) -> None:
    (folder / "samples.csv").write_text("id,subject,exercise,gyroscope,split\na,a,row,gyro/a.npy,train\nb,b,row,,\n")
    assert "line 3, field split: got '', expected train, val or test" in refusal(folder)


def test_all_paths_missing_is_an_error(folder: Path) -> None:
    (folder / "samples.csv").write_text(
        "id,subject,exercise,gyroscope\n" + "".join(f"{i},{i},row,\n" for i in range(4))
    )
    assert "field gyroscope: expected a path for one sample at least" in refusal(folder)
