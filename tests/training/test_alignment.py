"""Aligning a teacher's streams with its joint embedding: the loss that is minimised, and what is kept of it."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.alignment import TeacherPool, align
from pkdot.training.evaluation import Predictions

CPU = torch.device("cpu")
TASK = Task("classification", ("answer",), ("low", "middle", "high"))
LABELLED = torch.arange(40) % 4 != 1


def known_of(seed: int, samples: int = 40, labelled: Tensor = LABELLED) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    streams = {name: torch.randn(samples, 6, generator=generator) for name in ("weak", "strong", "third")}
    joint = streams["strong"] + 0.3 * torch.randn(samples, 6, generator=generator)
    target = joint[:, :3].argmax(1)
    ids = tuple(f"s{row}" for row in range(samples))
    return Predictions(ids, 2 * joint[:, :3], joint, streams, target, labelled)


def output_of(known: Predictions) -> Output:
    return Output(known.embedding, known.prediction, known.streams)


def by_hand(pool: TeacherPool, known: Predictions) -> Tensor:
    total = torch.zeros(())
    for embedding, answer in pool.adapted(known.streams).values():
        cosine = (functional.normalize(embedding, dim=1) * functional.normalize(known.embedding, dim=1)).sum(1)
        task = functional.cross_entropy(answer[known.labelled], known.target[known.labelled])
        total = total + (1 - cosine).mean() / 2 + task / 3 / 2
    return total


def test_the_loss_is_half_the_distance_of_each_stream_and_half_the_mean_task_loss() -> None:
    torch.manual_seed(0)
    pool, known = TeacherPool(("weak", "strong", "third"), 6, TASK), known_of(0)
    loss = pool.loss(output_of(known), known.target, known.labelled)
    assert torch.allclose(loss, by_hand(pool, known), rtol=1e-5)


def test_errors_are_those_of_each_teacher_sample_by_sample_and_of_the_joint_one_last() -> None:
    torch.manual_seed(0)
    pool, known = TeacherPool(("weak", "strong", "third"), 6, TASK), known_of(0)
    errors = pool.errors(output_of(known), known.target, known.labelled)
    answers = [answer for _, answer in pool.adapted(known.streams).values()] + [known.prediction]
    assert errors.shape == (4, 40)
    for row, answer in zip(errors, answers, strict=True):
        expected = functional.cross_entropy(answer, known.target, reduction="none")
        assert torch.allclose(row, torch.where(known.labelled, expected, 0.0), atol=1e-5)
    embeddings = pool.embeddings(output_of(known))
    assert embeddings.shape == (4, 40, 6)
    assert torch.equal(embeddings[-1], known.embedding)
    assert torch.allclose(embeddings[1], pool.adapted(known.streams)["strong"][0])


def trained_by_hand(train: Predictions, epochs: int, seed: int) -> list[TeacherPool]:
    """The pool before training and after each epoch, by a loop of its own."""
    torch.manual_seed(seed)
    pool = TeacherPool(tuple(train.streams), 6, TASK)
    adam, order = torch.optim.Adam(pool.parameters(), lr=5e-3), torch.Generator().manual_seed(seed)
    found = [copy.deepcopy(pool)]
    for _ in range(epochs):
        rows = torch.randperm(len(train.ids), generator=order)
        streams = {name: stream[rows] for name, stream in train.streams.items()}
        part = Predictions(
            (), train.prediction[rows], train.embedding[rows], streams, train.target[rows], train.labelled[rows]
        )
        adam.zero_grad()
        by_hand(pool, part).backward()
        adam.step()
        found.append(copy.deepcopy(pool))
    return found


@pytest.mark.parametrize("seed", [0, 3])
def test_the_pool_that_serves_the_validation_split_best_is_kept(seed: int) -> None:
    train, validation = known_of(1), known_of(2)
    # What is learned makes it worse there, so that another epoch than the last is the best.
    validation = replace(validation, embedding=-validation.embedding)
    pools = trained_by_hand(train, 12, seed)
    losses = [float(by_hand(pool, validation).detach()) for pool in pools[1:]]
    best = pools[1 + min(range(12), key=losses.__getitem__)]
    assert losses[-1] > min(losses)
    found = align(train, validation, TASK, epochs=12, seed=seed, device=CPU)
    for name, value in found.state_dict().items():
        assert torch.allclose(value, best.state_dict()[name], atol=1e-4), name
    assert not any(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize("wrong", [{}, {"narrow": torch.zeros(40, 5)}])
def test_streams_that_cannot_be_aligned_are_refused(wrong: dict[str, Tensor]) -> None:
    known = known_of(0)
    streams = {**known.streams, **wrong} if wrong else {}
    bad = Predictions(known.ids, known.prediction, known.embedding, streams, known.target, known.labelled)
    with pytest.raises(ValueError, match="one stream per modality, as wide as its embedding"):
        align(bad, bad, TASK, epochs=1, seed=0, device=CPU)


def test_an_adapter_is_two_linear_maps_through_half_the_width() -> None:
    pool = TeacherPool(("weak",), 6, TASK)
    shapes = {tuple(parameter.shape) for name, parameter in pool.named_parameters() if name.endswith("weight")}
    assert shapes == {(3, 6), (6, 3)}
    kinds = [type(module) for module in pool.modules() if not list(module.children())]
    assert kinds == [nn.Linear] * 3
