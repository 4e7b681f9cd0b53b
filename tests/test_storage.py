"""Files that are whole or absent, and folders that one process holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pkdot.storage import FolderInUse, locked, write_bytes, write_text

HOLDER = """
import sys
from pathlib import Path
from pkdot.storage import locked
folder = Path(sys.argv[1])
with locked(folder):
    (folder / ".state.pt.123.part").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds ``tmp_path`` until its input ends."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "långt")
    assert path.read_bytes() == "långt".encode()
    write_bytes(path, memoryview(b"\x00\xff"))
    assert path.read_bytes() == b"\x00\xff"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_held_folder_is_refused_with_its_owner(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(FolderInUse, match=f"{tmp_path.name}: in use by process {holder.pid} on "), locked(tmp_path):
        pass
    holder.communicate("")
    with locked(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_a_lock_is_free_once_its_process_is_killed_and_what_it_left_is_removed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.communicate()
    assert (tmp_path / ".state.pt.123.part").exists()
    (tmp_path / ".gitignore").write_text("of somebody else")
    with locked(tmp_path):
        assert {file.name for file in tmp_path.iterdir()} == {".lock", ".lock-owner", ".gitignore"}


def test_a_lock_holds_within_a_process_too(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()}"), locked(tmp_path):
        pass


def test_waiting_for_a_lock_gets_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    holder.stdin.close()
    with locked(tmp_path, wait=True):
        assert holder.wait() == 0
