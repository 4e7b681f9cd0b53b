import pytest
import torch

from pkdot.data.batch import Schema
from pkdot.teachers import TEACHERS
from tests.encoders.toys import rows, toy_batch, toy_config, toy_schema

SCHEMAS = [toy_schema("face", "body"), toy_schema("body"), toy_schema("face", "body", "voice", "scene", "notes.v2")]


def build(name: str, schema: Schema) -> torch.nn.Module:
    """A teacher whose normalisation layers have seen a batch."""
    torch.manual_seed(0)
    model = TEACHERS[name](schema, toy_config())
    model(toy_batch(schema, seed=7))
    return model


@pytest.fixture(params=sorted(TEACHERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(len(schema.modalities)))
def test_embedding_prediction_and_streams_have_the_shapes_of_the_contract(name: str, schema: Schema) -> None:
    output = build(name, schema)(toy_batch(schema))
    assert output.embedding.shape == (6, 8)
    assert output.prediction.shape == (6, 3)
    assert {key: stream.shape for key, stream in output.streams.items()} == dict.fromkeys(schema.modalities, (6, 8))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(len(schema.modalities)))
def test_every_parameter_takes_part_in_training(name: str, schema: Schema) -> None:
    model = build(name, schema)
    present = {key: torch.arange(6) != row for row, key in enumerate(schema.modalities)}
    model(toy_batch(schema), present).prediction.square().sum().backward()
    still = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The softmax over a single stream is 1, whatever the gate's weights are.
    gate = {"fusion.gate.weight", "fusion.gate.bias"} if name == "cross-attention" else set()
    assert still == (gate if len(schema.modalities) == 1 else set())


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(len(schema.modalities)))
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no-grad"])
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name: str, schema: Schema, grad: bool) -> None:
    model, batch = build(name, schema).eval(), toy_batch(schema)
    present = {key: torch.arange(6) != row for row, key in enumerate(schema.modalities)}
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    with torch.set_grad_enabled(grad):
        for masks in (None, present):

            def run(index: slice | torch.Tensor, masks: dict[str, torch.Tensor] | None = masks) -> torch.Tensor:
                output = model(rows(batch, index), None if masks is None else rows(masks, index))
                return torch.cat([output.embedding, output.prediction, *output.streams.values()], 1)

            whole = run(slice(None))
            torch.testing.assert_close(run(order), whole[order], atol=1e-5, rtol=0)
            for size in (1, 2, 4):
                parts = [run(slice(start, start + size)) for start in range(0, 6, size)]
                torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_values_in_the_rows_of_a_missing_modality_do_not_matter(name: str) -> None:
    schema = SCHEMAS[0]
    present = {"body": torch.tensor([True, False, True, True, False, False])}
    predictions = []
    for value in (0.0, 1e6, float("nan")):
        model, batch = build(name, schema), toy_batch(schema)
        batch["body"][~present["body"]] = value
        torch.manual_seed(1)
        trained = model(batch, present).prediction
        predictions.append(torch.cat([trained, model.eval()(batch, present).prediction]))
    assert torch.equal(predictions[0], predictions[1])
    assert torch.equal(predictions[0], predictions[2])
    assert predictions[0].isfinite().all()


def test_a_missing_modality_changes_the_answer_for_its_sample_alone(name: str) -> None:
    schema = SCHEMAS[0]
    model, batch = build(name, schema).eval(), toy_batch(schema)
    present = {"body": torch.arange(6) != 3}
    changed = (model(batch).embedding - model(batch, present).embedding).abs().amax(1) > 1e-5
    assert changed.tolist() == [False, False, False, True, False, False]


def test_half_precision_changes_little(name: str) -> None:
    schema = SCHEMAS[2]
    model, batch = build(name, schema).eval(), toy_batch(schema)
    present = {"body": torch.arange(6) != 3}
    exact = model(batch, present).prediction
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch, present).prediction
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_weights_survive_a_round_trip(name: str) -> None:
    model, batch = build(name, SCHEMAS[2]).eval(), toy_batch(SCHEMAS[2])
    torch.manual_seed(99)
    other = TEACHERS[name](SCHEMAS[2], toy_config()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).prediction, model(batch).prediction)


def test_a_modality_that_is_not_given_is_named(name: str) -> None:
    schema = SCHEMAS[0]
    with pytest.raises(ValueError, match="modality 'body' is missing; got face"):
        build(name, schema)({"face": toy_batch(schema)["face"]})
