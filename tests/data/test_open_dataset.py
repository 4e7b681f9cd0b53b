import os

import pytest

from pkdot.config import DataConfig
from pkdot.data import DATASETS, open_dataset
from pkdot.data.biovid import BioVid
from pkdot.data.synthetic.biovid import SyntheticBioVidSpec, write_synthetic_biovid
from pkdot.names import names_in
from tests.support import write_vectors


def test_help_lists_the_names_without_importing():
    assert tuple(DATASETS) == names_in("pkdot.data", "DATASETS")
    assert {"synthetic-biovid", "synthetic-affwild2", "biovid", "affwild2", "manifest"} <= set(DATASETS)


def test_a_name_and_a_path_open_a_layout(tmp_path):
    write_synthetic_biovid(tmp_path, SyntheticBioVidSpec(subjects=1, per_class=1, frames=2, size=8))
    dataset = open_dataset(DataConfig(source=f"biovid:{tmp_path}", frames=2, image_size=8))
    assert isinstance(dataset, BioVid)
    assert len(dataset.records) == 2


def test_a_users_own_reader_counts(monkeypatch):
    class Mine:
        @classmethod
        def open(cls, path, config):
            return str(path)

    monkeypatch.setitem(DATASETS, "mine", Mine)
    assert open_dataset(DataConfig(source="mine:a/b:c")) == "a/b:c"
    assert open_dataset(DataConfig(source="mine")) == "None"


def test_a_misspelt_name_is_answered_with_the_near_one():
    with pytest.raises(
        ValueError, match=r"data set 'synthetic-biovit' is not one of .* Did you mean 'synthetic-biovid'"
    ):
        open_dataset(DataConfig(source="synthetic-biovit"))
    with pytest.raises(ValueError, match=r"Did you mean 'biovid'"):
        open_dataset(DataConfig(source="biovit:some/folder"))


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no dataset.toml here; .* NAME:"):
        open_dataset(DataConfig(source=str(tmp_path)))


@pytest.mark.parametrize("name", ["biovid", "affwild2", "manifest"])
def test_a_set_on_the_disk_needs_its_folder(name):
    with pytest.raises(ValueError, match=rf"--data {name}:"):
        open_dataset(DataConfig(source=name))


@pytest.mark.parametrize("source", ["some/where", "./mydata", "mydata/", "~/no such thing", "foo:bar/baz", "x" * 5000])
def test_a_folder_that_does_not_exist_is_called_that(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no such folder|cannot be read") as caught:
        open_dataset(DataConfig(source=source))
    assert "is not one of" not in str(caught.value)


def test_a_word_that_is_neither_a_folder_nor_a_name_is_told_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="mydata: no such folder; built-in data sets are synthetic-biovid, "):
        open_dataset(DataConfig(source="mydata"))


def test_a_home_that_nobody_has_is_told():
    with pytest.raises(ValueError, match="~nobody-of-this-name/x: no such folder"):
        open_dataset(DataConfig(source="~nobody-of-this-name/x"))


def test_a_folder_its_manifest_and_its_name_are_the_same_data_set(tmp_path, monkeypatch):
    folder = write_vectors(tmp_path / "toy")
    monkeypatch.chdir(tmp_path)
    for source in (str(folder), "toy", "toy/", str(folder / "dataset.toml"), f"manifest:{folder}/dataset.toml"):
        assert len(open_dataset(DataConfig(source=source)).records) == 72


@pytest.mark.parametrize("name", ["samples.csv", "pipe"])
def test_another_file_is_no_data_set(tmp_path, name):
    folder = write_vectors(tmp_path / "toy")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match=f"{name}: expected a folder, got a file"):
        open_dataset(DataConfig(source=str(folder / name)))
