"""A directory a shard must not start on: refused with a sentence that says what to do, and nothing in it touched."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.log.frame import FILE_HEADER_BYTES, FileHeader, encode_file_header
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
FIRST_LOG, SECOND_LOG, THIRD_LOG = (f"log/000000000{number}.log" for number in (1, 2, 3))


def click(number: int) -> Event:
    return Event("click", f"u{number}", 1_700_000_000_000 + number, "x")


def open_store(disk: LocalDisk, shard: ShardId = SHARD, reports: list[str] | None = None) -> Store:
    settings = StorageSettings(log_file_bytes=1)
    return Store.open(disk, ManualClock(), shard, settings, (reports if reports is not None else []).append)


def add(store: Store, *events: Event) -> None:
    (outcome,) = store.append([append_of(events)])
    assert isinstance(outcome, Appended), outcome


def killed(tmp_path: Path, *, compacted: bool) -> Path:
    """Of a shard that was killed: three log files of a row each, of which the first row is in a segment, or is not."""
    disk = LocalDisk(tmp_path / "living")
    store = open_store(disk)
    add(store, click(1))
    if compacted:
        store.compact(ACME)
    add(store, click(2))
    add(store, click(3))
    root = tmp_path / "shard-0"
    shutil.copytree(tmp_path / "living", root)
    store.close()
    disk.close()
    return root


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return killed(tmp_path, compacted=True)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder with its time stamp and bytes."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted([root, *root.rglob("*")])
    }


def refused(root: Path, shard: ShardId = SHARD) -> EvenshardError:
    """What a start says; checks that it touched nothing."""
    before = tree(root)
    disk = LocalDisk(root)
    try:
        with pytest.raises(EvenshardError) as caught:
            open_store(disk, shard)
    finally:
        disk.close()
    assert tree(root) == before
    assert caught.value.hint
    return caught.value


def of_a_newer_format(root: Path) -> None:
    disk = LocalDisk(root)
    catalog = Catalog.open(disk, SHARD)
    with catalog._transaction() as changes:
        changes.put("meta/format", b"99")
    catalog.close()
    disk.close()


def with_a_newer_log(root: Path) -> None:
    path = root / THIRD_LOG
    data = path.read_bytes()
    header = encode_file_header(FileHeader(SHARD, 3, 2, version=99))
    path.write_bytes(header + data[FILE_HEADER_BYTES:])


def with_a_log_of_another_shard(root: Path) -> None:
    path = root / THIRD_LOG
    header = encode_file_header(FileHeader(ShardId("shard-1"), 3, 2))
    path.write_bytes(header + path.read_bytes()[FILE_HEADER_BYTES:])


def without(*names: str) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        for name in names:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def with_file(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text("not ours") and None


@pytest.mark.parametrize(
    ("change", "code", "file"),
    [
        (of_a_newer_format, "FORMAT_TOO_NEW", FILE),
        (with_a_newer_log, "FORMAT_TOO_NEW", THIRD_LOG),
        (with_a_log_of_another_shard, "DATA_DAMAGED", THIRD_LOG),
        (without(FILE), "DATA_DAMAGED", FILE),
        (without(FILE, "segments"), "DATA_DAMAGED", FILE),
        (without(FILE, "log"), "DATA_DAMAGED", FILE),
        (without("segments"), "DATA_DAMAGED", "segments/0000000001.parquet"),
        (without("log"), "DATA_DAMAGED", FIRST_LOG),
        (without(SECOND_LOG), "DATA_DAMAGED", SECOND_LOG),
        (with_file("log/3.log"), "DATA_DAMAGED", "log/3.log"),
        (with_file("log/0000000003 (copy).log"), "DATA_DAMAGED", "log/0000000003 (copy).log"),
        (with_file("segments/0000000999.parquet"), "DATA_DAMAGED", "segments/0000000999.parquet"),
    ],
)
def test_a_bad_directory_is_refused_and_not_touched(
    directory: Path, change: Callable[[Path], None], code: str, file: str
) -> None:
    # What a start would remove or cut, were it not refused: neither may happen.
    (directory / "segments/0000000042.parquet").write_bytes(b"the rest of a compaction")
    change(directory)
    if (directory / "log").is_dir() and (directory / THIRD_LOG).exists():
        (directory / THIRD_LOG).write_bytes((directory / THIRD_LOG).read_bytes()[:-3])
    error = refused(directory)
    assert (error.code, error.details["file"]) == (code, file)


def test_a_log_whose_first_file_is_missing_is_refused_and_not_touched(tmp_path: Path) -> None:
    root = killed(tmp_path, compacted=False)
    (root / FIRST_LOG).unlink()
    error = refused(root)
    assert (error.code, error.details["file"]) == ("DATA_DAMAGED", SECOND_LOG)
    assert "rows 0 to 0 are missing" in error.message


def test_the_directory_of_another_shard_is_refused_and_not_touched(directory: Path) -> None:
    error = refused(directory, ShardId("shard-1"))
    assert error.code == "DATA_DAMAGED"
    assert "belongs to shard-0" in error.message
    assert error.hint == "start shard-0 on it, or give shard-1 its own data directory"


def test_a_directory_in_use_is_refused_and_not_touched(directory: Path) -> None:
    first = LocalDisk(directory)
    before = tree(directory)
    with pytest.raises(EvenshardError) as caught:
        LocalDisk(directory)
    assert caught.value.code == "DATA_DIR_LOCKED"
    assert tree(directory) == before
    first.close()


HOLDER = """
import sys
from pathlib import Path
from evenshard.runtime.disk import LocalDisk
disk = LocalDisk(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_directory_another_process_has_is_refused_and_not_touched_until_that_is_killed(directory: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        before = tree(directory)
        with pytest.raises(EvenshardError) as caught:
            LocalDisk(directory)
        assert (caught.value.code, str(directory) in caught.value.message) == ("DATA_DIR_LOCKED", True)
        assert "stop that one, or choose another --data-dir" in caught.value.hint
        assert tree(directory) == before
        holder.kill()
    disk = LocalDisk(directory)
    open_store(disk).close()
    disk.close()


def test_foreign_files_that_cannot_be_mistaken_are_left_and_named(directory: Path) -> None:
    foreign = ["notes.txt", "log/readme", "log/0000000001.log.bak", "segments/copy of 1.parquet", "segments/x.tmp"]
    for name in foreign:
        (directory / name).write_text("somebody's")
    disk, reports = LocalDisk(directory), list[str]()
    store = open_store(disk, reports=reports)
    assert sorted(reports) == sorted(f"{name}: left as it is, no file of a shard is called so" for name in foreign)
    with store.snapshot(ACME) as snapshot:
        assert [event for event, _ in all_events(snapshot)] == [click(1), click(2), click(3)]
    store.compact(ACME)
    store.close()
    disk.close()
    assert [(directory / name).read_text() for name in foreign] == ["somebody's"] * len(foreign)


def test_what_was_committed_when_the_process_was_killed_is_looked_at_too(directory: Path) -> None:
    """A catalog whose last change is in SQLite's own log, as a kill between commit and checkpoint leaves it."""
    source = sqlite3.connect(directory / FILE, isolation_level=None)
    source.execute("PRAGMA journal_mode=WAL")
    source.execute("PRAGMA wal_autocheckpoint=0")
    source.execute("UPDATE entries SET value = 'x' WHERE key = 'meta/shard'")
    twin = directory.parent / "twin"
    shutil.copytree(directory, twin)
    source.close()
    assert (twin / f"{FILE}-wal").stat().st_size > 0
    error = refused(twin)
    assert "meta/shard" in error.message
