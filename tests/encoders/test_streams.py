import pytest
import torch

from pkdot.encoders.streams import StreamEncoders
from tests.encoders.toys import toy_batch, toy_config, toy_schema

SCHEMA = toy_schema("body", "notes.v2")


def encoders() -> StreamEncoders:
    torch.manual_seed(0)
    return StreamEncoders(SCHEMA, ("body", "notes.v2"), toy_config())


def test_samples_without_the_modality_have_zero_tokens() -> None:
    present = torch.tensor([True, False, True, True, False, True])
    stream = encoders()(toy_batch(SCHEMA), {"body": present})["body"]
    assert torch.equal(stream.present, present)
    assert torch.equal(stream.tokens.abs().sum((1, 2)) > 0, present)
    assert torch.equal(stream.pooled.abs().sum(1) > 0, present)


def test_rows_of_a_missing_modality_touch_neither_output_nor_statistics() -> None:
    present = {"body": torch.tensor([True, False, True, True, False, True])}
    outcomes = []
    for value in (0.0, float("nan")):
        batch, model = toy_batch(SCHEMA), encoders()
        batch["body"][~present["body"]] = value
        torch.manual_seed(1)
        tokens = model(batch, present)["body"].tokens
        outcomes.append([tokens, *model.state_dict().values()])
    for one, other in zip(*outcomes, strict=True):
        assert torch.equal(one, other)


def test_a_modality_that_no_sample_has_is_not_encoded() -> None:
    stream = encoders()(toy_batch(SCHEMA), {"body": torch.zeros(6, dtype=torch.bool)})["body"]
    assert stream.tokens.shape == (6, 1, 8)
    assert not stream.tokens.any()
    assert not stream.present.any()


def test_what_is_not_given_or_misshapen_is_named() -> None:
    batch = toy_batch(SCHEMA)
    with pytest.raises(ValueError, match=r"modality 'notes\.v2' is missing; got body"):
        encoders()({"body": batch["body"]})
    with pytest.raises(ValueError, match=r"modality 'body': expected samples of shape \(2, 100\), got \(2, 99\)"):
        encoders()({**batch, "body": batch["body"][..., 1:]})


@pytest.mark.parametrize("names", [(), ("face",)])
def test_a_model_of_nothing_or_of_what_is_not_there_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected some of body, notes\.v2"):
        StreamEncoders(SCHEMA, names, toy_config())
