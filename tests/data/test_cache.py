import multiprocessing
import os
import time

import pytest

from pkdot.data.cache import ABANDONED_AFTER_S, cached_folder, default_cache_dir, recipe_digest


def write_two_files(folder):
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")


def make_and_report(parent, barrier, made):
    def write(folder):
        barrier.wait()
        write_two_files(folder)
        made.put(1)

    cached_folder(parent, "set", write)


def test_a_folder_is_made_once(tmp_path):
    folder = cached_folder(tmp_path, "set", write_two_files)
    assert folder == tmp_path / "set"
    assert sorted(file.name for file in folder.iterdir()) == ["a.txt", "b.txt"]
    assert cached_folder(tmp_path, "set", lambda _: pytest.fail("made again")) == folder


def test_the_folder_has_no_name_until_it_is_whole(tmp_path):
    def write(folder):
        write_two_files(folder)
        assert not (tmp_path / "set").exists()

    cached_folder(tmp_path, "set", write)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_nothing(tmp_path, interruption):
    def write(folder):
        write_two_files(folder)
        raise interruption

    with pytest.raises(interruption):
        cached_folder(tmp_path, "set", write)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path):
    def write_and_die(folder):
        (folder / "a.txt").write_text("a")
        os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=cached_folder, args=(tmp_path, "set", write_and_die))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert not (tmp_path / "set").exists()
    assert (cached_folder(tmp_path, "set", write_two_files) / "b.txt").is_file()


def test_remains_of_killed_runs_go_when_they_are_old(tmp_path):
    old, young = tmp_path / ".set-1-aa.unfinished", tmp_path / ".set-2-bb.unfinished"
    old.mkdir()
    young.mkdir()
    long_ago = time.time() - ABANDONED_AFTER_S - 10
    os.utime(old, (long_ago, long_ago))
    cached_folder(tmp_path, "set", write_two_files)
    assert not old.exists()
    assert young.exists()


def test_of_two_runs_at_once_the_later_uses_the_earliers(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, made = context.Barrier(2), context.SimpleQueue()
    children = [context.Process(target=make_and_report, args=(tmp_path, barrier, made)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert made.get() + made.get() == 2
    assert [folder.name for folder in tmp_path.iterdir()] == ["set"]
    assert sorted(file.name for file in (tmp_path / "set").iterdir()) == ["a.txt", "b.txt"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file stands where the cache should be")
    with pytest.raises(ValueError, match=r"taken.*could not be made"):
        cached_folder(tmp_path / "taken", "set", write_two_files)


def test_the_default_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "pkdot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "pkdot"


def test_another_spec_or_another_maker_gives_another_digest():
    digest = recipe_digest("40 subjects", os)
    assert recipe_digest("40 subjects", os) == digest
    assert len({digest, recipe_digest("41 subjects", os), recipe_digest("40 subjects", multiprocessing)}) == 3
