"""Files and directories appear complete or not at all, even if their writers are killed."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import threading
import time

import pytest

from tfp_genext.saving import files


def _write(path: pathlib.Path, text: str, *, overwrite: bool = True) -> None:
    with files.replacing_directory(str(path), overwrite=overwrite) as written:
        os.makedirs(written)
        pathlib.Path(written, "text").write_text(text)


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    return request.param


def test_a_directory_replaces_another_and_leaves_nothing_else(way, tmp_path):
    for text in ("old", "new"):
        _write(tmp_path / "1", text)
        assert (tmp_path / "1" / "text").read_text() == text
        assert os.listdir(tmp_path) == ["1"]


def test_what_appeared_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(FileExistsError, match="`filepath` must be .*appeared meanwhile"):
        _write_beside_another(tmp_path / "1")
    assert (tmp_path / "1" / "text").read_text() == "another's"
    assert os.listdir(tmp_path) == ["1"]


def _write_beside_another(path: pathlib.Path) -> None:
    with files.replacing_directory(str(path), overwrite=False) as written:
        os.makedirs(written)
        _write(path, "another's", overwrite=False)


def test_linux_exchanges_at_one_stroke(tmp_path):
    if sys.platform != "linux":
        pytest.skip("no exchange of directories")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert files._exchanged(str(tmp_path / "one"), str(tmp_path / "other"))
    assert os.listdir(tmp_path / "one") == ["other"] and os.listdir(tmp_path / "other") == ["one"]
    assert not files._exchanged(str(tmp_path / "one"), str(tmp_path / "missing"))


def test_a_rename_that_fails_puts_the_old_directory_back(tmp_path, monkeypatch):
    _write(tmp_path / "1", "old")
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    rename, targets = os.rename, []

    def fails_the_third_time(source, target):
        targets.append(target)
        # The first finds the old directory, the second moves it aside.
        if len(targets) == 3:
            raise OSError("no more")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_the_third_time)
    with pytest.raises(OSError, match="no more"):
        _write(tmp_path / "1", "new")
    assert len(targets) == 4
    assert (tmp_path / "1" / "text").read_text() == "old"
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_the_living(tmp_path):
    writer = _forked_writer(tmp_path / "1")
    staging = _wait_for_staging(tmp_path)
    _write(tmp_path / "2", "living")
    assert staging.is_dir()
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    _write(tmp_path / "3", "dead")
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]


def _forked_writer(path: pathlib.Path) -> int:
    """Starts a process that opens a directory to write in, and waits to be killed."""
    child = os.fork()
    if not child:
        with files.replacing_directory(str(path), overwrite=True) as written:
            os.makedirs(written)
            signal.pause()
    return child


def _wait_for_staging(parent: pathlib.Path) -> pathlib.Path:
    while True:
        for written in parent.glob(".export-*/written"):
            return written.parent
        time.sleep(0.01)


def test_what_may_be_the_one_copy_of_a_version_is_kept(tmp_path):
    (tmp_path / ".export-abcdefgh" / "replaced").mkdir(parents=True)
    (tmp_path / ".export-of my own").mkdir()
    (tmp_path / ".export-12345678").mkdir()
    _write(tmp_path / "1", "new")
    assert sorted(os.listdir(tmp_path)) == [".export-abcdefgh", ".export-of my own", "1"]


def test_writers_side_by_side_do_not_take_each_other_for_dead(tmp_path):
    def write(number: int) -> None:
        for i in range(20):
            _write(tmp_path / str(100 * number + i), f"{number} {i}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(os.listdir(tmp_path)) == 80
    for number in range(4):
        for i in range(20):
            path = tmp_path / str(100 * number + i) / "text"
            assert path.read_text() == f"{number} {i}"


def test_systems_without_locks_write_and_clear_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".export-12345678").mkdir()
    _write(tmp_path / "1", "new")
    assert sorted(os.listdir(tmp_path)) == [".export-12345678", "1"]


def test_a_file_replaces_another(tmp_path):
    for text in ("old", "new"):
        with files.replacing(tmp_path / "model.keras") as written:
            pathlib.Path(written).write_text(text)
        assert (tmp_path / "model.keras").read_text() == text
    assert os.listdir(tmp_path) == ["model.keras"]
