"""The frozen teacher says to each sample what it says to that sample alone, and nobody can teach it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Batch
from pkdot.model import Output
from pkdot.teachers import TEACHERS
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.model_file import save_model
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder
from tests.training.toys import SCHEMA, InMemory, answer_of, loader_of

CPU = torch.device("cpu")
BOTH = ("weak", "strong")


@pytest.fixture(params=[*TEACHERS])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return TEACHERS[request.param](SCHEMA, ModelConfig(width=8))


def assert_own_answers(teacher: FrozenTeacher, model: nn.Module, dataset: InMemory, batch: Batch) -> None:
    output: Output = teacher(batch)
    assert len(output.embedding) == len(batch)
    for row, name in enumerate(batch.ids):
        alone = answer_of(model, dataset, name, BOTH)
        assert torch.allclose(output.embedding[row], alone.embedding[0], atol=1e-5), name
        assert torch.allclose(output.prediction[row], alone.prediction[0], atol=1e-5), name
        assert output.streams.keys() == alone.streams.keys()
        for modality, stream in alone.streams.items():
            assert torch.allclose(output.streams[modality][row], stream[0], atol=1e-5), (name, modality)


@pytest.mark.parametrize("remembers", [True, False])
def test_each_sample_gets_its_own_answer_in_whatever_order_it_is_asked(model: nn.Module, remembers: bool) -> None:
    dataset = InMemory(30)
    teacher = FrozenTeacher(Network(model, BOTH, CPU), 8)
    if remembers:
        teacher.remember(loader_of(dataset, batch_size=7))
    for epoch in (0, 1):
        for batch in loader_of(dataset, batch_size=8, shuffle=True, seed=3).epoch(epoch):
            assert_own_answers(teacher, model, dataset, batch)
    # A part of the samples, the last of them first.
    some = loader_of(dataset, batch_size=5)
    some.indices = np.arange(30)[::-3]
    for batch in some.epoch(0):
        assert_own_answers(teacher, model, dataset, batch)


def test_what_it_remembers_stands_in_the_order_of_its_ids(model: nn.Module) -> None:
    dataset = InMemory(12)
    known = FrozenTeacher(Network(model, BOTH, CPU), 8).remember(loader_of(dataset, shuffle=True, seed=1))
    assert sorted(known.ids) == [record.id for record in dataset.records] != list(known.ids)
    for row, name in enumerate(known.ids):
        assert torch.allclose(known.embedding[row], answer_of(model, dataset, name, BOTH).embedding[0], atol=1e-5)


def test_a_sample_that_was_not_remembered_is_no_others(model: nn.Module) -> None:
    teacher = FrozenTeacher(Network(model, BOTH, CPU), 8)
    teacher.remember(loader_of(InMemory(8)))
    (batch,) = loader_of(InMemory(9), batch_size=9).epoch(0)
    with pytest.raises(KeyError, match="s008"):
        teacher(batch)


@pytest.mark.parametrize("remembers", [True, False])
def test_it_is_in_eval_mode_and_without_gradients_at_every_step(model: nn.Module, remembers: bool) -> None:
    dataset = InMemory(8)
    teacher = FrozenTeacher(Network(model, BOTH, CPU), 8)
    if remembers:
        teacher.remember(loader_of(dataset))
    (batch,) = loader_of(dataset, batch_size=8).epoch(0)
    first = teacher(batch)
    model.train()
    second = teacher(batch)
    assert not model.training or remembers
    assert torch.equal(first.embedding, second.embedding)
    for output in (first, second):
        tensors = [output.embedding, output.prediction, *output.streams.values()]
        assert not any(tensor.requires_grad for tensor in tensors)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_teacher_from_a_folder_answers_as_the_one_that_was_saved(tmp_path: Path) -> None:
    config = ModelConfig(width=8, teacher="concat")
    model = TEACHERS["concat"](SCHEMA, config)
    metadata = {"kind": "teacher", "schema": SCHEMA.to_dict(), "model": asdict(config)}
    save_model(RunFolder(tmp_path).best, model, metadata)
    teacher = FrozenTeacher.load(tmp_path, CPU)
    (batch,) = loader_of(InMemory(4)).epoch(0)
    assert_own_answers(teacher, model, InMemory(4), batch)
    assert teacher.width == 8
