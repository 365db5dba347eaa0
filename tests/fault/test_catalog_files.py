"""The catalog's real files after a power cut in the middle of SQLite's work: the state before the change, or after it.

``RecordingDisk`` takes a COMMIT for atomic and durable. Here that is looked at byte by byte: copies of the database and
its write-ahead log at each step of a change (written, committed, emptied into the database) are torn and mixed as a
power cut may leave them, and opened. What COMMIT returned for must be there; before that, all of it or nothing.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.testing.faults.damaged_shard import scratch

SHARD = ShardId("shard-0")
TENANTS = [TenantId(f"tenant-{number}") for number in range(3)]
PAGE_BYTES = 4096
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24


@dataclass(frozen=True)
class Change:
    """The files around one change of the catalog."""

    before: bytes
    wal: bytes
    """With the change in it, committed and not yet emptied."""
    after: bytes
    epochs_before: list[int]
    epochs_after: list[int]


def changes(folder: Path) -> list[Change]:
    """Several changes, each with its files."""
    disk = LocalDisk(folder)
    catalog = Catalog.open(disk, SHARD)
    connection: Any = catalog._rows._connection
    path, wal = folder / FILE, folder / f"{FILE}-wal"
    copies: dict[str, bytes] = {}

    class Watched:
        """The connection; copies the files between COMMIT and the emptying of the log."""

        in_transaction = False

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql.startswith("BEGIN"):
                copies["before"] = path.read_bytes()
            if "checkpoint" in sql:
                copies["wal"] = wal.read_bytes()
            done = connection.execute(sql, *parameters)
            if "checkpoint" in sql:
                copies["after"] = path.read_bytes()
                assert wal.stat().st_size == 0
            return done

    catalog._rows._connection = Watched()  # type: ignore[assignment]
    made = []
    for number in range(6):
        before = [catalog.epoch(tenant) for tenant in TENANTS]
        catalog.set_epoch(TENANTS[number % len(TENANTS)], Epoch(number + 1))
        after = [catalog.epoch(tenant) for tenant in TENANTS]
        made.append(Change(copies["before"], copies["wal"], copies["after"], list(before), list(after)))
    connection.close()
    disk.close()
    return made


def states(change: Change, every_bytes: int) -> Iterator[tuple[str, bytes, bytes, bool]]:
    """How it came, database, write-ahead log, and whether the change was committed."""
    frame = FRAME_HEADER_BYTES + PAGE_BYTES
    starts = [0, WAL_HEADER_BYTES, *range(WAL_HEADER_BYTES + frame, len(change.wal), frame)]
    cuts = {start + near for start in starts for near in (-1, 0, 1, FRAME_HEADER_BYTES)}
    for cut in sorted(
        {cut for cut in cuts if 0 <= cut < len(change.wal)} | set(range(0, len(change.wal), every_bytes))
    ):
        torn, missing = change.wal[:cut], len(change.wal) - cut
        yield f"written up to {cut}", change.before, torn, False
        yield f"written up to {cut}, then zeros", change.before, torn + bytes(missing), False
        yield f"written up to {cut}, then noise", change.before, torn + b"\xa5" * missing, False
    yield "committed", change.before, change.wal, True
    size = max(len(change.before), len(change.after))
    before, after = change.before.ljust(size, b"\0"), change.after.ljust(size, b"\0")
    for cut in range(0, size, min(every_bytes, PAGE_BYTES)):
        yield f"emptied up to {cut}", after[:cut] + before[cut:], change.wal, True
        yield f"emptied from {cut} on", before[:cut] + after[cut:], change.wal, True
    for cut in range(0, len(change.wal), PAGE_BYTES):
        yield f"emptied, its log cut to {cut}", change.after, change.wal[:cut], True


def opened(folder: Path, database: bytes, wal: bytes) -> list[int]:
    for path in folder.iterdir():
        path.unlink()
    (folder / FILE).write_bytes(database)
    (folder / f"{FILE}-wal").write_bytes(wal)
    disk = LocalDisk(folder)
    try:
        catalog = Catalog.open(disk, SHARD)
        try:
            return [int(catalog.epoch(tenant)) for tenant in TENANTS]
        finally:
            catalog.close()
    finally:
        disk.close()


def check(tmp_path: Path, every_bytes: int, count: int) -> int:
    made = changes(tmp_path / "made")
    folder = tmp_path / "opened"
    folder.mkdir()
    seen = 0
    for change in made[:count]:
        for how, database, wal, committed in states(change, every_bytes):
            epochs = opened(folder, database, wal)
            allowed = [change.epochs_after] if committed else [change.epochs_before, change.epochs_after]
            assert epochs in allowed, f"{how}: {epochs}"
            seen += 1
    return seen


@pytest.fixture
def fast_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where syncs cost nothing."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        yield Path(folder)


def test_a_power_cut_within_a_change_leaves_the_catalog_before_or_after_it(fast_path: Path) -> None:
    assert check(fast_path, every_bytes=1024, count=2) > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_power_cut_at_many_bytes_of_a_change_leaves_the_catalog_before_or_after_it(fast_path: Path) -> None:
    assert check(fast_path, every_bytes=16, count=6) > 10_000
