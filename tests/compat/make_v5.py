"""Made ``tests/compat/v5``: a shard's directory with hot keys, one sealed here, one of which originals are kept; format
4 of catalogs. Not to be run again.

Run as ``python -m tests.compat.make_v5 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from evenshard.events.hashing import SLOT_COUNT, slots_of
from evenshard.ids import Epoch, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of

ACME, EPOCH = TenantId("acme"), Epoch(2)
AT_HOME, ELSEWHERE = "Zoë/home", "runaway@elsewhere"


def build(root: Path, make_v1: ModuleType) -> Store:
    """Rows of a key before it was sealed; copies of another one whose originals another shard has, some indexed."""
    day = make_v1.START_MS // 86_400_000
    store = Store.open(LocalDisk(root), ManualClock(make_v1.START_MS), make_v1.SHARD, StorageSettings(), print)

    def append(events: list[Event], **hot: Any) -> Appended:
        (done,) = store.append([replace(append_of(events, ACME, epoch=EPOCH), **hot)])
        assert isinstance(done, Appended), done
        return done

    append([*some(make_v1, AT_HOME, 40), *some(make_v1, "calm", 10)])
    store.seal_key(ACME, EPOCH, (AT_HOME, day), "nonce-1", has_hot_rows=True)
    kept = append_of(some(make_v1, ELSEWHERE, 60), ACME).batch
    store.keep_originals(ACME, EPOCH, (ELSEWHERE, day), "nonce-2", (0, 1 << 63), kept, has_hot_rows=False)
    store.keep_originals(ACME, EPOCH, (ELSEWHERE, day), "nonce-2", (1 << 63, 0), None, has_hot_rows=False)
    everywhere = np.ones(SLOT_COUNT, np.bool_)
    for first in (50, 55):
        batch = append_of(some(make_v1, ELSEWHERE, 20, first), ACME)
        assert batch.prepared().hashes is not None
        home = everywhere.copy()
        home[slots_of(batch.prepared().hashes.placement)] = False  # type: ignore[union-attr]
        done = append(some(make_v1, ELSEWHERE, 20, first), owned=home, overflow=everywhere)
        assert done.duplicates.any()
        if first == 50:
            store.compact(ACME)
    return store


def some(make_v1: ModuleType, user: str, count: int, first: int = 0) -> list[Event]:
    return [
        Event("open", user, make_v1.START_MS + at * 1_000, f"insert {at}", {"i:n": at})
        for at in range(first, first + count)
    ]


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {"acme": make_v1.rows_of(store, "acme")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
