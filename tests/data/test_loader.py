from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pkdot.data.batch import Batch, Modality, Record, Schema
from pkdot.data.loader import Loader, collate, sample_generator
from pkdot.data.memory import SampleMemory
from pkdot.tasks import Task

SCHEMA = Schema(
    "toy",
    Task("classification", ("y",), ("a", "b")),
    {"face": Modality("image", (3, 8, 8)), "pulse": Modality("signal", (1, 40), 20.0)},
    ("face",),
    ("pulse",),
)
KILOBYTE = 1 / 1024
SAMPLE_BYTES = 3 * 8 * 8 + 4 * 40


class Toy:
    """Samples computed from their index; every fifth has no pulse."""

    def __init__(self, samples: int = 23, schema: Schema = SCHEMA) -> None:
        self.schema = schema
        self.records = [Record(f"r{i}", f"p{i}", (float(i % 2),)) for i in range(samples)]
        self.reads: list[int] = []

    def read(self, index: int) -> dict[str, Tensor]:
        self.reads.append(index)
        stream = torch.Generator().manual_seed(index)
        sample = {"face": torch.randint(0, 256, (3, 8, 8), generator=stream, dtype=torch.uint8)}
        if index % 5:
            sample["pulse"] = torch.randn((1, 40), generator=stream)
        return sample


