import os
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pkdot.data.media import evenly_spaced, read_frames, read_mp4, read_wav, write_frames


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
    with pytest.raises(ValueError, match=r"absent.jpg: no such file"):
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


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "PPM", "WEBP"])
def test_common_rasters_are_read_whatever_they_are_called(tmp_path, name):
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "x.jpg", format=name)
    assert np.abs(read_frames([tmp_path / "x.jpg"], 8)[:, 0, 4, 4].astype(int) - [200, 100, 50]).max() <= 3


def test_a_picture_never_starts_a_program(tmp_path, monkeypatch):
    def start(*_, **__):
        pytest.fail("started a program")

    Image.new("RGB", (8, 8)).save(tmp_path / "0.png", format="EPS")
    for name in ("call", "check_call", "run", "Popen"):
        monkeypatch.setattr(subprocess, name, start)
    with pytest.raises(ValueError, match=r"0.png: expected a whole picture \(JPEG, PNG, "):
        read_frames([tmp_path / "0.png"], 8)


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_picture_has_a_largest_number_of_pixels(tmp_path, recwarn, side):
    header = struct.pack(">II5B", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=rf"bomb.png: .* it has {side} x {side} = {side**2} pixels"):
        read_frames([tmp_path / "bomb.png"], 8)
    assert before == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


@pytest.mark.parametrize("error", [ZeroDivisionError, UnboundLocalError, MemoryError, RecursionError, KeyError("x")])
def test_any_error_of_a_decoder_names_the_file(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    wavfile.write(tmp_path / "x.wav", 8000, np.zeros(10, np.int16))
    monkeypatch.setattr(Image.Image, "convert", fail)
    monkeypatch.setattr(wavfile, "read", fail)
    with pytest.raises(ValueError, match=r"x.png: expected a whole picture"):
        read_frames([tmp_path / "x.png"], 8)
    with pytest.raises(ValueError, match=r"x.wav: expected a whole WAV file"):
        read_wav(tmp_path / "x.wav")


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path):
    grey = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    grey[7, 7] = 65_535
    Image.fromarray(grey).save(tmp_path / "x.png")
    assert (read_frames([tmp_path / "x.png"], 8)[:, 0] == grey // 256).all()


def test_a_picture_of_floats_is_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "x.pfm")
    with pytest.raises(ValueError, match=r"x.pfm: .*expected 8 or 16 bits a channel"):
        read_frames([tmp_path / "x.pfm"], 8)


@pytest.mark.parametrize(("place", "value"), [(24, 0), (24, 2**32 - 1), (40, 0)])
def test_a_sound_of_an_absurd_rate_or_no_length_is_named(tmp_path, place, value):
    path = tmp_path / "x.wav"
    wavfile.write(path, 8000, np.zeros(10, np.int16))
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x.wav: expected"):
        read_wav(path)


@pytest.mark.parametrize("read", [lambda path: read_frames([path], 8), lambda path: read_mp4(path, 2, 8), read_wav])
def test_a_pipe_in_place_of_a_recording_is_refused(tmp_path, monkeypatch, read):
    monkeypatch.setitem(sys.modules, "av", SimpleNamespace())
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ValueError, match="x: expected a regular file, got a named pipe"):
        read(tmp_path / "x")


@pytest.fixture
def film(tmp_path, monkeypatch):
    """Ten frames, and a fake PyAV that ends in ``failure`` if it is set."""
    path = tmp_path / "x.mp4"
    path.write_bytes(b"a film")
    state = SimpleNamespace(path=path, side=8, count=10, failure=None, options=None)

    class Container:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def decode(self, video):
            for shade in range(state.count):
                picture = Image.new("L", (8, 8), shade)
                yield SimpleNamespace(width=state.side, height=state.side, to_image=lambda picture=picture: picture)
            if state.failure:
                raise state.failure

    def open_film(file, options):
        assert file.read(1) == b"a"
        state.options = options
        return Container()

    monkeypatch.setitem(sys.modules, "av", SimpleNamespace(open=open_film))
    return state


def test_evenly_spaced_frames_of_a_film_are_read(film):
    assert read_mp4(film.path, 4, 8)[0, :, 0, 0].tolist() == [0, 3, 6, 9]
    assert read_mp4(film.path, 12, 8)[2, :, 0, 0].tolist() == [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9]


def test_a_film_is_no_playlist(film):
    read_mp4(film.path, 4, 8)
    allowed = film.options["format_whitelist"].split(",")
    assert "mp4" in allowed
    assert not {"hls", "concat", "ffmetadata", "sdp", "dash", "image2", "tty"} & set(allowed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "it has no frame"),
        ({"side": 20_000}, "it has 20000 x 20000 = 400000000 pixels"),
        ({"failure": ZeroDivisionError("by zero")}, "by zero"),
        ({"failure": IndexError("no stream")}, "no stream"),
    ],
)
def test_a_damaged_film_is_named(film, change, message):
    vars(film).update(change)
    with pytest.raises(ValueError, match=rf"x.mp4: expected a whole film with a video stream: {message}"):
        read_mp4(film.path, 4, 8)
