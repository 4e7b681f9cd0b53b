import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import wavfile
from torch import Tensor

from pkdot.config import DataConfig
from pkdot.data.batch import Kind, Modality
from pkdot.data.files import MappedArray, check_values, is_sound, read_file

CONFIG = DataConfig(frames=3, image_size=8)


def read(path: Path, kind: Kind, rate_hz: float | None = None) -> Tensor:
    return read_file(path, kind, rate_hz, CONFIG)


def save(path: Path, array: NDArray[np.generic]) -> Path:
    np.save(path, array)
    return path


def picture(path: Path, level: int, size: tuple[int, int] = (8, 8)) -> Path:
    Image.new("RGB", size, (level, 0, 255)).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "disk", "model"),
    [
        ("vector", (5,), (5,)),
        ("signal", (2, 9), (2, 9)),
        ("image", (4, 6, 3), (3, 4, 6)),
        ("video", (7, 4, 6, 3), (3, 7, 4, 6)),
        ("audio", (11,), (11,)),
    ],
)
def test_an_array_and_a_file_of_each_kind_arrive_in_the_models_layout(
    tmp_path: Path, kind: Kind, disk: tuple[int, ...], model: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).random((2, *disk)).astype(np.float64)
    mapped = MappedArray(save(tmp_path / "all.npy", values), kind, 2)[1]
    single = read(save(tmp_path / "one.npy", values[1]), kind)
    assert mapped.dtype == torch.float32
    assert tuple(mapped.shape) == model
    assert torch.equal(mapped, single)
    order = {"image": (2, 0, 1), "video": (3, 0, 1, 2)}.get(kind, tuple(range(len(disk))))
    np.testing.assert_allclose(mapped.numpy(), values[1].transpose(order), rtol=1e-6)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_frames_stay_uint8(tmp_path: Path, kind: Kind) -> None:
    shape = (1, 2, 4, 4, 3) if kind == "video" else (1, 4, 4, 3)
    array = MappedArray(save(tmp_path / "all.npy", np.full(shape, 7, np.uint8)), kind, 1)
    assert array[0].dtype == torch.uint8


@pytest.mark.parametrize("dtype", [">f8", "<f2", "<i8", "|b1"])
def test_any_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    assert read(save(tmp_path / "x.npy", np.ones(3, dtype)), "vector").tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.zeros((3, 4)), "vector", "expected 2 rows, one for each line of samples.csv, got 3"),
        (np.zeros((2, 3)), "signal", r"expected \(n, channels, time\) for kind 'signal', got shape \(2, 3\)"),
        (np.zeros((2, 0)), "vector", r"no empty axis, got shape \(2, 0\)"),
        (np.array([["a"], ["b"]]), "vector", "expected numbers, got dtype <U1"),
        (np.array([[None], [None]]), "vector", "readable .npy array of numbers"),
        (np.zeros((2, 4, 4, 3), np.int32), "image", "expected uint8, or numbers in"),
        (np.float32(1.0), "vector", r"got shape \(\)"),
    ],
)
def test_an_array_of_the_wrong_sort_is_named(
    tmp_path: Path, array: NDArray[np.generic], kind: Kind, message: str
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as caught:
        MappedArray(path, kind, 2)
    assert str(caught.value).startswith(str(path))


def test_a_file_with_the_wrong_axes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.npy: expected \(channels, time\) for kind 'signal', got shape \(3,\)"):
        read(save(tmp_path / "x.npy", np.zeros(3)), "signal")


def test_a_truncated_array_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros((2, 1000)))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"x\.npy"):
        MappedArray(path, "vector", 2)
    with pytest.raises(ValueError, match=r"x\.npy"):
        read(path, "signal")


def test_an_archive_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(ValueError, match="the magic string is not correct"):
        MappedArray(tmp_path / "x.npy", "vector", 3)


