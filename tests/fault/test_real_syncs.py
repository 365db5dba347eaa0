"""The real disk asks the kernel for what the proofs on a recording disk take for granted: each sync is one."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of

SHARD = ShardId("shard-0")
FULL = 2
"""Of SQLite's ``synchronous``: COMMIT returns when the write-ahead log is on the disk."""


class Kernel:
    """What was asked of it, in order, by path below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.calls: list[tuple[str, str]] = []

    def note(self, call: str, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.calls.append((call, str(path.relative_to(self._root))))

    def said(self) -> list[tuple[str, str]]:
        """Since the last time."""
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path.resolve())
    for call in ("fsync", "fdatasync"):
        real = getattr(os, call)

        def noted(descriptor: int, call: str = call, real: object = real) -> None:
            kernel.note(call, descriptor)
            real(descriptor)  # type: ignore[operator]

        monkeypatch.setattr(os, call, noted)
    return kernel


def test_files_and_every_folder_up_to_the_root_are_synced(kernel: Kernel, tmp_path: Path) -> None:
    with closing(LocalDisk(tmp_path / "data" / "shard-0")) as disk:
        assert kernel.said() == [("fsync", "data"), ("fsync", ".")]  # where the new folders' names stand
        file = disk.open("log/a", create=True)
        file.write([b"x"])
        file.sync()
        assert kernel.said() == [("fdatasync", "data/shard-0/log/a")]
        disk.sync_directory("log")
        assert kernel.said() == [("fsync", "data/shard-0/log"), ("fsync", "data/shard-0")]
        file.close()


def test_a_commit_of_the_catalog_is_on_the_disk_when_it_returns(kernel: Kernel, tmp_path: Path) -> None:
    with closing(LocalDisk(tmp_path)) as disk:
        catalog = Catalog.open(disk, SHARD)
        assert ("fsync", ".") in kernel.said()  # the name of the file
        (level,) = catalog._rows._connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = catalog._rows._connection.execute("PRAGMA journal_mode").fetchone()
        assert (level, mode) == (FULL, "wal")
        assert (tmp_path / f"{FILE}-wal").stat().st_size == 0
        catalog.close()


def test_an_ack_is_behind_a_sync_of_its_log(kernel: Kernel, tmp_path: Path) -> None:
    with closing(LocalDisk(tmp_path)) as disk:
        store = Store.open(disk, ManualClock(), SHARD, StorageSettings(), lambda _: None)
        assert ("fdatasync", "log/0000000001.log") in kernel.said()
        for number in range(2):
            store.append([append_of([Event("view", "u", 1_700_000_000_000, f"i{number}")])])
            assert kernel.said()[-1] == ("fdatasync", "log/0000000001.log")
        store.compact(TenantId("acme"))
        synced = kernel.said()
        for name in ("segments/0000000001.parquet", "segments/0000000001.filter"):
            assert synced.index(("fdatasync", name)) < synced.index(("fsync", "segments"))
        store.close()
