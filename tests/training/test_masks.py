"""A modality that a sample lacks reaches every model as missing, never as zeros that were measured."""

import pytest
import torch
from torch import Tensor, nn

from pkdot.config import ModelConfig
from pkdot.data.batch import Batch
from pkdot.students import STUDENTS
from pkdot.teachers import TEACHERS
from pkdot.training.frozen import FrozenTeacher
from pkdot.training.network import Network
from pkdot.training.objectives import TaskObjective
from tests.training.toys import SCHEMA, InMemory, Model, answer_of, loader_of

CPU = torch.device("cpu")
BOTH = ("weak", "strong")


@pytest.fixture
def dataset() -> InMemory:
    return InMemory(24, lacking=3)


def batches(dataset: InMemory) -> list[Batch]:
    found = list(loader_of(dataset, batch_size=6).epoch(0))
    assert any(set(batch.missing()) == set(BOTH) for batch in found)
    return found


def assert_answers(
    output: tuple[Tensor, Tensor, dict[str, Tensor]], model: nn.Module, dataset: InMemory, ids: tuple[str, ...]
) -> None:
    embedding, prediction, streams = output
    for row, name in enumerate(ids):
        alone = answer_of(model, dataset, name, tuple(streams))
        assert torch.allclose(embedding[row], alone.embedding[0], atol=1e-5), name
        assert torch.allclose(prediction[row], alone.prediction[0], atol=1e-5), name
        for modality, stream in alone.streams.items():
            assert torch.allclose(streams[modality][row], stream[0], atol=1e-5), (name, modality)


@pytest.mark.parametrize("names", [BOTH, ("weak",), ("strong",)])
def test_a_model_is_told_which_of_its_modalities_each_sample_lacks(dataset: InMemory, names: tuple[str, ...]) -> None:
    model = Model(*names).eval()
    for batch in batches(dataset):
        output = Network(model, names, CPU).run(batch)
        assert_answers((output.embedding, output.prediction, output.streams), model, dataset, batch.ids)


def test_masks_are_given_for_the_models_modalities_alone(dataset: InMemory) -> None:
    seen: list[dict[str, Tensor]] = []

    class Recording(Model):
        def forward(self, modalities, present=None):  # type: ignore[no-untyped-def]
            assert set(modalities) == {"weak"}
            seen.append(present or {})
            return super().forward(modalities, present)

    model = Recording("weak")
    for batch in batches(dataset):
        Network(model, ("weak",), CPU).run(batch)
    lacks_weak = [i % 6 == 2 for i in range(24)]
    told = torch.cat([given.get("weak", torch.ones(6, dtype=torch.bool)) for given in seen])
    assert told.tolist() == [not lacking for lacking in lacks_weak]
    assert all(set(given) <= {"weak"} for given in seen)


@pytest.mark.parametrize("kind", [*TEACHERS, *STUDENTS])
def test_predictions_of_every_model_know_what_is_missing(dataset: InMemory, kind: str) -> None:
    torch.manual_seed(0)
    model = (TEACHERS | STUDENTS)[kind](SCHEMA, ModelConfig(width=8))
    for name, buffer in model.named_buffers():
        if name.endswith("trained"):  # a hallucinating student refuses to be asked before it has learned
            buffer.fill_(1)
    names = BOTH if kind in TEACHERS else ("weak",)
    found = Network(model, names, CPU).predict(loader_of(dataset, batch_size=6))
    with torch.no_grad():
        for row, name in enumerate(found.ids):
            alone = answer_of(model, dataset, name, names)
            assert torch.allclose(found.prediction[row], alone.prediction[0], atol=1e-5), name
            assert torch.allclose(found.embedding[row], alone.embedding[0], atol=1e-5), name


@pytest.mark.parametrize("remembers", [True, False])
def test_the_frozen_teacher_knows_what_is_missing(dataset: InMemory, remembers: bool) -> None:
    model = Model(*BOTH)
    teacher = FrozenTeacher(Network(model, BOTH, CPU), 5)
    if remembers:
        teacher.remember(loader_of(dataset, batch_size=6))
    for batch in loader_of(dataset, batch_size=6, shuffle=True).epoch(1):
        output = teacher(batch)
        assert_answers((output.embedding, output.prediction, output.streams), model, dataset, batch.ids)


def test_a_training_step_knows_what_is_missing(dataset: InMemory) -> None:
    model = Model(*BOTH)
    objective = TaskObjective(Network(model, BOTH, CPU), SCHEMA.task, loader_of(dataset))
    for batch in batches(dataset):
        answers = torch.cat([answer_of(model, dataset, name, BOTH).prediction for name in batch.ids])
        expected = nn.functional.cross_entropy(answers, batch.target)
        assert torch.allclose(objective.losses(batch)["loss"], expected, atol=1e-5)
