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
        ('classes = ["row", "press"]', "", "key classes is missing"),
        ('["row", "press"]', '["row"]', "at least two different classes"),
        ('["row", "press"]', '["row", "row"]', "expected each name once"),
        ('["row", "press"]', "[0, 1]", "a list of texts in quotes"),
        ('["exercise"]', '"exercise"', "key targets: got 'exercise', expected a list"),
        ('["exercise"]', "[]", "one target"),
        ('prevalent = ["accelerometer"]', "prevalent = []", "at least one modality"),
        ('prevalent = ["accelerometer"]', 'prevalent = ["acelerometer"]', "did you mean 'accelerometer'?"),
        ('privileged = ["gyroscope"]', 'privileged = ["gyroscope", "accelerometer"]', "in both"),
        ('privileged = ["gyroscope"]', "privileged = []", "'gyroscope' is in neither"),
        ('kind = "signal"', 'kind = "signals"', "key modalities.accelerometer.kind: got 'signals'"),
        ('kind = "signal"', "", "key modalities.accelerometer.kind is missing"),
        ('kind = "signal"', 'kind = "audio"', "(n, time)"),
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
