import pytest
import torch
from torch import Tensor

from pkdot.model import Output
from pkdot.students import HallucinatingStudent
from pkdot.students.tnet import TNet
from tests.encoders.toys import rows, toy_batch, toy_config, toy_schema

SCHEMA = toy_schema("face", "body", "notes.v2")


def build() -> HallucinatingStudent:
    torch.manual_seed(0)
    return HallucinatingStudent(SCHEMA, toy_config())


def teacher_streams(width: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: 40 + 3 * torch.randn(6, width, generator=generator) for name in SCHEMA.modalities}


def trained() -> HallucinatingStudent:
    model = build()
    model.hallucination_loss(model(toy_batch(SCHEMA)), teacher_streams())
    return model.eval()


def test_streams_hold_the_prevalent_and_the_hallucinated_ones() -> None:
    output = build()(toy_batch(SCHEMA))
    assert output.embedding.shape == (6, 8)
    assert output.prediction.shape == (6, 3)
    assert {key: stream.shape for key, stream in output.streams.items()} == dict.fromkeys(SCHEMA.modalities, (6, 8))


def test_an_untrained_tnet_refuses_to_predict() -> None:
    model, batch = build(), toy_batch(SCHEMA)
    model(batch)
    with pytest.raises(RuntimeError, match="T-Net that hallucinates 'body' was never trained"):
        model.eval()(batch)


def test_looking_at_the_loss_does_not_count_as_training() -> None:
    model, batch = build(), toy_batch(SCHEMA)
    with torch.no_grad():
        model.hallucination_loss(model(batch), teacher_streams())
    absent = {name: torch.zeros(6, 8) for name in SCHEMA.modalities}
    assert float(model.hallucination_loss(model(batch), absent).detach()) == 0
    with pytest.raises(RuntimeError, match="never trained"):
        model.eval()(batch)


def test_having_been_trained_is_saved_with_the_weights() -> None:
    model, batch = trained(), toy_batch(SCHEMA)
    other = HallucinatingStudent(SCHEMA, toy_config()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).prediction, model(batch).prediction)


def test_splitting_or_permuting_a_batch_changes_no_hallucination() -> None:
    model, batch = trained(), toy_batch(SCHEMA)
    order = torch.tensor([4, 0, 5, 2, 1, 3])

    def run(index: slice | Tensor) -> Tensor:
        output = model(rows(batch, index))
        return torch.cat([output.prediction, *output.streams.values()], 1)

    whole = run(slice(None))
    torch.testing.assert_close(run(order), whole[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([run(slice(i, i + 1)) for i in range(6)]), whole, atol=1e-5, rtol=0)


def learning(loss: Tensor, model: HallucinatingStudent) -> set[str]:
    """The parts of the model that get a gradient from a loss."""
    model.zero_grad()
    loss.backward()
    return {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_tnet_learns_from_the_teacher_and_nothing_else_does() -> None:
    model = build()
    output = model(toy_batch(SCHEMA))
    assert learning(output.prediction.square().sum() + output.embedding.sum(), model) == {"streams", "fusion", "head"}
    output = model(toy_batch(SCHEMA))
    assert learning(model.hallucination_loss(output, teacher_streams()), model) == {"tnets"}


def test_a_step_in_half_precision_stays_finite() -> None:
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(toy_batch(SCHEMA))
        loss = model.hallucination_loss(output, teacher_streams()) + output.prediction.square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_every_parameter_of_the_tnets_learns() -> None:
    model = build()
    model.hallucination_loss(model(toy_batch(SCHEMA)), teacher_streams()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.tnets.parameters())


def test_the_loss_is_the_squared_error_of_standardised_streams() -> None:
    model = build()
    output, known = model(toy_batch(SCHEMA)), teacher_streams()
    expected = []
    for name in SCHEMA.privileged:
        target = (known[name] - known[name].mean(0)) / known[name].std(0, correction=0)
        expected.append((output.streams[name] - target).square().mean())
    torch.testing.assert_close(model.hallucination_loss(output, known), sum(expected) / 2, atol=1e-4, rtol=1e-4)


def test_the_scale_of_the_teachers_stream_does_not_matter() -> None:
    losses = []
    for scale in (1.0, 1000.0):
        model = build()
        streams = {name: scale * stream for name, stream in teacher_streams().items()}
        losses.append(model.hallucination_loss(model(toy_batch(SCHEMA)), streams))
    torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-3)


def test_samples_without_the_privileged_modality_do_not_count() -> None:
    model = build()
    output, known = model(toy_batch(SCHEMA)), teacher_streams()
    few = {name: stream[:4] for name, stream in known.items()}
    shorter = Output(output.embedding, output.prediction, {name: s[:4] for name, s in output.streams.items()})
    expected = build().hallucination_loss(shorter, few)
    for stream in known.values():
        stream[4:] = 0
    torch.testing.assert_close(model.hallucination_loss(output, known), expected)


def test_a_tnet_learns_a_stream_that_can_be_learned() -> None:
    torch.manual_seed(0)
    tnet, seen = TNet(6, 4), torch.randn(64, 6)
    stream = 100 * seen @ torch.randn(6, 4) - 50
    optimizer = torch.optim.Adam(tnet.parameters(), lr=1e-2)
    first = float(tnet.loss(tnet(seen), stream).detach())
    for _ in range(150):
        optimizer.zero_grad()
        tnet.loss(tnet(seen), stream).backward()
        optimizer.step()
    assert float(tnet.loss(tnet(seen), stream).detach()) < 0.2 * first


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        (teacher_streams(width=5), r"hallucinated stream: got shape \(6, 8\), expected \(6, 5\)"),
        ({"face": torch.ones(6, 8)}, "expected a teacher's stream 'body', got face"),
    ],
    ids=["width", "missing"],
)
def test_a_teacher_that_does_not_fit_is_refused(streams: dict[str, Tensor], message: str) -> None:
    model = build()
    output = model(toy_batch(SCHEMA))
    with pytest.raises(ValueError, match=message):
        model.hallucination_loss(output, streams)


def test_nothing_to_hallucinate_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a privileged modality, got none"):
        HallucinatingStudent(toy_schema("face"), toy_config())
