"""Outputs: what may be written to, what is left behind, and what is not."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqsal.errors import OutputError, UsageError
from seqsal.io.atomic import all_or_nothing, atomic_path, check_writable, locked, make_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "pipe", tmp_path / "null"):
        with pytest.raises(OutputError, match="is a device or a pipe"), atomic_path(path) as temporary:
            temporary.write_text("x")
        assert not path.is_file()


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        check_writable(tmp_path / name)


def in_a_fork(work: Callable[[], None]) -> int:
    """Run something in a forked process, and return its exit code."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_the_dead_left_is_removed_and_what_the_living_write_stays(tmp_path: Path) -> None:
    def die() -> None:
        with atomic_path(tmp_path / "a.bed") as temporary:
            temporary.write_text("x")
            os._exit(1)

    assert in_a_fork(die) == 1 and len(names(tmp_path)) == 2
    (tmp_path / ".a.12135.partial.bed").touch()  # as earlier versions called it
    (tmp_path / ".other.lock").touch()  # of another program
    with atomic_path(tmp_path / "b.bed") as living:
        living.write_text("b")
        with atomic_path(tmp_path / "b.bed.gz") as other:
            other.write_text("gz")
        assert living.exists()
    assert names(tmp_path) == [".other.lock", "b.bed", "b.bed.gz"]


def test_one_writer_at_a_time_also_when_the_lock_is_removed_under_another(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with locked(path):
        started = time.monotonic()
        with pytest.raises(OutputError, match=r"a\.tsv: another process is writing it"), locked(path, patience=0.05):
            pass
        assert time.monotonic() - started < 5
        assert in_a_fork(lambda: os._exit(0 if _is_refused(path) else 1)) == 0
    n_forks, counted = 6, tmp_path / "count"
    counted.write_text("0")
    pids = []
    for _ in range(n_forks):  # each waits for the file that another is about to unlink
        if not (pid := os.fork()):
            for _ in range(20):
                with locked(path, patience=60):
                    counted.write_text(str(int(counted.read_text()) + 1))
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * n_forks
    assert counted.read_text() == str(20 * n_forks) and names(tmp_path) == ["count"]


def _is_refused(path: Path) -> bool:
    try:
        with locked(path, patience=0):
            return False
    except OutputError:
        return True


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("seqsal.io.atomic.fcntl.flock", none)
    with atomic_path(tmp_path / "a.tsv") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == ["a.tsv"]


def test_a_set_of_files_comes_together_or_not_at_all(tmp_path: Path) -> None:
    def write(text: str, *endings: str) -> None:
        for ending in endings:
            with atomic_path(tmp_path / f"a{ending}") as temporary:
                temporary.write_text(text)

    with all_or_nothing():
        write("old", ".bed", ".tsv")
        assert not (tmp_path / "a.bed").exists()
    with pytest.raises(OutputError, match=r"b\.x: no space left"), all_or_nothing():
        write("new", ".bed", ".tsv")
        with atomic_path(tmp_path / "b.x"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == ["a.bed", "a.tsv"] and (tmp_path / "a.bed").read_text() == "old"
    with all_or_nothing(stale=[tmp_path / "a.tsv", tmp_path / "a.bed", tmp_path / "never"]):
        write("new", ".bed")
    assert names(tmp_path) == ["a.bed"] and (tmp_path / "a.bed").read_text() == "new"


def test_a_set_killed_between_its_names_is_no_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(text: str) -> None:
        with all_or_nothing():
            for name in ("a", "b", "c"):
                with atomic_path(tmp_path / name) as temporary:
                    temporary.write_text(text)

    real, n_before = os.replace, [0]

    def die(*given: str) -> None:
        if n_before[0] == 0:
            os._exit(3)
        n_before[0] -= 1
        real(*given)

    for n in range(3):
        write("old")
        monkeypatch.setattr(os, "replace", die)
        n_before[0] = n
        assert in_a_fork(lambda: write("new")) == 3
        monkeypatch.setattr(os, "replace", real)
        texts = {path.read_text() for path in tmp_path.iterdir() if not path.name.startswith(".")}
        assert len(texts) == 1, n
        write("again")
        assert names(tmp_path) == ["a", "b", "c"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "a.tsv").symlink_to("far/b.tsv")
    with atomic_path(tmp_path / "a.tsv") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a.tsv").is_symlink() and (tmp_path / "far" / "b.tsv").read_text() == "x"
    (tmp_path / "lost").symlink_to("nowhere/b.tsv")
    with pytest.raises(OutputError, match="nowhere does not exist"):
        check_writable(tmp_path / "lost")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real = os.replace
    monkeypatch.setattr(os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")))
    monkeypatch.setattr(os, "replace", lambda *given: (done.append("replace"), real(*given)))
    with atomic_path(tmp_path / "a.tsv") as temporary:
        temporary.write_text("x")
    assert done == [str(temporary), "replace", str(tmp_path)]


def test_a_folder_of_another_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(UsageError), make_folder(tmp_path / "mine"):
        raise UsageError("no")
    assert names(tmp_path) == []
    with pytest.raises(UsageError), make_folder(tmp_path / "mine") as folder:
        (folder / "x").touch()
        raise UsageError("no")
    assert names(tmp_path) == ["mine"]
