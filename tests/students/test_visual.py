from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pkdot.data.batch import Schema
from pkdot.students import STUDENTS, VisualStudent
from tests.encoders.toys import rows, toy_batch, toy_config, toy_schema

SCHEMAS = [toy_schema("face", "body"), toy_schema("face", "scene", "body", prevalent=("face", "scene"))]


class Guarded(dict[str, Tensor]):
    """A batch that fails the test if a privileged modality is read."""

    def __init__(self, batch: dict[str, Tensor], privileged: tuple[str, ...]) -> None:
        super().__init__(batch)
        self.privileged = privileged

    def __getitem__(self, name: str) -> Tensor:
        assert name not in self.privileged, f"{name} was read"
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> Tensor:
        return self[name]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        raise AssertionError("all modalities were read")

    values = items


def build(schema: Schema) -> VisualStudent:
    """A student whose normalisation layers have seen a batch."""
    torch.manual_seed(0)
    model = VisualStudent(schema, toy_config())
    model(toy_batch(schema, seed=7))
    return model


@pytest.mark.parametrize("schema", SCHEMAS, ids=["one", "two"])
def test_the_output_keeps_the_contract(schema: Schema) -> None:
    output = build(schema)(toy_batch(schema))
    assert output.embedding.shape == (6, 8)
    assert output.prediction.shape == (6, 3)
    assert {key: stream.shape for key, stream in output.streams.items()} == dict.fromkeys(schema.prevalent, (6, 8))


@pytest.mark.parametrize("student", sorted(STUDENTS))
@pytest.mark.parametrize("schema", SCHEMAS, ids=["one", "two"])
def test_a_privileged_modality_is_never_read(student: str, schema: Schema) -> None:
    model = STUDENTS[student](schema, toy_config())
    model(Guarded(toy_batch(schema), schema.privileged))
    prevalent = {name: x for name, x in toy_batch(schema).items() if name in schema.prevalent}
    torch.manual_seed(3)
    alone = model(prevalent).prediction
    torch.manual_seed(3)
    assert torch.equal(alone, model(toy_batch(schema)).prediction)


@pytest.mark.parametrize("schema", SCHEMAS, ids=["one", "two"])
def test_every_parameter_of_the_student_learns(schema: Schema) -> None:
    model = build(schema)
    present = {"face": torch.arange(6) != 2, "scene": torch.arange(6) != 3}
    model(toy_batch(schema), present).prediction.square().sum().backward()
    missing = {"fusion.missing"}
    still = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert still <= missing


@pytest.mark.parametrize("schema", SCHEMAS, ids=["one", "two"])
def test_splitting_or_permuting_a_batch_changes_no_prediction(schema: Schema) -> None:
    model, batch = build(schema).eval(), toy_batch(schema)
    present = {"face": torch.tensor([True, True, False, True, True, False])}
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    whole = model(batch, present).prediction
    permuted = model(rows(batch, order), rows(present, order)).prediction
    torch.testing.assert_close(permuted, whole[order], atol=1e-5, rtol=0)
    alone = [model(rows(batch, slice(i, i + 1)), rows(present, slice(i, i + 1))).prediction for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), whole, atol=1e-5, rtol=0)


def test_weights_of_a_student_survive_a_round_trip() -> None:
    model, batch = build(SCHEMAS[1]).eval(), toy_batch(SCHEMAS[1])
    other = VisualStudent(SCHEMAS[1], toy_config()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).prediction, model(batch).prediction)
