"""Streams that are closed, full or ASCII: a command works, or ends in one line, and never with a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(action: str, streams: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the body of a command in a shell that redirects its streams."""
    script = f"import sys, os, logging, warnings\nfrom pkdot.cli.console import run_command\n{action}"
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {streams}', sys.executable, script],
        cwd=cwd,
        env={"PYTHONPATH": ":".join(sys.path), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


BODY = """
def body():
    warnings.warn("watch out")
    logging.getLogger("pkdot").info("going on")
    print("the table")
sys.exit(run_command("pkdot-x", body))
"""
MISTAKE = 'def body(): raise ValueError("no")\nsys.exit(run_command("pkdot-x", body))'


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_a_command_works_without_a_stream(streams: str, tmp_path: Path) -> None:
    done = run(BODY, streams, tmp_path)
    assert done.returncode == 0
    assert done.stdout == ("" if ">&-" in streams.replace("2>&-", "") else "the table\n")
    assert done.stderr == ("" if "2>" in streams else "warning: watch out\ngoing on\n")


@pytest.mark.parametrize("streams", [">&-", "2>&-", "2>/dev/full", ">/dev/full"])
def test_a_mistake_keeps_its_code_without_a_stream(streams: str, tmp_path: Path) -> None:
    done = run(MISTAKE, streams, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("" if "2>" in streams else "pkdot-x: error: no\n")


def test_a_full_disk_behind_the_output_is_one_line_and_not_code_0(tmp_path: Path) -> None:
    done = run(BODY, ">/dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[2:] == ["pkdot-x: error: [Errno 28] No space left on device"]


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    done = run(BODY.replace('"the table"', '"the table\\n" * 99999'), "2>err | head -1", tmp_path)
    assert done.stdout == "the table\n"
    assert (tmp_path / "err").read_text() == "warning: watch out\ngoing on\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_the_encoding_lacks_is_written_as_an_escape(stream: str, tmp_path: Path) -> None:
    body = f'def body(): print("caf\\u00e9", file=sys.{stream})\nsys.exit(run_command("pkdot-x", body))'
    done = run(body, "", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, getattr(done, stream)) == (0, "caf\\xe9\n")


def test_a_file_that_is_opened_later_does_not_become_the_error_stream(tmp_path: Path) -> None:
    body = """
def body():
    file = open("result.json", "w")
    os.write(2, b"a library's own words")
sys.exit(run_command("pkdot-x", body))
"""
    assert run(body, "2>&-", tmp_path).returncode == 0
    assert (tmp_path / "result.json").read_text() == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("words", ["foo", "--optim.lr 0", "--labels 0.1 1.0", "--epohcs 3", "--levels bin"])
def test_a_mistake_is_told_without_a_frame(encoding: str, words: str, tmp_path: Path) -> None:
    script = "from pkdot.cli.distill import main\nsys.exit(main(sys.argv[1:]))"
    done = run(f"sys.argv[1:] = {words.split()!r}\n{script}", "", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert [frame for frame in ("─", "│", "╭", "---", "helptext") if frame in done.stderr] == []