@pytest.mark.parametrize(
    "text", ["x,y\n1,2\n3,4\n5,6\n", "1;2\n3;4\n\n5;6", "1\t2\n3\t4\n5\t6\n", "1 2\n 3   4\n5 6\n"]
)
def test_a_signals_table_has_a_column_for_each_channel(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    assert read(path, "signal").tolist() == [[1, 3, 5], [2, 4, 6]]
    assert read(path, "vector").tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", "x.csv, line 3: got 'x', expected a finite number"),
        ("1,2\n3\n", "x.csv, line 2: expected 2 numbers, like the lines above, got 1"),
        ("a,b\n", "x.csv: expected a table of numbers, got none"),
        ("", "x.csv: expected a table of numbers, got none"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read(path, "signal")


def test_a_picture_is_resized(tmp_path: Path) -> None:
    image = read(picture(tmp_path / "x.png", 51, (20, 12)), "image")
    assert image.dtype == torch.uint8
    assert image.shape == (3, 8, 8)
    assert image[:, 4, 4].tolist() == [51, 0, 255]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"x.{suffix}"):
        read(path, "image")


def test_a_folder_of_pictures_is_a_clip_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 12):
        picture(tmp_path / f"{number}.png", number)
    clip = read(tmp_path, "video")
    assert clip.shape == (3, 3, 8, 8)
    assert clip[0, :, 0, 0].tolist() == [1, 6, 11]


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="or a folder of pictures"):
        read(tmp_path, "video")


@pytest.mark.parametrize(("dtype", "half"), [(np.int16, 2**14), (np.int32, 2**30), (np.uint8, 192), (np.float32, 0.5)])
def test_sound_is_scaled_to_one_and_mixed_to_one_channel(tmp_path: Path, dtype: type, half: float) -> None:
    path = tmp_path / "x.wav"
    zero = 128 if dtype is np.uint8 else 0
    stereo = np.tile(np.array([[half, half], [half, zero]]), (50, 1)).astype(dtype)
    wavfile.write(path, 8000, stereo)
    sound = read(path, "audio", 8000.0)
    assert sound.shape == (100,)
    assert sound[:2].tolist() == [0.5, 0.25]


def test_sound_at_another_rate_or_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    wavfile.write(path, 8000, np.zeros(1000, np.int16))
    with pytest.raises(ValueError, match=r"x\.wav: expected 16000 samples per second, as dataset.toml says, got 8000"):
        read(path, "audio", 16000.0)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"x\.wav: expected a whole WAV file"):
        read(path, "audio", 8000.0)


@pytest.mark.parametrize("kind", ["vector", "signal", "image", "video", "audio"])
def test_a_file_of_another_sort_is_named(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "x.doc"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"x\.doc: expected"):
        read(path, kind)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (torch.zeros(3, 4, 5), r"clip: expected shape \(3, 4, 4\), like the first sample, got \(3, 4, 5\)"),
        (torch.full((3, 4, 4), torch.nan), r"clip: expected finite numbers, at most 1e.15, got nan at \(0, 0, 0\)"),
        (torch.full((3, 4, 4), 255.0), "clip: expected uint8, or numbers in .0, 1., got numbers from 255 to 255"),
    ],
)
def test_a_stream_that_does_not_fit_is_named(stream: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_values(stream, Modality("image", (3, 4, 4)), "clip")


def header(path: Path, text: str, body: bytes = bytes(48)) -> Path:
    """Write a .npy file with a given header."""
    line = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + body)
    return path


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (6,)",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 16)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-6,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -3)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (None,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (6,)}",
        "{'descr': 3, 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}",
        "'''",
        "(" * 200,
        "3",
    ],
)
def test_a_tampered_header_is_named(tmp_path: Path, text: str) -> None:
    path = header(tmp_path / "x.npy", text)
    for look in (lambda: read(path, "vector"), lambda: MappedArray(path, "vector", 6)):
        with pytest.raises(ValueError, match=r"x\.npy: expected") as caught:
            look()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("shape", "size"), [((5,), 40), ((7,), 56)])
