import os
import socket
from pathlib import Path

import pytest

from pkdot.data.disk import Bounds, brief, by_number, decoding, file_status, folder_at, read_text, something_at


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """One of each thing that is no regular file."""
    places = {name: tmp_path / name for name in ("pipe", "folder", "socket", "zero", "loop", "nowhere", "absent")}
    os.mkfifo(places["pipe"])
    places["folder"].mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(places["socket"]))
    places["zero"].symlink_to("/dev/zero")
    places["loop"].symlink_to("loop")
    places["nowhere"].symlink_to("gone")
    return places


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe", "expected a regular file, got a named pipe"),
        ("folder", "expected a regular file, got a folder"),
        ("socket", "expected a regular file, got a socket"),
        ("zero", "expected a regular file, got a device"),
        ("loop", "cannot be read"),
        ("nowhere", "a link to nothing"),
        ("absent", "no such file"),
    ],
)
def test_only_a_regular_file_is_opened(odd: dict[str, Path], name: str, message: str) -> None:
    for look in (file_status, lambda path: read_text(path, "a text")):
        with pytest.raises(ValueError, match=f"^{odd[name]}: {message}"):
            look(odd[name])


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_an_impossible_name_is_no_surprise(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \("):
        file_status(tmp_path / name)
    with pytest.raises(ValueError, match=r"cannot be read \("):
        folder_at(tmp_path / name)


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert file_status(tmp_path / "b").st_size == 1


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(3 * 2**20)
    assert file_status(tmp_path / "holes", 3).st_size == 3 * 2**20
    with pytest.raises(ValueError, match=r"holes: expected at most 2 MB, got 3.0 MB"):
        read_text(tmp_path / "holes", "a text", 2)


def test_a_folder_is_there_or_named(odd: dict[str, Path]) -> None:
    assert folder_at(odd["folder"]) == odd["folder"]
    with pytest.raises(ValueError, match="absent: no such folder"):
        folder_at(odd["absent"])
    with pytest.raises(ValueError, match="pipe: expected a folder"):
        folder_at(odd["pipe"])


def test_what_cannot_be_read_is_not_missing(odd: dict[str, Path]) -> None:
    assert {name for name, path in odd.items() if not something_at(path)} == {"absent"}
    assert not something_at(odd["absent"] / "deeper")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_keeps_its_line_ends_and_loses_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes("ä\r\nb\n".encode(encoding))
    assert read_text(tmp_path / "x", "a text") == "ä\r\nb\n"


@pytest.mark.parametrize(("encoding", "message"), [("utf-16", "it is UTF-16"), ("latin-1", "'utf-8' codec")])
def test_text_is_utf_8(tmp_path: Path, encoding: str, message: str) -> None:
    (tmp_path / "x").write_bytes("ä\n".encode(encoding))
    with pytest.raises(ValueError, match=f"x: expected a text: {message}"):
        read_text(tmp_path / "x", "a text")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("division\nby zero"), "x: expected a film: division by zero."),
        (MemoryError(), "x: expected a film: it does not fit into RAM."),
        (RecursionError("maximum"), "x: expected a film: it is nested too deeply."),
        (EOFError(), "x: expected a film: EOFError."),
        (OSError(5, "Input/output error", "x"), "x: expected a film: Input/output error."),
    ],
)
def test_any_error_of_a_decoder_names_the_file(error: Exception, message: str) -> None:
    with pytest.raises(ValueError, match="film") as caught, decoding(Path("x"), "a film"):
        raise error
    assert str(caught.value) == message


def test_a_stop_is_no_damage() -> None:
    with pytest.raises(KeyboardInterrupt), decoding(Path("x"), "a film"):
        raise KeyboardInterrupt


def test_a_long_value_is_cut() -> None:
    assert brief("a\n b") == "a b"
    assert len(brief("x" * 10**6)) < 300


def test_files_are_ordered_by_the_numbers_in_their_names() -> None:
    names = ["10.png", "2.png", "1.png", "a2b10", "a2b9", "b1", "01.png", "9" * 5000]
    ordered = [path.name for path in sorted(map(Path, names), key=by_number)]
    assert ordered == ["01.png", "1.png", "2.png", "10.png", "9" * 5000, "a2b9", "a2b10", "b1"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder and a neighbour, with links between them."""
    home = tmp_path / "data"
    (home / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for file in (home / "a", home / "deep" / "b", tmp_path / "other" / "c"):
        file.write_text("x")
    (home / "in").symlink_to("deep/b")
    (home / "out").symlink_to(tmp_path / "other" / "c")
    (home / "outfolder").symlink_to("../other")
    (home / "twice").symlink_to("out")
    return home


@pytest.mark.parametrize("name", ["a", "deep/b", "in", "deep/../a", "../data/a", "absent", "deep/absent"])
def test_a_path_within_the_folder_is_kept(home: Path, name: str) -> None:
    assert Bounds(home).check(home / name) == home / name
    assert Bounds(home).check(home / home / name) == home / name


@pytest.mark.parametrize("name", ["out", "twice", "outfolder/c", "../other/c", "..", "deep/../..", "/etc/passwd"])
def test_a_path_that_leads_out_is_refused_unless_allowed(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a file in the data folder .* leads to .*; --data.outside allows"):
        Bounds(home).check(home / name)
    assert Bounds(home, outside=True).check(home / name) == home / name


def test_a_neighbour_whose_name_begins_alike_is_outside(home: Path) -> None:
    (home.parent / "data2").mkdir()
    with pytest.raises(ValueError, match="leads to"):
        Bounds(home).check(home.parent / "data2" / "x")


def test_the_data_folder_itself_may_be_a_link(home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    assert Bounds(link).check(link / "in") == link / "in"
    with pytest.raises(ValueError, match="leads to"):
        Bounds(link).check(link / "out")


def test_a_listed_file_is_in_the_folder_and_of_a_sane_size(home: Path) -> None:
    assert Bounds(home).listed(home / "in") == home / "in"
    for name in ("out", "absent", "deep"):
        with pytest.raises(ValueError, match=name):
            Bounds(home).listed(home / name)
    with (home / "a").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ValueError, match="a: expected at most 2048 MB"):
        Bounds(home).listed(home / "a")
