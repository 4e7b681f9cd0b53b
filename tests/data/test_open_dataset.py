import pytest

from pkdot.checks import names_in
from pkdot.config import DataConfig
from pkdot.data import DATASETS, open_dataset
from pkdot.data.biovid import BioVid
from pkdot.data.synthetic_biovid import SyntheticBioVidSpec, write_synthetic_biovid


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
