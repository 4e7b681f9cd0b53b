import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pkdot.config import BioVidConfig, DataConfig
from pkdot.data.biovid import LEVELS, BioVid
from pkdot.data.synthetic import biovid as synthetic_biovid
from pkdot.data.synthetic.biovid import (
    SyntheticBioVid,
    SyntheticBioVidSpec,
    default_spec,
    simulate_trials,
    write_synthetic_biovid,
)
from pkdot.data.synthetic.pain import PainStory

TINY = SyntheticBioVidSpec(subjects=3, per_class=2, frames=4, size=16)
GOLDEN = "f5dbcf687c2163148a12cf38577a7fe625ceeb13e1f0180f6c4d461ed046055e"


def text_files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.suffix == ".csv"
    }


@pytest.fixture(scope="module")
def part_a(tmp_path_factory):
    return write_synthetic_biovid(tmp_path_factory.mktemp("tiny"), TINY)


def test_the_set_of_a_seed_never_changes(part_a):
    digest = hashlib.sha256()
    for name, content in text_files(part_a).items():
        digest.update(name.encode() + content)
    for trial in simulate_trials(TINY):
        digest.update(trial.face.frames.tobytes())
    assert digest.hexdigest() == GOLDEN


def test_equal_specs_write_equal_files_and_another_seed_other_ones(part_a, tmp_path):
    again = write_synthetic_biovid(tmp_path / "again", TINY)
    assert text_files(again) == text_files(part_a)
    other = text_files(write_synthetic_biovid(tmp_path / "other", replace(TINY, seed=1)))
    assert set(other).isdisjoint(set(text_files(part_a)) - {"latents.csv", "starting_point/samples.csv"})


def test_a_larger_set_begins_with_the_same_people():
    few = [trial.name for trial in simulate_trials(replace(TINY, subjects=1))]
    assert few == [trial.name for trial in simulate_trials(TINY)][: len(few)]


def test_files_stand_where_the_real_ones_do(part_a):
    header, *lines = (part_a / "starting_point" / "samples.csv").read_text().splitlines()
    assert header.split("\t") == ["subject_id", "subject_name", "class_id", "class_name", "sample_id", "sample_name"]
    assert len(lines) == 3 * 2 * 2
    for line in lines:
        _, subject, class_id, class_name, _, sample = line.split("\t")
        assert re.fullmatch(r"\d{6}_[mw]_\d{2}", subject)
        assert re.fullmatch(rf"{subject}-{class_name}-\d{{3}}", sample)
        assert LEVELS[int(class_id)] == class_name
        assert int(sample[-3:]) > 80 if class_name == "BL1" else int(sample[-3:]) <= 80
        frames = sorted(file.name for file in (part_a / "video_frames" / subject / sample).iterdir())
        assert frames == [f"img_{number:05d}.jpg" for number in range(1, 5)]
        assert (part_a / "biosignals_filtered" / subject / f"{sample}_bio.csv").is_file()


def test_a_signal_file_has_5_5_seconds_at_512_hz(part_a):
    header, *lines = next(part_a.rglob("*_bio.csv")).read_text().splitlines()
    assert header.split("\t") == ["time", "gsr", "ecg", "emg_trapezius"]
    times = np.array([int(line.split("\t")[0]) for line in lines])
    assert len(times) == 2816
    assert times[0] == 0
    assert np.abs(times - np.arange(2816) * 1e6 / 512).max() <= 0.5


def test_part_b_adds_facial_emg(tmp_path):
    folder = write_synthetic_biovid(tmp_path, replace(TINY, subjects=1, per_class=1, part="B"))
    assert folder.name == "PartB"
    header = next(folder.rglob("*_bio.csv")).read_text().splitlines()[0]
    assert header.split("\t")[4:] == ["emg_corrugator", "emg_zygomaticus"]


def test_the_ordinal_set_has_all_levels_as_often():
    trials = list(simulate_trials(replace(TINY, subjects=1, levels="ordinal")))
    assert sorted(trial.level for trial in trials) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_latents_tell_what_was_felt_and_shown(part_a):
    header, *lines = (part_a / "latents.csv").read_text().splitlines()
    assert header.startswith("sample_name,felt,face,body,AU1,AU4,")
    rows = {line.split(",")[0]: [float(cell) for cell in line.split(",")[1:]] for line in lines}
    assert len(rows) == 12
    for name, (felt, face, body, *units) in rows.items():
        if "-BL1-" in name:
            assert felt == face == body == 0
        else:
            assert felt > 0
        assert all(0 <= unit <= 1 for unit in units)


