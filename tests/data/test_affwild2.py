import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from pkdot.config import DataConfig
from pkdot.data import open_dataset
from pkdot.data.affwild2 import AffWild2, video_of
from pkdot.data.batch import MultimodalDataset

RATE = 16_000
FPS = 10


def shade(number):
    return 4 * number


def write_track(root, name, split, frames=40, missing=(), labels=None, edition="annotations"):
    """Frame k has grey level 4 k; its valence is k / 100 and its arousal -k / 100."""
    folder = root / "cropped_aligned" / name
    folder.mkdir(parents=True)
    for number in range(1, frames + 1):
        if number not in missing:
            Image.new("L", (16, 16), shade(number)).save(folder / f"{number:05d}.jpg")
    lines = [f"{number / 100},{-number / 100}" for number in range(1, frames + 1)] if labels is None else labels
    annotation = root / edition / "VA_Estimation_Challenge" / split / f"{name}.txt"
    annotation.parent.mkdir(parents=True, exist_ok=True)
    annotation.write_text("valence,arousal\n" + "\n".join(lines) + "\n")
    return annotation


def write_sound(root, video, sound, rate=RATE):
    path = root / "audio" / f"{video}.wav"
    path.parent.mkdir(exist_ok=True)
    wavfile.write(path, rate, sound)
    return path


@pytest.fixture
def root(tmp_path):
    for name in ("video1", "5-10-640x360_left", "5-10-640x360_right", "video7"):
        write_track(tmp_path, name, "Train_Set")
    write_track(tmp_path, "video9", "Validation_Set", missing=(1, 2, 18, 19, 20))
    return tmp_path


def open_at(root, **settings):
    return AffWild2.open(root, DataConfig(**{"frames": 6, "image_size": 16, **settings}))


def index_of(dataset, name):
    return [record.id for record in dataset.records].index(name)


def test_a_window_has_the_label_of_its_last_frame(root):
    dataset = open_at(root)
    assert isinstance(dataset, MultimodalDataset)
    assert dataset.schema.task.kind == "regression"
    assert dataset.schema.task.targets == ("valence", "arousal")
    assert (dataset.schema.prevalent, dataset.schema.privileged) == (("video",), ("audio",))
    record = dataset.records[index_of(dataset, "video1/00012")]
    assert record.target == (0.12, -0.12)
    video = dataset.read(index_of(dataset, "video1/00012"))["video"]
    assert video.dtype == torch.uint8
    assert video[0, :, 8, 8].tolist() == [shade(number) for number in range(7, 13)]


def test_windows_start_every_half_window(root):
    ends = [int(record.id[-5:]) for record in open_at(root).records if record.subject == "video1"]
    assert ends == list(range(6, 41, 3))


def test_invalid_frames_end_no_window_whichever_value_is_invalid(root):
    lines = [f"{number / 100},0" for number in range(1, 41)]
    lines[11], lines[14] = "-5,0.1", "0.1,-5.0"
    shutil.rmtree(root / "cropped_aligned" / "video1")
    write_track(root, "video1", "Train_Set", labels=lines)
    ends = [int(record.id[-5:]) for record in open_at(root).records if record.subject == "video1"]
    assert ends == [end for end in range(6, 41, 3) if end not in (12, 15)]


def test_a_video_shorter_than_a_window_is_one_sample(root):
    write_track(root, "video3", "Train_Set", frames=4)
    dataset = open_at(root)
    assert [record.id for record in dataset.records if record.subject == "video3"] == ["video3/00004"]
    video = dataset.read(index_of(dataset, "video3/00004"))["video"]
    assert video[0, :, 8, 8].tolist() == [shade(number) for number in (1, 1, 1, 2, 3, 4)]


