import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdot.config import DataConfig
from pkdot.data.batch import MultimodalDataset
from pkdot.data.loader import Loader
from pkdot.data.manifest import Manifest

TOML = """
name = "watch"
task = "classification"
targets = ["exercise"]
classes = ["row", "press"]
prevalent = ["accelerometer"]
privileged = ["gyroscope"]

[modalities.accelerometer]
kind = "signal"
source = "array"
rate_hz = 50

[modalities.gyroscope]
kind = "vector"
source = "files"
"""
CSV = """id,subject,exercise,gyroscope
a,anna,row,gyro/a.npy
b,anna,press,
c,bert,,gyro/c.npy
d,carl,press,gyro/d.npy
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four samples of three people; b lacks its gyroscope, c its label."""
    (tmp_path / "dataset.toml").write_text(TOML)
    (tmp_path / "samples.csv").write_text(CSV)
    (tmp_path / "gyro").mkdir()
    np.save(tmp_path / "accelerometer.npy", np.arange(4 * 3 * 10, dtype=np.float64).reshape(4, 3, 10))
    for number, name in enumerate("acd"):
        np.save(tmp_path / "gyro" / f"{name}.npy", np.full(6, number, np.int16))
    return tmp_path


def open_manifest(folder: Path) -> Manifest:
    return Manifest.open(folder, DataConfig(frames=3, image_size=8))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refusal(folder: Path) -> str:
    """What opening and reading the whole folder says."""
    with pytest.raises(ValueError) as caught:
        [manifest.read(index) for manifest in [open_manifest(folder)] for index in range(len(manifest.records))]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_manifest_says_what_its_folder_says(folder: Path) -> None:
    manifest = open_manifest(folder)
    assert isinstance(manifest, MultimodalDataset)
    schema = manifest.schema
    assert (schema.name, schema.prevalent, schema.privileged) == ("watch", ("accelerometer",), ("gyroscope",))
    assert (schema.task.kind, schema.task.classes) == ("classification", ("row", "press"))
    assert (schema.modalities["accelerometer"].shape, schema.modalities["accelerometer"].rate_hz) == ((3, 10), 50.0)
    assert (schema.modalities["gyroscope"].shape, schema.modalities["gyroscope"].rate_hz) == ((6,), None)
    assert [(r.id, r.subject, r.target, r.split) for r in manifest.records] == [
        ("a", "anna", (0.0,), None),
        ("b", "anna", (1.0,), None),
        ("c", "bert", None, None),
        ("d", "carl", (1.0,), None),
    ]


