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
from tests.data.watch import CSV, TOML, edit, open_manifest, refusal, write_watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the data set of the watch."""
    return write_watch(tmp_path)


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_of_other_systems_are_understood(folder: Path, encoding: str) -> None:
    before = open_manifest(folder).records
    for name, text in (("dataset.toml", TOML), ("samples.csv", CSV)):
        (folder / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert open_manifest(folder).records == before


def test_the_path_of_the_toml_is_as_good_as_that_of_its_folder(folder: Path) -> None:
    assert open_manifest(folder / "dataset.toml").records == open_manifest(folder).records


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
    place = "samples.csv, line 5, field gyroscope"
    expected = f"{place}: got '{cell}', expected a file in the data folder, but this path leads to "
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


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert str(folder / name) in refusal(folder)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "accelerometer.npy"])
def test_a_file_of_noise_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(bytes(range(128, 256)))
    assert str(folder / name) in refusal(folder)


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
    assert "line 4, field gyroscope): expected shape (6,), like the first sample, got (7,)" in line


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