def test_what_the_face_does_changes_nothing_in_the_body_of_part_a():
    plain = list(simulate_trials(TINY))
    stony = list(simulate_trials(replace(TINY, story=PainStory(shown=0.0, distraction=0.0, display=0.0))))
    assert all((a.body.signal == b.body.signal).all() for a, b in zip(plain, stony, strict=True))
    assert any((a.face.frames != b.face.frames).any() for a, b in zip(plain, stony, strict=True))


def test_what_the_body_does_changes_nothing_in_the_face():
    plain = list(simulate_trials(TINY))
    cold = list(simulate_trials(replace(TINY, story=PainStory(autonomic=0.0, spontaneous=0.0))))
    assert all((a.face.frames == b.face.frames).all() for a, b in zip(plain, cold, strict=True))
    assert any((a.body.signal != b.body.signal).any() for a, b in zip(plain, cold, strict=True))


def test_facial_emg_of_part_b_follows_the_frown():
    story = PainStory(tension=0.0)
    trials = list(simulate_trials(replace(TINY, subjects=6, per_class=4, frames=12, part="B", story=story)))
    brow = [trial.face.units[:, 1].mean() - trial.face.units[:, 1].min() for trial in trials]
    corrugator = [np.abs(trial.body.signal[3]).reshape(11, -1).mean(1) for trial in trials]
    rise = [np.log(course.mean() / course.min()) for course in corrugator]
    assert np.corrcoef(brow, rise)[0, 1] > 0.7


def biosignal_features(trials):
    signal = np.stack([trial.body.signal for trial in trials])
    conductance = signal[:, 0].reshape(len(trials), 11, -1).mean(-1)
    muscle = np.log(np.abs(signal[:, 2]).reshape(len(trials), 11, -1).mean(-1))
    return np.concatenate([conductance - conductance[:, :2].mean(1, keepdims=True), muscle - muscle[:, :1]], axis=1)


def video_features(trials):
    grey = np.stack([trial.face.frames for trial in trials]).astype(np.float32).mean(-1)
    coarse = grey.reshape(*grey.shape[:2], 12, 2, 12, 2).mean((3, 5))
    change = coarse - np.median(coarse, axis=1, keepdims=True)
    return np.concatenate([change.max(1), change.min(1)], axis=1).reshape(len(trials), -1)


def test_both_modalities_together_tell_most_and_video_alone_least():
    trials = list(simulate_trials(replace(default_spec(DataConfig()), per_class=6, frames=8, size=24)))
    subject = np.array([trial.subject_number for trial in trials])
    pain = np.array([trial.level > 0 for trial in trials])
    views = {"physio": (biosignal_features(trials), 0.1), "video": (video_features(trials), 0.002)}
    accuracy = {"video": [], "physio": [], "both": []}
    for fold in range(4):
        held_out = subject % 4 == fold
        scores = []
        for name, (features, strength) in views.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            model.fit(features[~held_out], pain[~held_out])
            scores.append(model.decision_function(features[held_out]))
            accuracy[name].append(np.mean((scores[-1] > 0) == pain[held_out]))
        accuracy["both"].append(np.mean((sum(scores) > 0) == pain[held_out]))
    video, physio, both = (100 * np.mean(accuracy[name]) for name in ("video", "physio", "both"))
    assert 55 < video < 75
    assert video + 8 < physio <= both


def test_the_cached_set_is_made_once_and_read_like_the_real_one(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_biovid, "default_spec", lambda config: replace(TINY, part=config.biovid.part))
    config = DataConfig(cache_dir=tmp_path, frames=4, image_size=16)
    dataset = SyntheticBioVid.open(None, config)
    assert isinstance(dataset, BioVid)
    assert dataset.schema.name == "synthetic-biovid"
    assert len(dataset.records) == 12
    monkeypatch.setattr(synthetic_biovid, "write_synthetic_biovid", lambda *_: pytest.fail("made again"))
    assert SyntheticBioVid.open(None, config).records == dataset.records
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("biovid-A-binary-seed0-")


@pytest.mark.parametrize("part", ["A", "B"])
@pytest.mark.parametrize("levels", ["binary", "ordinal"])
def test_default_sets_have_enough_subjects_and_samples(part, levels):
    spec = default_spec(DataConfig(biovid=BioVidConfig(levels, part)))
    assert spec.subjects >= 36
    assert 500 <= spec.subjects * spec.per_class * len(spec.classes) <= 900
    assert len({synthetic_biovid._subject_name(spec, i, np.random.default_rng(0)) for i in range(spec.subjects)}) >= 36


def test_a_path_is_refused():
    with pytest.raises(ValueError, match=r"takes no path.*use biovid:somewhere"):
        SyntheticBioVid.open("somewhere", DataConfig())


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"subjects": 1801}, {"per_class": 0}, {"frames": 0}, {"size": 4}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(TINY, **wrong)