def test_the_nearest_earlier_picture_stands_in_for_a_missing_one(root):
    dataset = open_at(root)
    video = dataset.read(index_of(dataset, "video9/00021"))["video"]
    assert video[0, :, 8, 8].tolist() == [shade(number) for number in (16, 17, 17, 17, 17, 21)]
    video = dataset.read(index_of(dataset, "video9/00006"))["video"]
    assert video[0, :, 8, 8].tolist() == [shade(number) for number in (3, 3, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("track", "video"),
    [
        ("video1", "video1"),
        ("video10_1", "video10_1"),
        ("5-10-640x360_left", "5-10-640x360"),
        ("video59_right", "video59"),
        ("left_right_hand_left", "left_right_hand"),
    ],
)
def test_one_trailing_side_is_removed(track, video):
    assert video_of(track) == video


def test_splits_are_by_video_and_the_official_validation_set_is_the_test_split(root):
    records = open_at(root).records
    splits = {}
    for record in records:
        splits.setdefault(record.subject, set()).add(record.split)
    assert splits.pop("video9") == {"test"}
    assert set(splits) == {"video1", "5-10-640x360", "video7"}
    assert sorted(len(split) for split in splits.values()) == [1, 1, 1]
    assert sorted(split.pop() for split in splits.values()) == ["train", "train", "val"]


def test_the_validation_share_follows_the_config_and_its_seed(root):
    for number in range(20, 50):
        write_track(root, f"video{number}", "Train_Set", frames=6)

    def validation(**settings):
        return {record.subject for record in open_at(root, **settings).records if record.split == "val"}

    assert len(validation(val=0.2)) == 7
    assert validation(val=0.2) < validation(val=0.4)
    assert validation(val=0.2) == validation(val=0.2)
    assert validation(val=0.2) != validation(val=0.2, split_seed=1)


def test_audio_is_the_second_that_ends_with_the_last_frame(root):
    sound = np.linspace(0, 1, 4 * RATE, dtype=np.float32)
    write_sound(root, "video1", sound)
    dataset = open_at(root)
    audio = dataset.read(index_of(dataset, "video1/00030"))["audio"]
    assert audio.dtype == torch.float32
    assert torch.equal(audio, torch.from_numpy(sound[2 * RATE : 3 * RATE]))
    early = dataset.read(index_of(dataset, "video1/00006"))["audio"]
    assert (early[: RATE * 4 // FPS] == 0).all()
    assert torch.equal(early[RATE * 4 // FPS :], torch.from_numpy(sound[: RATE * 6 // FPS]))


def test_people_in_one_video_share_its_sound(root):
    write_sound(root, "5-10-640x360", np.random.default_rng(0).uniform(-1, 1, 4 * RATE).astype(np.float32))
    dataset = open_at(root)
    left, right = (dataset.read(index_of(dataset, f"5-10-640x360_{side}/00012")) for side in ("left", "right"))
    assert torch.equal(left["audio"], right["audio"])


@pytest.mark.parametrize("rate", [44_100, 8_000, 48_000])
def test_other_rates_are_resampled(root, rate):
    time = np.arange(4 * rate) / rate
    write_sound(root, "video1", (0.5 * np.sin(2 * np.pi * 200 * time) * 32767).astype(np.int16), rate)
    dataset = open_at(root)
    audio = dataset.read(index_of(dataset, "video1/00030"))["audio"].numpy()
    expected = 0.5 * np.sin(2 * np.pi * 200 * (2 + np.arange(RATE) / RATE))
    assert audio.shape == (RATE,)
    assert np.abs(audio - expected)[200:-200].max() < 0.01


def test_missing_sound_or_pictures_are_missing_modalities(root):
    dataset = open_at(root)
    index = index_of(dataset, "video1/00012")
    assert set(dataset.read(index)) == {"video"}
    write_sound(root, "video1", np.zeros(4 * RATE, np.int16))
    shutil.rmtree(root / "cropped_aligned" / "video1")
    assert set(dataset.read(index)) == {"audio"}


@pytest.mark.parametrize("edition", ["6th ABAW Annotations", "Third ABAW Annotations", "."])
def test_annotations_of_any_edition_are_found(tmp_path, edition):
    write_track(tmp_path, "video1", "Train_Set", edition=edition)
    write_track(tmp_path, "video2", "Validation_Set", edition=edition)
    dataset = open_dataset(DataConfig(source=f"affwild2:{tmp_path}", frames=6))
    assert {record.subject for record in dataset.records} == {"video1", "video2"}


def test_two_editions_at_once_are_refused(root):
    write_track(root, "video20", "Train_Set", edition="another edition")
    with pytest.raises(ValueError, match=r"found several editions: .*keep one"):
        open_at(root)


@pytest.mark.parametrize("split", ["Train_Set", "Validation_Set"])
def test_an_empty_split_is_named(root, split):
    shutil.rmtree(root / "annotations" / "VA_Estimation_Challenge" / split)
    with pytest.raises(ValueError, match=f"{split}: expected at least one annotation"):
        open_at(root)


@pytest.mark.parametrize("path", [None, "empty"])
def test_a_folder_without_the_layout_is_refused(tmp_path, path):
    with pytest.raises(ValueError, match=r"--data affwild2:PATH|expected the annotations in .*found none"):
        open_at(path if path is None else tmp_path)


def test_a_folder_that_does_not_exist_is_called_that(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder"):
        open_at(tmp_path / "absent")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.2,0", r"video1.txt, line 4, field valence: got 1.2, expected a value in \[-1, 1\], or -5"),
        ("0,-3", r"video1.txt, line 4, field arousal: got -3"),
        ("0,nan", r"video1.txt, line 4, field arousal: got 'nan', expected a finite number"),
        ("0,x", r"video1.txt, line 4, field arousal: got 'x'"),
        ("0", r"video1.txt, line 4: got 1 cells, expected 2"),
        ("", r"video1.txt, line 4: got 1 cells, expected 2"),
    ],
)
def test_a_wrong_annotation_is_found_again(root, line, message):
    shutil.rmtree(root / "cropped_aligned" / "video1")
    write_track(root, "video1", "Train_Set", labels=["0,0", "0,0", line, "0,0"])
    with pytest.raises(ValueError, match=message):
        open_at(root)


def test_an_annotation_without_header_is_named(root):
    file = root / "annotations" / "VA_Estimation_Challenge" / "Train_Set" / "video1.txt"
    file.write_text("0.1,0.2\n0.1,0.2\n")
    with pytest.raises(ValueError, match=r"video1.txt, line 1: no column 'valence'"):
        open_at(root)


def test_a_broken_picture_and_a_broken_sound_are_named(root):
    dataset = open_at(root)
    index = index_of(dataset, "video1/00012")
    sound = write_sound(root, "video1", np.zeros(4 * RATE, np.int16))
    sound.write_bytes(sound.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"video1.wav: expected a whole WAV file"):
        dataset.read(index)
    picture = root / "cropped_aligned" / "video1" / "00012.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"00012.jpg: expected a whole picture"):
        dataset.read(index)


def test_records_of_a_track_are_in_the_order_of_time(root):
    for one, other in pairwise(open_at(root).records):
        assert one.id[:-6] != other.id[:-6] or one.id < other.id


def test_contents_are_annotations_pictures_and_sounds(root):
    sound = write_sound(root, "5-10-640x360", np.zeros(RATE, np.int16))
    found = list(open_at(root).contents())
    assert len(found) == len(set(found))
    assert found[-1] == sound
    assert found[0].name == "5-10-640x360_left.txt"
    assert found[1:41] == [root / "cropped_aligned" / found[0].stem / f"{number:05d}.jpg" for number in range(1, 41)]
    assert sum(file.suffix == ".txt" for file in found) == 5
    assert sum(file.suffix == ".jpg" for file in found) == 4 * 40 + 35


@pytest.mark.parametrize("kind", ["track", "picture", "sound", "annotation"])
def test_a_link_that_leads_out_is_refused_unless_allowed(root, tmp_path_factory, kind):
    write_sound(root, "video1", np.zeros(4 * RATE, np.int16))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x"
    place = places(root)[kind]
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"leads to .*; --data.outside allows it"):
        read_first(root)
    assert set(read_first(root, outside=True)) == {"video", "audio"}


@pytest.mark.parametrize("kind", ["track", "picture", "sound", "annotation"])
@pytest.mark.parametrize("thing", ["pipe", "nothing"])
def test_what_cannot_be_read_is_not_missing(root, kind, thing):
    write_sound(root, "video1", np.zeros(4 * RATE, np.int16))
    place = places(root)[kind]
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    os.mkfifo(place) if thing == "pipe" else place.symlink_to("gone")
    with pytest.raises(ValueError, match=f"{place}: "):
        read_first(root)


def places(root):
    track = root / "cropped_aligned" / "video1"
    annotation = root / "annotations" / "VA_Estimation_Challenge" / "Train_Set" / "video1.txt"
    sound = root / "audio" / "video1.wav"
    return {"track": track, "picture": track / "00001.jpg", "sound": sound, "annotation": annotation}


def read_first(root, **settings):
    dataset = open_at(root, **settings)
    return dataset.read(index_of(dataset, "video1/00006"))


def test_pictures_that_bear_no_frames_number_are_named(root):
    track = root / "cropped_aligned" / "video1"
    (track / "._00001.jpg").write_bytes(b"of a Macintosh")
    before = read_first(root)["video"]
    assert before[0, 0, 8, 8] == shade(1)
    (track / "00007.jpg").rename(track / "7.jpg")
    with pytest.raises(ValueError, match=r"7.jpg: expected a picture named by its frame's number"):
        read_first(root)


def test_a_sound_of_an_absurd_rate_is_named(root):
    write_sound(root, "video1", np.zeros(4 * RATE, np.int16), rate=4_000_000)
    with pytest.raises(ValueError, match=r"video1.wav: expected 100 to 1000000 samples per second, got 4000000"):
        read_first(root)


def test_annotations_that_are_all_invalid_are_told(tmp_path):
    for name, split in (("video1", "Train_Set"), ("video2", "Validation_Set")):
        write_track(tmp_path, name, split, labels=["-5,-5"] * 40)
    with pytest.raises(ValueError, match="expected windows that end with an annotated frame, got none"):
        open_at(tmp_path)