class Broken(Toy):
    """One sample does not fit the schema."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        super().__init__()
        self.broken = {name: tensor}

    def read(self, index: int) -> dict[str, Tensor]:
        return super().read(index) | (self.broken if index == 7 else {})


class Together(Broken):
    """Complete samples that can also be read together."""

    def __init__(self, name: str = "pulse", tensor: Tensor | None = None) -> None:
        super().__init__(name, torch.zeros(1, 40) if tensor is None else tensor)
        self.calls: list[list[int]] = []

    def read(self, index: int) -> dict[str, Tensor]:
        return {"pulse": torch.full((1, 40), 0.1 * index)} | super().read(index)

    def read_together(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        self.calls.append(list(indices))
        samples = [Together.read(self, index) for index in indices]
        self.reads.clear()
        if len({sample["pulse"].shape for sample in samples}) > 1:
            return None
        return {name: torch.stack([sample[name] for sample in samples]) for name in self.schema.modalities}


def loader_of(dataset: Toy, **settings: object) -> Loader:
    known = np.ones(len(dataset.records), bool)
    return Loader(dataset, np.arange(len(dataset.records)), known, **({"batch_size": 4} | settings))  # type: ignore[arg-type]


def assert_same(left: Iterator[Batch], right: Iterator[Batch]) -> None:
    for one, other in zip(left, right, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.target, other.target)
        for name in SCHEMA.modalities:
            assert torch.equal(one.modalities[name], other.modalities[name])
            assert torch.equal(one.present[name], other.present[name])


def test_batches_come_in_order_and_nobody_is_left_out() -> None:
    loader = loader_of(Toy())
    batches = list(loader.epoch(0))
    assert [name for batch in batches for name in batch.ids] == [f"r{i}" for i in range(23)]
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert len(loader) == 6


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [
        (33, [17, 16]),
        (34, [32, 2]),
        (79, [32, 32, 15]),
        (80, [32, 32, 16]),
        (32, [32]),
        (65, [22, 22, 21]),
        (64, [32, 32]),
        (5, [5]),
        (0, []),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_no_batch_is_a_single_sample(samples: int, sizes: list[int], shuffle: bool) -> None:
    loader = loader_of(Toy(samples), batch_size=32, shuffle=shuffle)
    assert [len(batch) for batch in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes)


def test_the_order_follows_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[str]:
        loader = loader_of(Toy(), shuffle=True, seed=seed)
        return [name for batch in loader.epoch(epoch) for name in batch.ids]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3
    assert sorted(order(0, 0)) == sorted(f"r{i}" for i in range(23))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_an_epoch_resumed_in_the_middle_is_the_rest_of_it(workers: int, start: int) -> None:
    whole = list(loader_of(Toy(), shuffle=True, augment=True).epoch(3))
    resumed = list(loader_of(Toy(), shuffle=True, augment=True, workers=workers).epoch(3, start=start))
    assert len(resumed) == 6 - start
    assert_same(iter(resumed), iter(whole[start:]))


def test_skipped_batches_are_not_read() -> None:
    dataset = Toy()
    list(loader_of(dataset).epoch(0, start=4))
    assert dataset.reads == list(range(16, 23))


def test_workers_and_memory_change_nothing() -> None:
    settings = {"shuffle": True, "augment": True, "seed": 5}
    plain = loader_of(Toy(), **settings)
    remembering = loader_of(Toy(), memory=SampleMemory(1), **settings)
    for epoch in (0, 1):
        assert_same(plain.epoch(epoch), remembering.epoch(epoch))
        assert_same(plain.epoch(epoch), loader_of(Toy(), workers=2, memory=remembering.memory, **settings).epoch(epoch))


def test_loading_leaves_torchs_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for workers in (0, 1):
        list(loader_of(Toy(), shuffle=True, augment=True, workers=workers).epoch(0))
    assert torch.equal(torch.rand(3), expected)


def test_augmentation_differs_between_epochs_and_samples_but_not_between_loaders() -> None:
    def faces(epoch: int, **settings: object) -> Tensor:
        return torch.cat([batch.modalities["face"] for batch in loader_of(Toy(), **settings).epoch(epoch)])

    clean = faces(0)
    assert torch.equal(clean, faces(1))
    changed = faces(0, augment=True)
    assert not torch.equal(changed, clean)
    assert not torch.equal(changed, faces(1, augment=True))
    assert torch.equal(changed, faces(0, augment=True, batch_size=9))


class WithAges(Toy):
    """A vector beside the streams; the ages of a batch differ in its scale alone."""

    def __init__(self) -> None:
        vector = {"age": Modality("vector", (1,))}
        super().__init__(schema=replace(SCHEMA, modalities={**SCHEMA.modalities, **vector}, prevalent=("face", "age")))

    def read(self, index: int) -> dict[str, Tensor]:
        return super().read(index) | {"age": torch.tensor([30.0 + index])}


@pytest.mark.parametrize("workers", [0, 2])
def test_vectors_get_noise_while_training_and_nothing_else_changes(workers: int) -> None:
    clean, noisy = loader_of(WithAges()), loader_of(WithAges(), augment=True, workers=workers)
    again, without = loader_of(WithAges(), augment=True), loader_of(Toy(), augment=True)
    for plain, one, other, face in zip(*(loader.epoch(1) for loader in (clean, noisy, again, without)), strict=True):
        change = one.modalities["age"] - plain.modalities["age"]
        assert 0 < float(change.abs().max()) < 4
        assert torch.equal(one.modalities["age"], other.modalities["age"])
        assert torch.equal(one.modalities["face"], face.modalities["face"])


def test_augmentation_follows_from_the_seed() -> None:
    def pulses(seed: int) -> Tensor:
        return torch.cat([batch.modalities["pulse"] for batch in loader_of(Toy(), augment=True, seed=seed).epoch(2)])

    assert torch.equal(pulses(0), pulses(0))
    assert not torch.equal(pulses(0), pulses(1))
    generators = [sample_generator(*words) for words in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0))]
    assert len({generator.initial_seed() for generator in generators}) == 5


def test_frames_become_shares_and_a_missing_modality_zeros() -> None:
    dataset = Toy()
    (batch,) = loader_of(dataset, batch_size=23).epoch(0)
    torch.testing.assert_close(batch.modalities["face"][3], dataset.read(3)["face"] / 255)
    assert batch.present["face"].all()
    assert batch.present["pulse"].tolist() == [bool(i % 5) for i in range(23)]
    assert not batch.modalities["pulse"][::5].any()
    assert batch.missing().keys() == {"pulse"}


def test_frames_that_are_missing_or_floats_stand_beside_uint8() -> None:
    records = [Record(name, name, None) for name in "abc"]
    face = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    batch = collate([{"face": face}, {}, {"face": face / 255}], records, np.zeros(3, bool), SCHEMA)
    assert batch.modalities["face"].amax((1, 2, 3)).tolist() == [1.0, 0.0, 1.0]
    assert batch.present["face"].tolist() == [True, False, True]


def test_targets_are_int64_classes_or_float32_rows() -> None:
    (batch,) = loader_of(Toy(4)).epoch(0)
    assert batch.target.dtype == torch.int64
    assert batch.target.tolist() == [0, 1, 0, 1]
    pair = Schema("pair", Task("regression", ("v", "a")), SCHEMA.modalities, ("face",), ("pulse",))
    records = [Record("x", "x", (0.5, -1.0)), Record("y", "y", None), Record("z", "z", (0.25, 1.0))]
    values = collate([{}, {}, {}], records, np.array([True, False, False]), pair)
    assert values.target.dtype == torch.float32
    assert values.target.tolist() == [[0.5, -1.0], [0.0, 0.0], [0.0, 0.0]]
    assert values.labelled.tolist() == [True, False, False]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("pulse", torch.full((1, 40), torch.nan), r"sample 'r7', modality 'pulse': expected finite numbers, got nan"),
        ("pulse", torch.tensor([[torch.inf] * 40]), r"sample 'r7', modality 'pulse': expected finite numbers, got inf"),
        ("pulse", torch.zeros(1, 39), r"sample 'r7', modality 'pulse': expected shape \(1, 40\), got \(1, 39\)"),
        ("sweat", torch.zeros(1), r"sample 'r7', modality 'sweat': not a modality of 'toy'"),
    ],
)
def test_a_bad_sample_is_one_line_that_names_it(workers: int, name: str, tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        list(loader_of(Broken(name, tensor), workers=workers).epoch(0))
    assert "\n" not in str(caught.value)


def test_batches_are_the_same_read_together_or_one_by_one() -> None:
    together = loader_of(Together(), shuffle=True)
    singly = loader_of(Together(), shuffle=True)
    singly.dataset.read_together = lambda indices: None  # type: ignore[attr-defined]
    assert_same(together.epoch(1), singly.epoch(1))
    assert together.dataset.reads == []  # type: ignore[attr-defined]
    assert len(singly.dataset.reads) == 23  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("pulse", torch.full((1, 40), torch.nan), "expected finite numbers, got nan"),
        ("pulse", torch.full((1, 40), -torch.inf), "expected finite numbers, got -inf"),
        ("pulse", torch.zeros(1, 39), "expected shape"),
    ],
)
def test_a_bad_sample_among_those_read_together_is_named(name: str, tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"sample 'r7', modality '{name}': {message}"):
        list(loader_of(Together(name, tensor)).epoch(0))
    with pytest.raises(ValueError, match=f"sample 'r7', modality '{name}': {message}"):
        loader_of(Together(name, tensor), memory=SampleMemory(1)).preload()


def test_what_is_read_together_is_looked_at_before_and_not_kept() -> None:
    loader = loader_of(Together(), memory=SampleMemory(1))
    loader.preload()
    assert sorted(index for call in loader.dataset.calls for index in call) == list(range(23))  # type: ignore[attr-defined]
    assert len(loader.memory) == 0


def test_augmentation_takes_samples_one_by_one() -> None:
    dataset = Together()
    list(loader_of(dataset, augment=True).epoch(0))
    assert dataset.calls == []


def test_the_memory_is_read_instead_of_the_disk() -> None:
    dataset = Toy()
    loader = loader_of(dataset, memory=SampleMemory(1))
    list(loader.epoch(0))
    list(loader.epoch(1))
    assert sorted(dataset.reads) == list(range(23))


def test_a_full_memory_keeps_what_it_has() -> None:
    memory = SampleMemory(2 * KILOBYTE)
    list(loader_of(Toy(), memory=memory).epoch(0))
    assert 0 < len(memory) < 23
    assert 2048 - SAMPLE_BYTES < memory.used_bytes <= 2048


def test_preloading_reads_everything_once_and_finds_bad_samples() -> None:
    dataset = Toy()
    loader = loader_of(dataset, memory=SampleMemory(1))
    loader.preload()
    loader.preload()
    list(loader.epoch(0))
    assert dataset.reads == list(range(23))
    with pytest.raises(ValueError, match="sample 'r7'"):
        loader_of(Broken("pulse", torch.zeros(2)), memory=SampleMemory(1)).preload()


def test_preloading_stops_where_the_memory_is_full() -> None:
    dataset = Toy()
    loader_of(dataset, memory=SampleMemory(KILOBYTE)).preload()
    assert len(dataset.reads) < 6
    dataset.reads.clear()
    loader_of(dataset, memory=SampleMemory(0)).preload()
    assert dataset.reads == []


def test_a_loader_of_nothing_has_no_batches() -> None:
    empty = Loader(Toy(), np.array([], dtype=np.int64), np.ones(23, bool), batch_size=4, workers=2)
    assert len(empty) == 0
    assert list(empty.epoch(0)) == []
