import struct

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pkdot.data.media import evenly_spaced, read_frames, read_wav, write_frames


@pytest.mark.parametrize(
    ("available", "wanted", "indices"),
    [
        (5, 5, [0, 1, 2, 3, 4]),
        (138, 4, [0, 46, 91, 137]),
        (2, 5, [0, 0, 0, 1, 1]),
        (1, 3, [0, 0, 0]),
        (9, 1, [4]),
    ],
)
def test_indices_are_evenly_spaced(available, wanted, indices):
    chosen = evenly_spaced(available, wanted)
    assert len(chosen) == wanted
    assert np.abs(chosen - np.array(indices)).max() <= 1
    assert chosen.min() >= 0
    assert chosen.max() < available
    if wanted > 1:
        assert (chosen[0], chosen[-1]) == (0, available - 1)


def test_frames_survive_the_disk(tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:] = np.array([200, 100, 50])
    frames[1] = 30
    write_frames(tmp_path / "clip", "img_{:05d}.jpg", frames)
    files = [tmp_path / "clip" / f"img_{number:05d}.jpg" for number in (1, 2, 3)]
    again = read_frames(files, 16)
    assert again.shape == (3, 3, 16, 16)
    assert np.abs(again.transpose(1, 2, 3, 0).astype(int) - frames).max() <= 3


def test_left_out_frames_keep_their_numbers(tmp_path):
    write_frames(tmp_path, "{}.jpg", np.zeros((3, 8, 8, 3), np.uint8), leave_out=np.array([False, True, False]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.jpg", "3.jpg"]


def test_pictures_of_any_size_and_mode_are_fitted(tmp_path):
    Image.new("L", (10, 30), 90).save(tmp_path / "grey.png")
    Image.new("RGBA", (30, 10), (90, 90, 90, 255)).save(tmp_path / "colour.png")
    frames = read_frames([tmp_path / "grey.png", tmp_path / "colour.png", tmp_path / "colour.png"], 12)
    assert frames.shape == (3, 3, 12, 12)
    assert (frames == 90).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.jpg: expected a whole picture"):
        read_frames([tmp_path / "broken.jpg"], 8)


def test_an_absent_picture_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent.jpg: expected a whole picture"):
        read_frames([tmp_path / "absent.jpg"], 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_sound_is_between_minus_one_and_one(tmp_path, dtype):
    wave = np.sin(np.arange(800) / 10)
    if dtype == np.uint8:
        stored = np.round(wave * 127 + 128).astype(dtype)
    else:
        stored = (wave * (np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 8000, stored)
    rate, sound = read_wav(tmp_path / "a.wav")
    assert rate == 8000
    assert sound.dtype == np.float32
    assert np.abs(sound - wave).max() < 0.02


def test_channels_become_their_mean(tmp_path):
    wavfile.write(tmp_path / "a.wav", 8000, np.array([[0.5, 0.1], [-0.5, 0.5]], np.float32))
    assert read_wav(tmp_path / "a.wav")[1].tolist() == pytest.approx([0.3, 0.0])


def test_chunks_of_other_programs_are_passed_over(tmp_path, recwarn):
    path = tmp_path / "a.wav"
    wavfile.write(path, 8000, np.arange(10, dtype=np.int16))
    content = path.read_bytes()
    path.write_bytes(content + b"junk" + struct.pack("<I", 4) + b"1234")
    assert read_wav(path)[1].size == 10
    assert not recwarn.list


@pytest.mark.parametrize("keep", [0, 3, 20, 100])
def test_a_cut_sound_is_named(tmp_path, keep):
    path = tmp_path / "cut.wav"
    wavfile.write(path, 8000, np.arange(1000, dtype=np.int16))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut.wav: expected a whole WAV file"):
        read_wav(path)


def test_sound_that_is_not_finite_is_named(tmp_path):
    wavfile.write(tmp_path / "nan.wav", 8000, np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match=r"nan.wav: expected finite samples"):
        read_wav(tmp_path / "nan.wav")
