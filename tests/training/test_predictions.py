"""Figures and files of a model's answers: over the labelled samples, row by row."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pkdot.data.batch import Schema
from pkdot.tasks import Task
from pkdot.training.evaluation import Predictions, write_predictions, write_result
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder
from tests.training.toys import SCHEMA, InMemory, Model, answer_of, loader_of

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
TARGETS = torch.tensor([0, 1, 0, 2, 0])
LABELLED = torch.tensor([True, True, True, True, False])


def predictions_of(logits: torch.Tensor, target: torch.Tensor, labelled: torch.Tensor) -> Predictions:
    ids = tuple(f"s{row}" for row in range(len(logits)))
    return Predictions(ids, logits, torch.zeros(len(logits), 2), {}, target, labelled)


def test_metrics_and_loss_are_over_the_labelled_samples_alone() -> None:
    found = predictions_of(LOGITS, TARGETS, LABELLED)
    assert found.metrics(SCHEMA.task)["accuracy"] == 0.5
    # Of class 0 one of two is found and one of two right, of class 1 all, and of class 2 none.
    assert found.metrics(SCHEMA.task)["macro_f1"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    loss = nn.functional.cross_entropy(LOGITS[:4], TARGETS[:4])
    assert found.task_loss(SCHEMA.task) == pytest.approx(float(loss))
    everything = replace(found, labelled=torch.ones(5, dtype=torch.bool))
    assert everything.metrics(SCHEMA.task)["accuracy"] == 0.4


def test_the_file_has_each_samples_own_answer(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions_of(LOGITS, TARGETS, LABELLED), ["a", "a", "b", "b", "c"], SCHEMA)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["s0", "s1", "s2", "s3", "s4"]
    assert [row["subject"] for row in rows] == ["a", "a", "b", "b", "c"]
    assert [row["answer"] for row in rows] == ["low", "middle", "low", "high", ""]
    assert [row["predicted_answer"] for row in rows] == ["low", "middle", "high", "low", "middle"]
    told = torch.tensor([[float(row[f"p_{name}"]) for name in ("low", "middle", "high")] for row in rows])
    assert torch.allclose(told, LOGITS.softmax(1), atol=1e-5)


def test_values_stand_in_their_own_units(tmp_path: Path) -> None:
    task = Task("regression", ("valence", "arousal"), center=(10.0, 0.0), spread=(2.0, 0.5))
    schema = Schema("toy", task, SCHEMA.modalities, ("weak",), ("strong",))
    target = torch.tensor([[12.0, -1.0], [8.0, 0.25]])
    answers = torch.tensor([[0.5, 1.0], [-1.0, 0.0]])
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions_of(answers, target, torch.tensor([True, False])), ["a", "b"], schema)
    assert path.read_text().splitlines() == [
        "id,subject,valence,arousal,predicted_valence,predicted_arousal",
        "s0,a,12,-1,11,0.5",
        "s1,b,,,8,0",
    ]


def test_a_subject_for_each_sample_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        write_predictions(tmp_path / "p.csv", predictions_of(LOGITS, TARGETS, LABELLED), ["a"], SCHEMA)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_answers_in_eval_mode_and_is_left_in_the_mode_in_which_it_was(training: bool) -> None:
    class Dropping(Model):
        def forward(self, modalities, present=None):  # type: ignore[no-untyped-def]
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().forward(modalities, present)

    model, dataset = Dropping("weak").train(training), InMemory(11)
    found = Network(model, ("weak",), CPU).predict(loader_of(dataset, shuffle=True, seed=4))
    assert model.training == training
    assert sorted(found.ids) == [record.id for record in dataset.records]
    for row, name in enumerate(found.ids):
        alone = answer_of(model, dataset, name, ("weak",))
        assert torch.allclose(found.prediction[row], alone.prediction[0], atol=1e-5)
        assert torch.allclose(found.embedding[row], alone.embedding[0], atol=1e-5)
        assert int(found.target[row]) == int(name[1:]) % 3


def test_a_result_reads_back_and_what_is_none_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.result
    with pytest.raises(ValueError, match=r"result\.json: no readable result"):
        folder.read_result()
    result = dict.fromkeys(("kind", "data", "split_digest", "label_digest", "label_share", "primary_metric"), "x")
    write_result(path, result | {"metrics": {"accuracy": 0.5}})
    assert folder.read_result() == result | {"metrics": {"accuracy": 0.5}}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"result\.json: no readable result"):
        folder.read_result()
    write_result(path, {"kind": "teacher", "metrics": {}})
    with pytest.raises(ValueError, match=r"not the result of a run \(lacks data, split_digest"):
        folder.read_result()
