import pytest
import torch
from torch import Tensor

from pkdot.data.augment import (
    VECTOR_NOISE,
    augment_audio,
    augment_frames,
    augment_sample,
    augment_signal,
    augment_vectors,
    to_unit,
)
from pkdot.data.batch import Kind, Modality, Schema
from pkdot.tasks import Task

SHAPES: dict[Kind, tuple[int, ...]] = {
    "vector": (5,),
    "signal": (2, 200),
    "image": (3, 24, 24),
    "video": (3, 4, 24, 24),
    "audio": (400,),
}
TASK = Task("regression", ("y",))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def schema_of(shapes: dict[Kind, tuple[int, ...]]) -> Schema:
    modalities = {f"a-{kind}": Modality(kind, shape) for kind, shape in shapes.items()}
    return Schema("all", TASK, modalities, tuple(modalities), ())


def sample_of(shapes: dict[Kind, tuple[int, ...]]) -> dict[str, Tensor]:
    frames = ("image", "video")
    return {
        f"a-{kind}": torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded())
        if kind in frames
        else torch.randn(shape, generator=seeded())
        for kind, shape in shapes.items()
    }


def test_a_sample_keeps_its_shapes_and_its_vectors() -> None:
    sample = sample_of(SHAPES)
    before = {name: tensor.clone() for name, tensor in sample.items()}
    after = augment_sample(sample, schema_of(SHAPES), seeded())
    for name, tensor in after.items():
        assert tensor.shape == sample[name].shape
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(sample[name], before[name])
    torch.testing.assert_close(after["a-vector"], sample["a-vector"])


def test_the_seed_alone_decides_whatever_the_number_of_threads() -> None:
    shapes: dict[Kind, tuple[int, ...]] = {**SHAPES, "audio": (200_000,), "signal": (1, 100_000)}
    sample, schema = sample_of(shapes), schema_of(shapes)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(number)
            results.append(augment_sample(sample, schema, seeded(3)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0][name], results[1][name]) for name in sample)
    other = augment_sample(sample, schema, seeded(4))
    assert not torch.equal(other["a-video"], results[0]["a-video"])


def test_a_missing_modality_stays_missing() -> None:
    assert augment_sample({}, schema_of(SHAPES), seeded()) == {}


def test_frames_stay_in_range() -> None:
    for level in (0, 255):
        frames = augment_frames(torch.full((3, 2, 8, 8), level, dtype=torch.uint8), seeded())
        assert 0 <= float(frames.min()) <= float(frames.max()) <= 1


def test_frames_are_changed_alike_but_for_the_noise() -> None:
    frame = torch.rand((3, 1, 48, 48), generator=seeded())
    for seed in range(5):
        clip = augment_frames(frame.expand(-1, 6, -1, -1), seeded(seed))
        assert (clip - clip[:, :1]).abs().max() < 0.2
        assert (clip - frame).abs().mean() > 0.02


def test_both_orientations_and_several_shifts_occur() -> None:
    ramp = torch.arange(48.0).expand(1, 48, 48) / 96 + 0.25
    slopes, middles = set(), set()
    for seed in range(30):
        row = augment_frames(ramp, seeded(seed)).mean(1)[0]
        slopes.add(bool(row[40] > row[8]))
        middles.add(round(float(row[24]), 2))
    assert slopes == {True, False}
    assert len(middles) > 5


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_and_short_signals_pass(side: int) -> None:
    assert augment_frames(torch.rand(1, side, side), seeded()).shape == (1, side, side)
    assert augment_signal(torch.rand(1, side), seeded()).shape == (1, side)
    assert augment_audio(torch.rand(side), seeded()).shape == (side,)


def test_a_signal_stays_close_to_itself_and_silence_stays_silent() -> None:
    time = torch.arange(500) / 500
    signal = torch.stack([torch.sin(6 * time), 1000 * torch.cos(6 * time)])
    for seed in range(10):
        changed = augment_signal(signal, seeded(seed))
        spread = signal.std(1, keepdim=True)
        assert ((changed - signal) / spread).abs().mean() < 0.5
    assert not augment_signal(torch.zeros(2, 50), seeded()).any()
    assert not augment_audio(torch.zeros(50), seeded()).any()


def test_grey_levels_become_shares() -> None:
    torch.testing.assert_close(to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))
    torch.testing.assert_close(to_unit(torch.tensor([0.25], dtype=torch.float64)), torch.tensor([0.25]))


def test_a_vector_gets_noise_on_the_scale_of_each_of_its_numbers() -> None:
    scales = torch.tensor([1.0, 1000.0, 0.0])
    vectors = scales * torch.randn(4000, 3, generator=seeded()) + 7
    noise = augment_vectors(vectors, torch.ones(4000, dtype=torch.bool), [seeded(i) for i in range(4000)]) - vectors
    torch.testing.assert_close(noise.std(0), VECTOR_NOISE * scales, rtol=0.05, atol=1e-6)
    assert float(noise.mean(0)[1].abs()) < 20


def test_a_missing_vector_stays_and_does_not_count() -> None:
    vectors = torch.tensor([[1.0], [3.0], [1e6]])
    present = torch.tensor([True, True, False])
    noisy = augment_vectors(vectors, present, [seeded(i) for i in range(3)])
    assert float(noisy[2]) == 1e6
    assert 0 < float((noisy - vectors)[:2].abs().max()) < 10 * VECTOR_NOISE
    for few in (torch.zeros(3, dtype=torch.bool), torch.tensor([True, False, False])):
        torch.testing.assert_close(augment_vectors(vectors, few, [seeded(i) for i in range(3)]), vectors)
