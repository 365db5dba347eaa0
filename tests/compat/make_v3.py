"""Made ``tests/compat/v3``: a shard's directory where quarantines have ended, format 3 of the catalog. Not to be run
again.

Run as ``python -m tests.compat.make_v3 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

from evenshard.ids import TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.fsck import check
from evenshard.storage.fsck_repair import give_up, repair
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock


def build(root: Path, make_v1: ModuleType) -> Store:
    """A segment of one tenant was damaged and mended, one of the other was damaged and given up; of both there are
    copies in the log."""
    store: Store = make_v1.build(root)
    mended = segment_of(store, "acme")
    lost = segment_of(store, "beta-2")
    store.close()
    store._state.disk.close()  # type: ignore[attr-defined]
    for name in (mended, lost):
        flip(root / name)
    ended(root, make_v1, accept=False)
    flip(root / mended)
    ended(root, make_v1, accept=True)
    store = Store.open(LocalDisk(root), ManualClock(make_v1.START_MS), make_v1.SHARD, StorageSettings(), print)
    store.compact(TenantId("beta-2"))
    return store


def segment_of(store: Store, tenant: str) -> str:
    with store.snapshot(TenantId(tenant)) as snapshot:
        return snapshot.segments[0].parquet


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 0x10
    path.write_bytes(data)


def ended(root: Path, make_v1: ModuleType, *, accept: bool) -> None:
    """What ``evenshard fsck --repair`` does, or with ``--accept-loss``."""
    disk, clock = LocalDisk(root), ManualClock(make_v1.START_MS)
    repair(disk, clock, make_v1.SHARD, check(disk, clock, make_v1.SHARD, print), print)
    if accept:
        give_up(disk, clock, make_v1.SHARD, print)
    disk.close()


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {tenant: make_v1.rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
