"""What every ``Disk`` promises; the one in memory also what a power cut leaves."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ports.disk import Disk
from evenshard.runtime.disk import LocalDisk
from evenshard.testing.disk import MemoryDisk


@pytest.fixture(params=["local", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        yield MemoryDisk()
    else:
        local = LocalDisk(tmp_path / "data" / "shard")
        yield local
        local.close()


def test_what_was_appended_is_read_back(disk: Disk) -> None:
    file = disk.open("log/a", create=True)
    assert file.write([b"one", memoryview(b"two"), b""]) == 6
    assert file.write([bytes([n % 256]) for n in range(3000)]) == 3000
    assert file.size() == 3006
    assert file.read(0, 6) == b"onetwo"
    assert file.read(4, 4) == b"wo\x00\x01"
    assert file.read(3000, 100) == bytes(n % 256 for n in range(2994, 3000))
    assert file.read(4000, 1) == b""
    file.sync()
    file.close()
    again = disk.open("log/a")
    again.write([b"end"])
    assert again.read(3006, 10) == b"end"
    again.close()


def test_pieces_are_read_in_the_order_they_are_asked_for(disk: Disk) -> None:
    file = disk.open("a", create=True)
    data = Random(1).randbytes(50_000)
    file.write([data])
    pieces = [(40_000, 10_000), (0, 1), (7, 0), (49_999, 1), (3, 20), (3, 20)]
    offsets, lengths = (np.array(each, np.int64) for each in zip(*pieces, strict=True))
    assert file.read_pieces(offsets, lengths).tobytes() == b"".join(data[at : at + size] for at, size in pieces)
    assert file.read_pieces(offsets[:0], lengths[:0]).size == 0
    for offset, length in ((49_999, 2), (60_000, 1)):
        with pytest.raises(OSError, match=r"behind the file|cannot be read"):
            file.read_pieces(np.array([0, offset]), np.array([5, length]))
    file.write([b"more"])
    assert file.read_pieces(np.array([50_000]), np.array([4])).tobytes() == b"more"
    file.close()
    with pytest.raises(OSError, match=r"closed|Bad file") as error:
        file.read_pieces(np.array([0]), np.array([5]))
    assert error.value.errno == errno.EBADF


def test_writing_goes_to_the_end_after_a_truncation(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.write([b"abcdef"])
    file.truncate(2)
    file.write([b"Z"])
    assert file.read(0, 10) == b"abZ"
    assert file.size() == 3
    file.close()


def test_a_file_is_created_once(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open("folder/a")
    disk.open("folder/a", create=True).close()
    with pytest.raises(FileExistsError):
        disk.open("folder/a", create=True)


def test_a_folder_lists_its_own_files_sorted(disk: Disk) -> None:
    for name in ("f/b", "f/a", "f/deep/c", "top"):
        disk.open(name, create=True).close()
    assert disk.list("f") == ["a", "b"]
    assert disk.list("f/deep") == ["c"]
    assert disk.list("") == ["top"]
    assert disk.list("none") == []


def test_a_rename_replaces(disk: Disk) -> None:
    for name in ("f/old", "f/new"):
        file = disk.open(name, create=True)
        file.write([name.encode()])
        file.close()
    disk.rename("f/old", "f/new")
    assert disk.list("f") == ["new"]
    assert disk.open("f/new").read(0, 10) == b"f/old"
    with pytest.raises(FileNotFoundError):
        disk.rename("f/old", "f/other")


def test_an_unlinked_file_stays_readable_where_it_is_open(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.write([b"bytes"])
    disk.unlink("a")
    assert disk.list("") == []
    assert file.read(0, 5) == b"bytes"
    with pytest.raises(FileNotFoundError):
        disk.unlink("a")
    disk.open("a", create=True).close()


def test_a_closed_file_refuses(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.close()
    file.close()
    with pytest.raises(OSError, match=r"closed|Bad file") as error:
        file.write([b"x"])
    assert error.value.errno == errno.EBADF


@pytest.mark.parametrize("name", ["../a", "/a", "", "f/../../a"])
def test_names_stay_below_the_directory(disk: Disk, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        disk.open(name, create=True)


def test_directories_are_synced_up_to_the_root(disk: Disk) -> None:
    disk.open("f/g/a", create=True).close()
    disk.sync_directory("f/g")
    disk.sync_directory("")
    with pytest.raises(FileNotFoundError):
        disk.sync_directory("none")


def test_a_database_commits_for_every_connection(disk: Disk) -> None:
    one = disk.database("catalog/c.db")
    one.execute("CREATE TABLE t (x INTEGER)")
    one.execute("BEGIN")
    one.execute("INSERT INTO t VALUES (1)")
    one.execute("COMMIT")
    two = disk.database("catalog/c.db")
    assert two.execute("SELECT x FROM t").fetchall() == [(1,)]
    one.close()
    two.close()
    three = disk.database("catalog/c.db")
    assert three.execute("SELECT x FROM t").fetchall() == [(1,)]
    three.close()


def test_a_copy_of_a_database_holds_what_is_committed_and_is_private(disk: Disk) -> None:
    assert disk.database_copy("catalog/c.db") is None
    one = disk.database("catalog/c.db")
    one.execute("CREATE TABLE t (x INTEGER)")
    one.execute("INSERT INTO t VALUES (1)")
    copy = disk.database_copy("catalog/c.db")
    assert copy is not None
    copy.execute("INSERT INTO t VALUES (2)")
    assert copy.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]
    assert one.execute("SELECT x FROM t").fetchall() == [(1,)]
    copy.close()
    one.close()


def test_there_is_room(disk: Disk) -> None:
    assert disk.free_bytes() > 0


def test_a_directory_has_one_user(tmp_path: Path) -> None:
    first = LocalDisk(tmp_path)
    with pytest.raises(EvenshardError) as error:
        LocalDisk(tmp_path)
    assert error.value.code == "DATA_DIR_LOCKED"
    first.close()
    LocalDisk(tmp_path).close()


def test_a_power_cut_keeps_what_was_synced() -> None:
    for seed in range(50):
        disk = MemoryDisk()
        file = disk.open("f/a", create=True)
        file.write([b"synced"])
        file.sync()
        disk.sync_directory("f")
        file.write([b"unsynced"])
        after = disk.crash(Random(seed))
        content = after.open("f/a").read(0, 100)
        assert content.startswith(b"synced"), f"seed {seed}"
        assert len(content) <= 14, f"seed {seed}"
        with pytest.raises(OSError, match="lost power"):
            file.write([b"x"])


def test_a_power_cut_may_undo_unsynced_names_and_truncations() -> None:
    names = set()
    contents = set()
    for seed in range(50):
        disk = MemoryDisk()
        file = disk.open("f/a", create=True)
        file.write([b"abcdef"])
        file.sync()
        disk.sync_directory("f")
        file.truncate(3)
        disk.rename("f/a", "f/b")
        after = disk.crash(Random(seed))
        names.add(tuple(after.list("f")))
        contents.add(after.open(f"f/{after.list('f')[0]}").read(0, 10))
    assert names == {("a",), ("b",)}
    assert contents == {b"abc", b"abcdef"}


def test_a_power_cut_rolls_open_transactions_back() -> None:
    disk = MemoryDisk()
    database = disk.database("c.db")
    database.execute("CREATE TABLE t (x INTEGER)")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("BEGIN")
    database.execute("INSERT INTO t VALUES (2)")
    after = disk.crash(Random(1)).database("c.db")
    assert after.execute("SELECT x FROM t").fetchall() == [(1,)]
    with pytest.raises(sqlite3.ProgrammingError):
        database.execute("COMMIT")


def test_a_full_disk_takes_what_fits() -> None:
    disk = MemoryDisk(capacity_bytes=10)
    file = disk.open("a", create=True)
    with pytest.raises(OSError, match="no space") as error:
        file.write([b"x" * 8, b"y" * 8])
    assert error.value.errno == errno.ENOSPC
    assert file.size() == 10


def test_the_hook_sees_and_fails_operations() -> None:
    seen = []

    def hook(operation: str, name: str) -> None:
        seen.append((operation, name))
        if operation == "sync":
            raise OSError(errno.EIO, "bad")

    disk = MemoryDisk(hook=hook)
    file = disk.open("a", create=True)
    with pytest.raises(OSError, match="bad"):
        file.sync()
    assert seen == [("create", "a"), ("sync", "a")]
