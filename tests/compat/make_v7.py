"""Made ``tests/compat/v7``: a shard's directory in the middle of moves; format 6 of catalogs, 2 of logs.
Not to be run again.

Run as ``python -m tests.compat.make_v7 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of
from evenshard.testing.moving import Pull

ACME = TenantId("acme")
HOT = "undefined"
LOW, HIGH = MovedSlots(ACME, ((0, 2047),)), MovedSlots(ACME, ((2048, 4095),))
EPOCH = Epoch(1)


def build(root: Path, make_v1: ModuleType) -> Store:
    """It has spread rows of a key it has sealed, follows one half of another shard, has dropped rows, and is fenced."""
    clock = ManualClock(make_v1.START_MS)
    source = Store.open(MemoryDisk(), clock, ShardId("shard-1"), StorageSettings(), print)
    store = Store.open(LocalDisk(root), clock, make_v1.SHARD, StorageSettings(), print)
    store.append([append_of(some(make_v1, "away", 0, 60))])
    store.compact(ACME)
    store.moves.drop(LOW, EPOCH, "op0", 1, spread=True)
    day = make_v1.START_MS // 86_400_000
    store.append([append_of([Event("open", HOT, make_v1.START_MS, f"h{at}") for at in range(5)])])
    store.seal_key(ACME, EPOCH, (HOT, day), "nonce", has_hot_rows=True)
    everything = np.ones(SLOT_COUNT, np.bool_)
    spread = append_of([Event("open", HOT, make_v1.START_MS, f"h{at}") for at in range(3, 9)])
    store.append([replace(spread, hot=np.ones(6, np.bool_), overflow=everything)])
    store.compact(ACME)
    store.append([replace(spread, hot=np.ones(6, np.bool_), overflow=everything)])
    source.append([append_of(some(make_v1, "user", 0, 40))])
    source.compact(ACME)
    store.moves.follow(LOW, EPOCH, "op1", 7, ShardId("shard-1"), "127.0.0.1:7410")
    pull = Pull(lambda: source, lambda: store, LOW, "op1", 7)
    pull.step(spread=True)
    source.append([append_of(some(make_v1, "user", 30, 60))])
    pull.step(spread=True)
    source.hide_users(ACME, EPOCH, "delete", [f"user {at}" for at in range(10)])
    source.append([append_of(some(make_v1, "user", 5, 8))])
    pull.step(spread=True)
    store.moves.fence(HIGH, EPOCH, "op2", 9)
    source.close()
    return store


def some(make_v1: ModuleType, name: str, first: int, end: int) -> list[Event]:
    return [
        Event("open", f"{name} {at}", make_v1.START_MS + at * 1_000, f"insert {at}", {"i:n": at})
        for at in range(first, end)
    ]


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {"acme": make_v1.rows_of(store, "acme")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
