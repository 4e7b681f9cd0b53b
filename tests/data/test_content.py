"""The content digest of a data set."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdot.config import DataConfig
from pkdot.data import content, open_dataset
from pkdot.data.content import Opened, content_digest
from tests.support import write_vectors


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_vectors(tmp_path / "toy", subjects=4, per_subject=2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A set with a picture for each sample."""
    folder = tmp_path / "faces"
    (folder / "img").mkdir(parents=True)
    for number in range(8):
        Image.fromarray(np.full((9, 9, 3), number, np.uint8)).save(folder / "img" / f"{number}.png")
    rows = [f"s{number},p{number // 2},{'ab'[number % 2]},img/{number}.png" for number in range(8)]
    (folder / "samples.csv").write_text("id,subject,answer,face\n" + "\n".join(rows) + "\n")
    (folder / "dataset.toml").write_text(
        'name = "faces"\ntask = "classification"\ntargets = ["answer"]\nclasses = ["a", "b"]\nprevalent = ["face"]\n'
        'privileged = []\n[modalities.face]\nkind = "image"\nsource = "files"\n'
    )
    return folder


def digest(folder: Path, cache: Path) -> str:
    config = DataConfig(source=str(folder), cache_dir=cache)
    return content_digest(open_dataset(config), cache)


@pytest.mark.parametrize("name", ["dataset.toml", "samples.csv", "weak.npy", "strong.npy"])
def test_a_changed_byte_of_any_file_is_noticed(data: Path, tmp_path: Path, name: str) -> None:
    before = digest(data, tmp_path)
    path = data / name
    status, whole = path.stat(), path.read_bytes()
    at = {"dataset.toml": whole.find(b"toy"), "samples.csv": whole.find(b"s000") + 1}.get(name, len(whole) - 1)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same time stamp
    assert digest(data, tmp_path) != before
    path.write_bytes(whole)
    assert digest(data, tmp_path) == before


def test_a_changed_picture_is_noticed_and_a_file_that_nobody_reads_is_not(pictures: Path, tmp_path: Path) -> None:
    before = digest(pictures, tmp_path)
    (pictures / "img" / "99.png").write_bytes(b"of no sample")
    assert digest(pictures, tmp_path) == before
    Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(pictures / "img" / "3.png")
    assert digest(pictures, tmp_path) != before


def test_the_place_of_a_data_set_has_no_part_in_it(data: Path, tmp_path: Path) -> None:
    assert digest(data, tmp_path) == digest(write_vectors(tmp_path / "b", subjects=4, per_subject=2), tmp_path)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    seen: list[str] = []
    read = content.file_digest

    def counted(file: Path) -> str:
        seen.append(file.name)
        return read(file)

    monkeypatch.setattr(content, "file_digest", counted)

    def since() -> list[str]:
        found, seen[:] = sorted(seen), []
        return found

    return since


def test_the_second_time_nothing_is_read_and_later_only_what_has_changed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED_AFTER_S", -1e9)
    monkeypatch.setattr(content, "LARGE_BYTES", 1)
    since = count_reads(monkeypatch)
    first = digest(data, tmp_path)
    assert since() == ["dataset.toml", "samples.csv", "strong.npy", "weak.npy"]
    assert digest(data, tmp_path) == first
    assert since() == []
    write_vectors(data, subjects=4, per_subject=2, seed=1)
    (data / "dataset.toml").touch()
    assert digest(data, tmp_path) != first
    assert since() == ["dataset.toml", "samples.csv", "strong.npy", "weak.npy"]
    (data / "weak.npy").touch()
    digest(data, tmp_path)
    assert since() == ["weak.npy"]


def test_small_files_of_a_folder_share_a_stored_digest(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED_AFTER_S", -1e9)
    since = count_reads(monkeypatch)
    digest(pictures, tmp_path)
    since()
    (pictures / "img" / "3.png").touch()
    digest(pictures, tmp_path)
    assert since() == [f"{number}.png" for number in range(8)]
    assert len(list((tmp_path / "digests").iterdir())) == 1


def test_a_file_that_has_just_been_written_is_read_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = count_reads(monkeypatch)
    digest(data, tmp_path)
    since()
    digest(data, tmp_path)
    assert since() == ["dataset.toml", "samples.csv", "strong.npy", "weak.npy"]


@pytest.mark.parametrize("text", ["", "[]", '{"weak.npy": 3, ".": ["a"]}', "[" * 100_000])
def test_damaged_stored_digests_are_computed_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(content, "SETTLED_AFTER_S", -1e9)
    first = digest(data, tmp_path)
    (stored,) = (tmp_path / "digests").iterdir()
    stored.write_text(text)
    assert digest(data, tmp_path) == first
    assert stored.read_text() != text


def test_digests_that_cannot_be_stored_are_computed_each_time(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file where a folder should be")
    assert digest(data, cache) == digest(data, tmp_path / "other")


def test_a_synthetic_set_is_told_by_its_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        folder = tmp_path
        generated = "faces-seed0-1234"

        def contents(self) -> list[Path]:
            raise AssertionError("files are read")

    first = content_digest(Made())  # type: ignore[arg-type]
    Made.generated = "faces-seed1-1234"
    assert content_digest(Made()) != first  # type: ignore[arg-type]


def test_a_reader_of_somebodys_own_is_told_by_its_records(data: Path, tmp_path: Path) -> None:
    manifest = open_dataset(DataConfig(source=str(data)))

    class Own:
        schema, records = manifest.schema, list(manifest.records)

    first = content_digest(Own())  # type: ignore[arg-type]
    Own.records = Own.records[::-1]
    assert content_digest(Own()) != first  # type: ignore[arg-type]


def test_a_file_that_is_gone_is_named(data: Path, tmp_path: Path) -> None:
    opened = Opened.of(DataConfig(source=str(data), cache_dir=tmp_path))
    (data / "weak.npy").unlink()
    with pytest.raises(ValueError, match=r"weak\.npy: no such file"):
        _ = opened.digest
