"""Hot bits stay with their rows: in the log, sorted, in segments, after restarts."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.scan import HOT
from evenshard.ids import ShardId, TenantId
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import FOR_EVER, Event, append_of

ACME = TenantId("acme")
BATCHES = 70


def open_store(disk: MemoryDisk) -> Store:
    return Store.open(disk, ManualClock(), ShardId("shard-0"), StorageSettings(), lambda line: None)


def hot_of(snapshot: Snapshot) -> dict[str, bool]:
    """By insert_id."""
    found: dict[str, bool] = {}
    for scanned in snapshot.scan((*FIELD_NAMES, HOT), (), *FOR_EVER):
        for row in scanned.record.select(["insert_id", HOT]).to_pylist():
            assert row["insert_id"] not in found
            found[row["insert_id"]] = row[HOT]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_hot_bits_survive_sorting_indexing_and_restarts(seed: int) -> None:
    print(f"seed {seed}")
    random, disk = Random(seed), MemoryDisk()
    store = open_store(disk)
    expected: dict[str, bool] = {}

    def append(first: int, batches: int) -> None:
        for batch in range(first, first + batches):
            rows = random.randrange(1, 20)
            events = [Event("e", f"user-{random.randrange(9)}", 1000 + row, f"{batch}-{row}") for row in range(rows)]
            hot = np.array([random.random() < 0.3 for _ in range(rows)]) if random.random() < 0.5 else None
            (appended,) = store.append([replace(append_of(events), hot=hot).prepared()])
            assert not isinstance(appended, Exception)
            bits = [False] * rows if hot is None else hot.tolist()
            expected.update((str(event.insert_id), bit) for event, bit in zip(events, bits, strict=True))

    def check() -> None:
        with store.snapshot(ACME) as snapshot:
            assert hot_of(snapshot) == expected

    append(0, BATCHES)
    check()
    assert store.sort_tail(ACME)
    check()
    disk = disk.crash(random)
    store = open_store(disk)
    check()
    store.compact(ACME)
    append(BATCHES, 5)
    check()
    store.compact(ACME)
    store.close()
    store = open_store(disk)
    check()
    store.close()


def test_only_where_rows_are_hot_more_columns_are_read() -> None:
    store = open_store(MemoryDisk())
    events = [Event("e", "user", 1000, "1")]
    store.append([append_of(events).prepared()])
    store.append([replace(append_of([Event("e", "user", 1001, "2")]), hot=np.array([True])).prepared()])
    with store.snapshot(ACME) as snapshot:
        plain, hot = (scanned.record.schema.names for scanned in snapshot.scan_to_show(("time",), (), *FOR_EVER))
    assert plain == ["time", "duplicate"]
    assert sorted(hot) == ["distinct_id", "duplicate", "event", HOT, "time"]
    store.close()
