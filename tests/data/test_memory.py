import pickle

import torch

from pkdot.data.memory import SampleMemory

KILOBYTE = 1 / 1024


def sample(bytes_: int) -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(bytes_, dtype=torch.uint8)}


def test_a_sample_is_given_back_as_it_was_added() -> None:
    memory, kept = SampleMemory(1), sample(4)
    assert memory.add(3, kept)
    assert memory.get(3) is kept
    assert memory.get(4) is None


def test_a_sample_counts_once() -> None:
    memory = SampleMemory(1)
    assert memory.add(3, sample(16))
    assert memory.add(3, sample(16))
    assert (len(memory), memory.used_bytes) == (1, 16)


def test_a_sample_without_room_is_not_kept_and_a_smaller_one_is() -> None:
    memory = SampleMemory(2 * KILOBYTE)
    assert memory.add(0, sample(1500))
    assert not memory.add(1, sample(549))
    assert memory.get(1) is None
    assert memory.add(2, sample(548))
    assert memory.used_bytes == 2048


def test_every_modality_of_a_sample_takes_room() -> None:
    memory = SampleMemory(KILOBYTE)
    assert not memory.add(0, {"x": torch.zeros(200), "y": torch.zeros(57)})
    assert memory.add(0, {"x": torch.zeros(200), "y": torch.zeros(56)})


def test_a_pickled_memory_leaves_its_samples_behind() -> None:
    memory = SampleMemory(1)
    memory.add(0, sample(100))
    copy = pickle.loads(pickle.dumps(memory))
    assert (len(copy), copy.used_bytes, copy.limit_mb) == (0, 0, 1)
