import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import wavfile

from pkdot.config import DataConfig
from pkdot.data.affwild2 import AffWild2
from pkdot.data.synthetic import affwild2 as synthetic_affwild2
from pkdot.data.synthetic.affect import AffectStory, draw_feelings, speak
from pkdot.data.synthetic.affwild2 import (
    SyntheticAffWild2,
    SyntheticAffWild2Spec,
    simulate_videos,
    write_synthetic_affwild2,
)
from pkdot.data.synthetic.faces import ACTION_UNITS

TINY = SyntheticAffWild2Spec(train_videos=8, validation_videos=2, frames=24, size=16)
GOLDEN = "0d9897ea8ad7372cf1d55e1726168b49b12e68cad08877ad486f24945945893e"


def text_files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".txt", ".csv")
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_synthetic_affwild2(tmp_path_factory.mktemp("tiny"), TINY)


def test_the_set_of_a_seed_never_changes(written):
    digest = hashlib.sha256()
    for name, content in text_files(written).items():
        digest.update(name.encode() + content)
    for _, _, tracks in simulate_videos(TINY):
        for track in tracks:
            digest.update(track.frames.tobytes())
    assert digest.hexdigest() == GOLDEN


def test_another_seed_writes_other_files(written, tmp_path):
    other = text_files(write_synthetic_affwild2(tmp_path, replace(TINY, seed=1)))
    assert set(other) == set(text_files(written))
    assert all(other[name] != content for name, content in text_files(written).items())


def test_files_stand_where_the_real_ones_do(written):
    annotations = written / "annotations" / "VA_Estimation_Challenge"
    training = {file.stem for file in (annotations / "Train_Set").iterdir()}
    validation = {file.stem for file in (annotations / "Validation_Set").iterdir()}
    assert len(training) == 9
    assert len(validation) == 2
    assert {folder.name for folder in (written / "cropped_aligned").iterdir()} == training | validation
    pair = {name for name in training if name.endswith(("_left", "_right"))}
    assert len(pair) == 2
    assert len(list((written / "audio").iterdir())) == 10
    for name in training | validation:
        lines = next(annotations.rglob(f"{name}.txt")).read_text().splitlines()
        assert lines[0] == "valence,arousal"
        assert len(lines) == 1 + TINY.frames


def test_sound_lasts_as_long_as_the_video(written):
    for file in (written / "audio").iterdir():
        rate, sound = wavfile.read(file)
        assert rate == 16_000
        assert sound.dtype == np.int16
        assert len(sound) == TINY.frames * 16_000 // TINY.fps
        assert 500 < np.abs(sound.astype(int)).max() < 32767


def test_detector_gaps_and_invalid_labels_occur(written):
    spec = replace(TINY, frames=100)
    undetected, invalid = [], []
    for _, _, tracks in simulate_videos(replace(spec, size=8)):
        for track in tracks:
            undetected.append(track.undetected.mean())
            invalid.append(track.invalid.mean())
    assert 0.005 < np.mean(undetected) < 0.12
    assert 0.005 < np.mean(invalid) < 0.05
    pictures = len(list((written / "cropped_aligned").rglob("*.jpg")))
    assert pictures == sum((~track.undetected).sum() for _, _, tracks in simulate_videos(TINY) for track in tracks)


def test_faces_show_valence_and_voices_arousal():
    smile, loudness, valence, arousal = [], [], [], []
    spec = SyntheticAffWild2Spec(train_videos=30, validation_videos=1, frames=60, size=8)
    for _, _, tracks in simulate_videos(spec):
        for track in tracks:
            talking = track.feelings.talking.mean()
            if talking < 0.5:
                continue
            units = track.units.mean(0)
            smile.append(units[ACTION_UNITS.index("AU12")] - units[ACTION_UNITS.index("AU15")])
            loudness.append(np.log(track.voice.std() / np.sqrt(talking)))
            valence.append(track.feelings.valence.mean())
            arousal.append(track.feelings.arousal.mean())
    assert np.corrcoef(smile, valence)[0, 1] > 0.85
    assert np.corrcoef(loudness, arousal)[0, 1] > 0.85


def test_a_voice_is_the_sum_of_its_harmonics():
    story = AffectStory(hiss=0.0, valence_in_voice=0.0)
    feelings = draw_feelings(np.random.default_rng(0), 24, 12, story)
    flat = replace(feelings, arousal=np.zeros(24), talking=np.ones(24))
    voice = speak(flat, np.random.default_rng(1), 12, story)
    pitch = np.random.default_rng(1).uniform(95, 230)
    time = np.arange(1, voice.size + 1)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.03 * np.sin(2 * np.pi * 4.5 * (time - 1) / 16_000))) / 16_000
    tone = sum(np.sin(number * phase) / number**1.9 for number in range(1, 13))
    syllables = 0.35 + 0.65 * np.abs(np.sin(np.pi * 3.2 * time / 16_000))
    assert np.allclose(voice, tone * syllables * 10**-0.7, atol=1e-6)


def test_the_cached_set_is_made_once_and_read_like_the_real_one(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_affwild2, "SyntheticAffWild2Spec", lambda: TINY)
    config = DataConfig(cache_dir=tmp_path, frames=6, image_size=16)
    dataset = SyntheticAffWild2.open(None, config)
    assert isinstance(dataset, AffWild2)
    assert dataset.schema.name == "synthetic-affwild2"
    assert {record.split for record in dataset.records} == {"train", "val", "test"}
    for index in range(0, len(dataset.records), 7):
        sample = dataset.read(index)
        assert {name: tuple(stream.shape) for name, stream in sample.items()} == {
            "video": (3, 6, 16, 16),
            "audio": (16_000,),
        }
    monkeypatch.setattr(synthetic_affwild2, "write_synthetic_affwild2", lambda *_: pytest.fail("made again"))
    assert SyntheticAffWild2.open(None, config).records == dataset.records


def test_the_default_set_has_one_to_two_thousand_windows():
    spec, config = SyntheticAffWild2Spec(), DataConfig()
    windows = (spec.frames - config.frames) // (config.frames // 2) + 1
    assert 1000 <= windows * (spec.train_videos + spec.validation_videos) <= 2000


def test_a_path_is_refused():
    with pytest.raises(ValueError, match=r"takes no path.*use affwild2:somewhere"):
        SyntheticAffWild2.open("somewhere", DataConfig())


@pytest.mark.parametrize(
    "wrong", [{"train_videos": 0}, {"validation_videos": 0}, {"frames": 0}, {"fps": 1}, {"size": 4}]
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(TINY, **wrong)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("train_videos", 1, 9999),
        ("validation_videos", 1, 9999),
        ("frames", 1, 99_999),
        ("fps", 2, 240),
        ("size", 8, 4096),
    ],
)
def test_sizes_outside_their_limits_are_refused(field: str, low: int, high: int) -> None:
    for value in (low, high):
        SyntheticAffWild2Spec(**{field: value})  # type: ignore[arg-type]
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{field} {value} is outside"):
            SyntheticAffWild2Spec(**{field: value})  # type: ignore[arg-type]