def test_samples_are_read_row_by_row_and_file_by_file(folder: Path) -> None:
    manifest = open_manifest(folder)
    sample = manifest.read(3)
    torch.testing.assert_close(sample["accelerometer"], torch.arange(90.0, 120.0).reshape(3, 10))
    torch.testing.assert_close(sample["gyroscope"], torch.full((6,), 2.0))
    assert manifest.read(1).keys() == {"accelerometer"}


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [("vector", (6,), np.int16), ("image", (8, 9, 3), np.uint8), ("video", (2, 8, 9, 1), np.float32)],
)
def test_arrays_are_read_together_as_one_by_one(
    folder: Path, kind: str, shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    edit(folder / "dataset.toml", 'kind = "vector"\nsource = "files"', f'kind = "{kind}"\nsource = "array"')
    np.save(folder / "gyroscope.npy", (np.random.default_rng(0).random((4, *shape)) * 0.9).astype(dtype))
    manifest = open_manifest(folder)
    together = manifest.read_together([3, 0, 1])
    assert together is not None
    assert together.keys() == manifest.read(0).keys()
    for name, rows in together.items():
        assert torch.equal(rows, torch.stack([manifest.read(index)[name] for index in (3, 0, 1)]))


def test_files_are_not_read_together(folder: Path) -> None:
    assert open_manifest(folder).read_together([0, 2]) is None


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_frames_out_of_range_are_found_in_a_batch(folder: Path, value: float) -> None:
    edit(folder / "dataset.toml", 'kind = "vector"\nsource = "files"', 'kind = "image"\nsource = "array"')
    frames = np.full((4, 8, 8, 3), 0.5, np.float32)
    frames[2, 1, 4] = value
    np.save(folder / "gyroscope.npy", frames)
    with pytest.raises(ValueError, match=r"gyroscope.npy, row 2 .*line 4.*: expected"):
        list(Loader(open_manifest(folder), np.arange(4), np.ones(4, bool), batch_size=4).epoch(0))


def test_reading_a_sample_opens_no_file_of_another(folder: Path) -> None:
    manifest = open_manifest(folder)
    (folder / "gyro" / "a.npy").unlink()
    (folder / "gyro" / "c.npy").unlink()
    assert manifest.read(3).keys() == {"accelerometer", "gyroscope"}


def test_a_manifest_is_small_when_it_travels_to_a_worker(folder: Path) -> None:
    np.save(folder / "accelerometer.npy", np.zeros((4, 3, 100_000), np.float32))
    manifest = open_manifest(folder)
    packed = pickle.dumps(manifest)
    assert len(packed) < 10_000
    assert pickle.loads(packed).read(3)["accelerometer"].shape == (3, 100_000)


def test_a_manifest_loads_as_batches(folder: Path) -> None:
    (batch,) = Loader(open_manifest(folder), np.arange(4), np.array([1, 1, 0, 1], bool), batch_size=4).epoch(0)
    assert batch.present["gyroscope"].tolist() == [True, False, True, True]
    assert batch.target.tolist() == [0, 1, 0, 1]


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


def test_a_data_set_for_students_needs_no_privileged_modality(folder: Path) -> None:
    text = TOML.partition("[modalities.gyroscope]")[0].replace('privileged = ["gyroscope"]\n', "")
    (folder / "dataset.toml").write_text(text)
    assert open_manifest(folder).schema.privileged == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "watch"', "", "key name is missing"),
        ('name = "watch"', "name = 3", "key name: got 3, expected a text in quotes"),
        ('name = "watch"', 'nmae = "watch"', "unknown key nmae, expected name, task"),
        ('name = "watch"', 'nmae = "watch"', "did you mean 'name'?"),
        ('name = "watch"', "name = watch", "line 2"),
        ('task = "classification"', "", "key task is missing"),
        ('"classification"', '"clasification"', "did you mean 'classification'?"),
        ('task = "classification"', 'task = "regression"', "key classes: got"),
        ('["row", "press"]', '["row"]', "at least two different classes"),
        ('["row", "press"]', '["row", "row"]', "expected each name once"),
        ('["row", "press"]', '[0, "press"]', "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[true, false]", "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[1, nan]", "expected a list of numbers, or of texts in quotes"),
        ('["row", "press"]', "[1, 1.0]", "expected each name once"),
        ('["row", "press"]', "[]", "at least two different classes"),
        ('["row", "press"]', '["row\\n", "press"]', "of at most 250 characters in one line"),
        ('["row", "press"]', f"{list(range(5001))}", "key classes: got 5001 classes, expected at most 5000"),
        ('name = "watch"', f'name = "{"x" * 251}"', "of at most 250 characters in one line"),
        ('name = "watch"', 'name = "a\\u0000b"', "of at most 250 characters in one line"),
        ('["exercise"]', '["exercise\\u2028"]', "of at most 250 characters in one line"),
        ('["exercise"]', '["split"]', "key targets: got 'split', expected a column that is none of id, subject, split"),
        ('["exercise"]', '["exercise", "b"]', "one target column, or for a regression several"),
        ("[modalities.accelerometer]", '[modalities."../accelerometer"]', "key prevalent: got 'accelerometer'"),
        ('["exercise"]', '"exercise"', "key targets: got 'exercise', expected a list"),
        ('["exercise"]', "[]", "one target"),
        ('prevalent = ["accelerometer"]', "prevalent = []", "at least one modality"),
        ('prevalent = ["accelerometer"]', 'prevalent = ["acelerometer"]', "did you mean 'accelerometer'?"),
        ('privileged = ["gyroscope"]', 'privileged = ["gyroscope", "accelerometer"]', "in both"),
        ('privileged = ["gyroscope"]', "privileged = []", "'gyroscope' is in neither"),
        ('kind = "signal"', 'kind = "signals"', "key modalities.accelerometer.kind: got 'signals'"),
        ('kind = "signal"', "", "key modalities.accelerometer.kind is missing"),
        (
            'kind = "signal"\nsource = "array"\nrate_hz = 50',
            'kind = "audio"\nsource = "array"\nrate_hz = 500',
            "(n, time)",
        ),
        ("rate_hz = 50", "rate_hz = 1e99", "got 1e+99, expected a number of samples (or frames) per second, 1e-06 to"),
        (
            'kind = "signal"\nsource = "array"\nrate_hz = 50',
            'kind = "audio"\nsource = "array"\nrate_hz = 1',
            "100 to 1e+06",
        ),
        ("rate_hz = 50", "rate_hz = nan", "key modalities.accelerometer.rate_hz: got nan"),
        ("rate_hz = 50", "rate_hz = true", "key modalities.accelerometer.rate_hz: got True"),
        ("rate_hz = 50", "a." * 200_000 + "b = 1", "readable TOML: it is nested too deeply"),
        ("rate_hz = 50", "\"' '\" ." * 100_000 + "b = 1", "readable TOML: it is nested too deeply"),
        ("rate_hz = 50", f"rate_hz = {'9' * 5000}", "dataset.toml: expected readable TOML"),
        ("rate_hz = 50", f"rate_hz = {'[' * 5000}{']' * 5000}", "readable TOML: it is nested too deeply"),
        ('source = "array"\nrate_hz = 50', 'source = "aray"', "did you mean 'array'?"),
        ("rate_hz = 50", "rate_hz = 0", "key modalities.accelerometer.rate_hz: got 0"),
        ("rate_hz = 50", "rate = 50", "unknown key modalities.accelerometer.rate"),
        ('kind = "signal"\nsource = "array"\nrate_hz = 50', 'kind = "audio"\nsource = "array"', "rate_hz is missing"),
        ("[modalities.accelerometer]", "[[modalities.accelerometer]]", "key modalities"),
    ],
)
def test_a_mistake_in_the_toml_is_named(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder / "dataset.toml", old, new)
    line = refusal(folder)
    assert "dataset.toml" in line or "accelerometer.npy" in line
    assert message in line


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
        ("b,anna", "a,anna", "line 3, field id: got 'a', expected a name of its own, line 2 has this one"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_of_other_systems_are_understood(folder: Path, encoding: str) -> None:
    before = open_manifest(folder).records
    for name, text in (("dataset.toml", TOML), ("samples.csv", CSV)):
        (folder / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert open_manifest(folder).records == before


def test_the_path_of_the_toml_is_as_good_as_that_of_its_folder(folder: Path) -> None:
    assert open_manifest(folder / "dataset.toml").records == open_manifest(folder).records


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


@pytest.mark.parametrize("name", ["keys", "type", "_modules", "a.b", "ü 😀"])
def test_any_plain_name_is_a_modality(folder: Path, name: str) -> None:
    edit(folder / "dataset.toml", "[modalities.accelerometer]", f'[modalities."{name}"]')
    edit(folder / "dataset.toml", '["accelerometer"]', f'["{name}"]')
    (folder / "accelerometer.npy").rename(folder / f"{name}.npy")
    assert set(open_manifest(folder).read(0)) == {name, "gyroscope"}


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\\\b", "", "a\\u0000", "x" * 251])
def test_a_name_that_cannot_be_a_files_is_no_modality(folder: Path, name: str) -> None:
    edit(folder / "dataset.toml", "[modalities.accelerometer]", f'[modalities."{name}"]')
    edit(folder / "dataset.toml", '["accelerometer"]', f'["{name}"]')
    line = refusal(folder)
    assert "key modalities: got" in line or "key prevalent: got" in line


def test_a_column_with_a_meaning_holds_no_files(folder: Path) -> None:
    edit(folder / "dataset.toml", "[modalities.gyroscope]", "[modalities.subject]")
    edit(folder / "dataset.toml", '["gyroscope"]', '["subject"]')
    assert "key modalities.subject.source: got 'files', expected another name" in refusal(folder)


def test_modalities_are_counted(folder: Path) -> None:
    with (folder / "dataset.toml").open("a") as file:
        file.writelines(f"[modalities.m{number}]\n" for number in range(31))
    assert "key modalities: got 33 modalities, expected at most 32" in refusal(folder)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy", "gyro/a.npy"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "nothing"])
def test_what_is_no_regular_file_is_named(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    match kind:
        case "pipe":
            os.mkfifo(folder / name)
        case "folder":
            (folder / name).mkdir()
        case "device":
            (folder / name).symlink_to("/dev/zero")
        case _:
            (folder / name).symlink_to("gone")
    assert str(folder / name) in refusal(folder) or f"got {name!r}" in refusal(folder)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy", "gyro/a.npy", "gyro"])
def test_links_that_lead_out_are_refused_unless_allowed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / name).rename(elsewhere / "x")
    (folder / name).symlink_to(elsewhere / "x")
    line = refusal(folder)
    assert f"{elsewhere / 'x'}" in line
    assert "--data.outside allows" in line
    manifest = Manifest.open(folder, DataConfig(frames=3, image_size=8, outside=True))
    assert manifest.read(0).keys() == {"accelerometer", "gyroscope"}


@pytest.mark.parametrize("absolute", [True, False])
def test_a_path_that_leads_out_is_refused_with_its_line(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, absolute: bool
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "gyro" / "d.npy").rename(elsewhere / "d.npy")
    cell = str(elsewhere / "d.npy") if absolute else os.path.relpath(elsewhere / "d.npy", folder)
    edit(folder / "samples.csv", "gyro/d.npy", cell)
    expected = f"samples.csv, line 5, field gyroscope: got '{cell}', expected a file in the data folder; it leads to "
    assert expected in refusal(folder)
    assert Manifest.open(folder, DataConfig(outside=True)).read(3)["gyroscope"].tolist() == [2.0] * 6


def test_a_picture_of_a_folder_may_not_lie_outside(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    edit(folder / "dataset.toml", 'kind = "vector"', 'kind = "video"')
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.png"
    Image.new("RGB", (8, 8)).save(elsewhere)
    (folder / "clip").mkdir()
    (folder / "clip" / "1.png").symlink_to(elsewhere)
    for number in "acd":
        edit(folder / "samples.csv", f"gyro/{number}.npy", "clip")
    assert f"{folder / 'clip' / '1.png'}: expected a file in the data folder" in refusal(folder)
    manifest = Manifest.open(folder, DataConfig(frames=3, image_size=8, outside=True))
    assert manifest.read(0)["gyroscope"].shape == (3, 3, 8, 8)


def test_a_long_value_does_not_fill_the_screen(folder: Path) -> None:
    edit(folder / "dataset.toml", '["row", "press"]', f"{[str(number) for number in range(3000)]}")
    assert len(refusal(folder)) < 1000
    edit(folder / "dataset.toml", 'kind = "signal"', f"kind = {list(range(3000))}")
    assert len(refusal(folder)) < 1000


@pytest.mark.parametrize("content", ["", "id,subject,exercise,gyroscope\n"])
def test_an_empty_csv_is_named(folder: Path, content: str) -> None:
    (folder / "samples.csv").write_text(content)
    assert "samples.csv" in refusal(folder)


def test_a_split_must_be_a_known_word_on_every_line(folder: Path) -> None:
    (folder / "samples.csv").write_text("id,subject,exercise,gyroscope,split\na,a,row,gyro/a.npy,train\nb,b,row,,\n")
    assert "line 3, field split: got '', expected train, val or test" in refusal(folder)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert str(folder / name) in refusal(folder)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy"])
def test_a_file_of_noise_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(bytes(range(128, 256)))
    assert str(folder / name) in refusal(folder)


def test_all_paths_missing_is_an_error(folder: Path) -> None:
    (folder / "samples.csv").write_text(
        "id,subject,exercise,gyroscope\n" + "".join(f"{i},{i},row,\n" for i in range(4))
    )
    assert "field gyroscope: expected a path for one sample at least" in refusal(folder)


def test_an_array_with_another_number_of_rows_is_named(folder: Path) -> None:
    np.save(folder / "accelerometer.npy", np.zeros((5, 3, 10)))
    assert "expected 4 rows, one for each line of samples.csv, got 5" in refusal(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_found_on_reading(folder: Path, value: float) -> None:
    array = np.zeros((4, 3, 10))
    array[2, 1, 4] = value
    np.save(folder / "accelerometer.npy", array)
    open_manifest(folder).read(1)
    line = refusal(folder)
    assert "accelerometer.npy, row 2 (samples.csv, line 4): expected finite numbers" in line
    assert "at (1, 4)" in line


def test_files_of_different_shapes_are_named(folder: Path) -> None:
    np.save(folder / "gyro" / "c.npy", np.zeros(7))
    line = refusal(folder)
    assert str(folder / "gyro" / "c.npy") in line
    assert "line 4, field gyroscope): expected shape (6,), as the first sample has it, got (7,)" in line


def test_a_manifest_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="needs its folder"):
        Manifest.open(None, DataConfig())


def test_contents_are_the_files_that_are_read(folder: Path) -> None:
    edit(folder / "dataset.toml", 'privileged = ["gyroscope"]', 'privileged = ["gyroscope", "film"]')
    with (folder / "dataset.toml").open("a") as toml:
        toml.write('[modalities.film]\nkind = "video"\nsource = "files"\n')
    rows = ["id,subject,exercise,gyroscope,film", "a,anna,row,gyro/d.npy,clip", "b,anna,press,,", "c,bert,,,", ""]
    (folder / "samples.csv").write_text("\n".join([*rows[:-1], "d,carl,press,gyro/a.npy,clip"]))
    (folder / "clip").mkdir()
    for number in (10, 2, 1):
        Image.new("RGB", (8, 8)).save(folder / "clip" / f"{number}.png")
    found = [str(path.relative_to(folder)) for path in open_manifest(folder).contents()]
    files = ["gyro/d.npy", "gyro/a.npy", "clip/1.png", "clip/2.png", "clip/10.png"]
    assert found == ["dataset.toml", "samples.csv", "accelerometer.npy", *files]
