"""Every loader of a study reads its own split, with the labels that may be used, augmented or not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pkdot.config import DataConfig, OptimConfig
from pkdot.data.loader import Loader
from pkdot.data.study import Study, check_schema, open_study
from tests.support import write_vectors

SUBJECTS = 10


def write_signals(folder: Path, task: str = "classification") -> Path:
    """Two signals of ten people (signals can be augmented); the last two samples of each have no label."""
    write_vectors(folder, subjects=SUBJECTS, task=task)
    generator = np.random.default_rng(0)
    for name in ("weak", "strong"):
        np.save(folder / f"{name}.npy", generator.normal(size=(6 * SUBJECTS, 2, 30)).astype(np.float32))
    toml = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(toml.replace('kind = "vector"', 'kind = "signal"\nrate_hz = 10'))
    lines = (folder / "samples.csv").read_text().splitlines()
    unlabelled = [line.rpartition(",")[0] + "," if i % 6 > 3 else line for i, line in enumerate(lines[1:])]
    (folder / "samples.csv").write_text("\n".join([lines[0], *unlabelled]) + "\n")
    return folder


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signals(tmp_path_factory.mktemp("data") / "toy")


def study_of(data: Path, **settings: object) -> Study:
    usual: dict[str, object] = {"source": str(data), "labels": 0.5}
    return open_study(DataConfig(**(usual | settings)), OptimConfig(batch_size=7), seed=3)  # type: ignore[arg-type]


def read(loader: Loader, epoch: int = 0) -> dict[str, tuple[Tensor, Tensor, int, bool]]:
    """For each sample: both modalities, the target and whether it is labelled."""
    found: dict[str, tuple[Tensor, Tensor, int, bool]] = {}
    for batch in loader.epoch(epoch):
        columns = (batch.modalities["weak"], batch.modalities["strong"], batch.target, batch.labelled)
        for row, name in enumerate(batch.ids):
            assert name not in found
            weak, strong, target, labelled = (column[row] for column in columns)
            found[name] = weak, strong, int(target), bool(labelled)
    return found


def as_on_the_disk(data: Path, name: str) -> tuple[Tensor, Tensor]:
    weak, strong = (torch.from_numpy(np.load(data / f"{stream}.npy")[int(name[1:])]) for stream in ("weak", "strong"))
    return weak, strong


def test_each_loader_reads_all_of_its_own_split_and_nothing_else(signals: Path) -> None:
    study = study_of(signals)
    parts = {"train": study.train, "val": study.validation, "test": study.test}
    seen = {}
    for name, make in parts.items():
        expected = [study.dataset.records[i].id for i in getattr(study.splits, name)]
        seen[name] = list(read(make()))
        assert sorted(seen[name]) == sorted(expected)
        assert (seen[name] == expected) == (name != "train"), "shuffled in training alone"
    assert list(read(study.train_clean())) == sorted(seen["train"])
    assert sorted(name for names in seen.values() for name in names) == [f"s{i:03d}" for i in range(6 * SUBJECTS)]
    assert list(read(study.train(), epoch=1)) != seen["train"]


def test_training_samples_are_augmented_and_no_others(signals: Path) -> None:
    study = study_of(signals)
    loaders = (
        study.train_clean(),
        study.validation(),
        study.test(),
        study_of(signals, augment=False).train(),
    )
    for loader in loaders:
        for name, (weak, strong, *_) in read(loader).items():
            assert torch.equal(weak, as_on_the_disk(signals, name)[0])
            assert torch.equal(strong, as_on_the_disk(signals, name)[1])
    first, second = read(study.train()), read(study.train(), epoch=1)
    for name, (weak, strong, *_) in first.items():
        for given, clean in zip((weak, strong), as_on_the_disk(signals, name), strict=True):
            assert not torch.equal(given, clean)
        assert not torch.equal(weak, second[name][0]), "anew in each epoch"


def test_a_label_is_known_where_it_may_be_and_nowhere_else(signals: Path) -> None:
    study = study_of(signals)
    truth = {record.id: record.target for record in study.dataset.records}
    subject = {record.id: record.subject for record in study.dataset.records}
    for loader in (study.train(), study.train_clean()):
        found = read(loader)
        knowing = {subject[name] for name, (*_, labelled) in found.items() if labelled}
        assert len(knowing) == round(0.5 * len({subject[name] for name in found}))
        for name, (_, _, target, labelled) in found.items():
            assert labelled == (truth[name] is not None and subject[name] in knowing)
            assert target == (truth[name][0] if labelled else 0)  # type: ignore[index]
    for loader in (study.validation(), study.test()):
        for name, (_, _, target, labelled) in read(loader).items():
            assert labelled == (truth[name] is not None)
            assert target == (truth[name] or (0.0,))[0]
    assert study.label_share == np.mean([labelled for *_, labelled in read(study.train_clean()).values()])


def test_labels_are_kept_by_sample_where_that_is_asked_for(signals: Path) -> None:
    study = study_of(signals, labels_by="sample", labels=0.4)
    found = read(study.train_clean())
    subject = {record.id: record.subject for record in study.dataset.records}
    shares = {
        person: np.mean([known for name, (*_, known) in found.items() if subject[name] == person])
        for person in {subject[name] for name in found}
    }
    assert any(0 < share < 4 / 6 for share in shares.values())


def test_seeds_of_split_and_labels_are_two_things(signals: Path) -> None:
    def known(**seeds: int) -> tuple[list[str], list[str]]:
        study = study_of(signals, **seeds)
        found = read(study.train_clean())
        return list(found), [name for name, (*_, labelled) in found.items() if labelled]

    (split, labels), (same_split, other_labels) = known(), known(label_seed=5)
    assert split == same_split
    assert labels != other_labels
    assert known(split_seed=1)[0] != split
    assert known(split_seed=1, label_seed=1) == known(split_seed=1)


def test_a_heads_units_are_those_of_the_labels_that_training_knows(tmp_path: Path) -> None:
    study = study_of(write_signals(tmp_path / "value", task="regression"))
    known = study.splits.train[study.labelled[study.splits.train]]
    values = np.array([study.dataset.records[i].target for i in known], dtype=float)
    assert 0 < len(values) < len(study.splits.train)
    task = study.schema.task
    assert task.center == pytest.approx(values.mean(0))
    assert task.spread == pytest.approx(values.std(0))


def test_digests_tell_one_split_and_one_choice_of_labels_from_another(signals: Path) -> None:
    plain = study_of(signals)
    splits = {study_of(signals, split_seed=seed).split_digest for seed in range(4)}
    labels = {study_of(signals, label_seed=seed).label_digest for seed in (0, 5)}
    labels |= {study_of(signals, **more).label_digest for more in ({"labels": 1.0}, {"label_noise": 0.9})}  # type: ignore[arg-type]
    assert len(splits) == len(labels) == 4
    assert study_of(signals).split_digest == plain.split_digest in splits
    assert study_of(signals).label_digest == plain.label_digest in labels


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        ("train", "need at least 1 subjects with a label"),
        ("val", "no sample of the validation split has a label"),
        ("test", "no sample of the test split has a label"),
    ],
)
def test_a_split_without_a_label_is_refused(tmp_path: Path, empty: str, message: str) -> None:
    data = write_vectors(tmp_path / "toy", subjects=6)
    home = {"p00": "train", "p01": "train", "p02": "val", "p03": "val", "p04": "test", "p05": "test"}
    lines = [line.split(",") for line in (data / "samples.csv").read_text().splitlines()[1:]]
    rows = [[name, who, "" if home[who] == empty else answer, home[who]] for name, who, answer in lines]
    (data / "samples.csv").write_text("\n".join(["id,subject,answer,split", *map(",".join, rows)]) + "\n")
    with pytest.raises(ValueError, match=message):
        study_of(data, labels=1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ("low", "other")}, "trained for classification of low, high"),
        ({"task": "regression"}, "trained for classification of low, high .* has regression of answer"),
        ({"width": 9}, r"trained on 'strong' as vector \(3,\), but 'toy' has vector \(9,\)"),
        ({"kind": "audio"}, "trained on 'strong' as vector"),
        ({"lacking": "strong"}, "trained on modality 'strong', which 'toy' does not have"),
    ],
)
def test_data_of_another_form_are_refused_by_name(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    first = study_of(write_vectors(tmp_path / "first")).schema
    words = {name: value for name, value in changed.items() if name in ("names", "task")}
    other = write_vectors(tmp_path / "other", **words)  # type: ignore[arg-type]
    if "width" in changed:
        np.save(other / "strong.npy", np.zeros((72, 9), np.float32))
    toml = (other / "dataset.toml").read_text()
    if "kind" in changed:
        toml = toml.replace(
            '[modalities.strong]\nkind = "vector"', '[modalities.strong]\nkind = "audio"\nrate_hz = 100'
        )
    if "lacking" in changed:
        toml = toml.split("[modalities.strong]")[0].replace('["strong"]', "[]")
    (other / "dataset.toml").write_text(toml)
    second = study_of(other).schema
    with pytest.raises(ValueError, match=message):
        check_schema(Path("run"), first, second)
    check_schema(Path("run"), first, first)
    if "lacking" in changed or "width" in changed:
        check_schema(Path("run"), first, second, names=("weak",))
