"""Made ``tests/compat/v1``: a shard's directory of format 1, and beside it what it holds. Not to be run again.

The bytes are committed: a version of today must open them for ever. Run as ``python -m tests.compat.make_v1 FOLDER``
it makes such a directory with the evenshard of now, for a look at what differs.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import FOR_EVER, Event, append_of

SHARD = ShardId("shard-0")
SEED = 1
START_MS = 1_700_000_000_000
FIELDS = ("event", "distinct_id", "time", "insert_id", "hot")


def batches(random: Random) -> Iterator[tuple[str, list[Event], list[bool]]]:
    """Tenant, events and hot bits of each append; retries, anonymous events, every type of property."""
    sent: list[Event] = []
    for number in range(24):
        events = []
        for _ in range(random.randint(1, 12)):
            if sent and random.random() < 0.2:
                events.append(random.choice(sent))
                continue
            properties: dict[str, object] = {}
            if random.random() < 0.8:
                properties["i:n"] = random.randint(-(1 << 40), 1 << 40)
            if random.random() < 0.4:
                properties["d:price"] = random.random() * 100
            if random.random() < 0.6:
                properties["s:plan"] = random.choice(["free", "pro", "größer ✓"])
            if random.random() < 0.2:
                properties["b:ok"] = random.random() < 0.5
            if random.random() < 0.2:
                properties["j:tags"] = json.dumps(["a", number])
            user = random.choice(["", "u1", "u2", "Zoë", "a-much-longer-user-id-0123456789"])
            insert_id = None if random.random() < 0.2 else f"i{random.randrange(1000)}"
            time = START_MS + random.randrange(40) * 86_400_000 + random.randrange(86_400_000)
            events.append(Event(random.choice(["open", "buy", "größe"]), user, time, insert_id, properties))
        sent += events
        hot = [random.random() < 0.3 for _ in events] if number % 3 == 0 else []
        yield random.choice(["acme", "acme", "beta-2"]), events, hot


def build(root: Path) -> Store:
    """Log files of some KB, of which some are indexed, and segments with filters."""
    disk = LocalDisk(root)
    store = Store.open(disk, ManualClock(START_MS), SHARD, StorageSettings(log_file_bytes=6_000), print)
    for number, (tenant, events, hot) in enumerate(batches(Random(SEED))):
        append = replace(append_of(events, tenant), hot=np.array(hot, np.bool_) if hot else None)
        (outcome,) = store.append([append])
        assert isinstance(outcome, Appended), outcome
        if number in (9, 15):
            store.compact(TenantId("acme"))
        if number == 12:
            store.compact(TenantId("beta-2"))
    return store


def rows_of(store: Store, tenant: str) -> list[dict[str, Any]]:
    """Everything, in a fixed order."""
    with store.snapshot(TenantId(tenant)) as snapshot:
        rows = [
            {name: value for name, value in row.items() if name in (*FIELDS, "duplicate") or value is not None}
            for scanned in snapshot.scan(FIELDS, None, *FOR_EVER)
            for row in scanned.record.to_pylist()
        ]
    return in_order(rows)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def main(folder: Path) -> None:
    store = build(folder / "shard-0")
    expected = {tenant: rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