def test_a_header_must_tell_of_the_whole_file(tmp_path: Path, shape: tuple[int, ...], size: int) -> None:
    path = header(tmp_path / "x.npy", f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(ValueError, match=r"x\.npy: expected"):
        read(path, "vector")
    assert read(header(path, "{'descr': '<f8', 'fortran_order': False, 'shape': (6,)}"), "vector").shape == (6,)


@pytest.mark.parametrize(
    ("kind", "shape"), [("vector", (2, 2**20 + 1)), ("signal", (2, 2**20 + 1, 1)), ("audio", (2, 2**26 + 1))]
)
def test_a_sample_has_a_largest_size(tmp_path: Path, kind: Kind, shape: tuple[int, ...]) -> None:
    whole = header(tmp_path / "x.npy", f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}", b"")
    with whole.open("ab") as file:
        file.truncate(file.tell() + int(np.prod(shape)))  # a sparse file takes no room
    with pytest.raises(ValueError, match=r"x\.npy: expected at most 67108864 numbers and 1048576 channels a sample"):
        MappedArray(whole, kind, 2)


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "-1e16", "1_0", "", "x"])
def test_a_cell_that_is_no_number_is_found_again(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n1,2\n3,{cell}\n")
    with pytest.raises(ValueError, match=rf"x\.csv, line 3: got '{cell}', expected a finite number, at most 1e\+15"):
        read(path, "signal")


def test_a_damaged_first_line_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1,2x\n3,4\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 1: got '2x', expected a finite number"):
        read(path, "signal")
    path.write_text("# 50 Hz, 2 channels\n3,4\n")
    assert read(path, "signal").shape == (2, 1)


def test_numbers_that_no_sensor_has_are_refused() -> None:
    """Their squares overflow float32, and standardising would turn the channel into zeros."""
    rows = torch.tensor([[1.0, 2.0], [1.0, -1e16]])
    assert not is_sound(rows, Modality("vector", (2,)))
    assert is_sound(rows / 100, Modality("vector", (2,)))
    with pytest.raises(ValueError, match=r"x: expected finite numbers, at most 1e\+15, got -1e\+16 at \(1,\)"):
        check_values(rows[1], Modality("vector", (2,)), "x")


@pytest.mark.filterwarnings("error")
def test_a_double_beyond_float32_is_refused_without_a_warning(tmp_path: Path) -> None:
    stream = read(save(tmp_path / "x.npy", np.array([1.0, 1e300])), "vector")
    with pytest.raises(ValueError, match="got inf at"):
        check_values(stream, Modality("vector", (2,)), "x.npy")


def test_hidden_files_and_folders_are_no_pictures_and_pipes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "1.png", 10)
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "folder").mkdir()
    assert read(tmp_path, "video").shape == (3, 3, 8, 8)
    os.mkfifo(tmp_path / "2.png")
    with pytest.raises(ValueError, match=r"2\.png: expected a regular file, got a named pipe"):
        read(tmp_path, "video")
    (tmp_path / "2.png").unlink()
    (tmp_path / "2.png").mkdir()
    with pytest.raises(ValueError, match=r"2\.png: expected a regular file, got a folder"):
        read(tmp_path, "video")


def test_sound_of_other_formats_is_checked_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = SimpleNamespace(frames=100, channels=1)
    sounds: list[NDArray[np.float32]] = [np.zeros(100, np.float32)]
    fake = SimpleNamespace(info=lambda path: known, read=lambda path, dtype: (sounds[0], 8000))
    monkeypatch.setitem(sys.modules, "soundfile", fake)
    path = tmp_path / "x.flac"
    path.write_bytes(b"sound")
    assert read(path, "audio", 8000.0).shape == (100,)
    sounds[0] = np.zeros(0, np.float32)
    with pytest.raises(ValueError, match=r"x\.flac: expected a sound of at least one sample"):
        read(path, "audio", 8000.0)
    known.frames = 2**40
    with pytest.raises(ValueError, match=r"x\.flac: expected a whole sound file: at most 67108864 numbers"):
        read(path, "audio", 8000.0)


def test_sound_of_other_formats_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "x.flac").write_bytes(b"sound")
    with pytest.raises(ValueError, match=r"x\.flac: reading \.flac needs soundfile \(pip install 'pkdot\[audio\]'\)"):
        read(tmp_path / "x.flac", "audio", 8000.0)


def test_a_film_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x.mp4").write_bytes(b"film")
    with pytest.raises(ValueError, match=r"x\.mp4: reading films needs PyAV"):
        read(tmp_path / "x.mp4", "video")


def test_an_array_with_more_behind_it_says_how_long_it_should_be(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros((7, 3), np.float32))
    content = path.read_bytes()
    path.write_bytes(content + bytes(5))
    size = len(content)
    message = f"expected {size} bytes for shape \\(7, 3\\) of float32, as its header says, got {size + 5}"
    with pytest.raises(ValueError, match=message):
        MappedArray(path, "vector", 7)
