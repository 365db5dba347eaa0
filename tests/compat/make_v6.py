"""Made ``tests/compat/v6``: a shard's directory with layers, as repairs of hot keys leave them; format 5 of catalogs.
Not to be run again.

Run as ``python -m tests.compat.make_v6 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from evenshard.events.marked_rows import MarkedRows
from evenshard.ids import TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.choosing import key_rows
from evenshard.storage.layers import Change, Prepared
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of, event_batch

ACME = TenantId("acme")
HOT = "undefined"


def build(root: Path, make_v1: ModuleType) -> Store:
    """A key reassigned, one deleted, one whose events wait to come; copies of all in the log, before and after."""
    day = make_v1.START_MS // 86_400_000
    store = Store.open(LocalDisk(root), ManualClock(make_v1.START_MS), make_v1.SHARD, StorageSettings(), print)
    store.append([append_of([*some(make_v1, HOT, 40), *some(make_v1, "null", 20), *some(make_v1, "calm", 10)])])
    store.repairs.take(ACME, "op1.taken", key_rows(HOT, [day]))
    moved = some(make_v1, "zoë", 40)
    store.repairs.bring(ACME, "op1.brought", "shard-0/000000", marked(moved[:25]))
    store.repairs.bring(ACME, "op1.brought", "shard-0/000001", marked(moved[25:]))
    store.append([append_of([*some(make_v1, "zoë", 3, 10), *some(make_v1, HOT, 3, 10)])])  # before
    changes = (Change("op1.taken", shown=False, counts=True), Change("op1.brought", shown=True, counts=True))
    store.repairs.prepare(ACME, Prepared("op1", changes))
    store.repairs.settle(ACME, "op1")
    store.repairs.take(ACME, "op2.taken", key_rows("null", [day]))
    store.append([append_of([*some(make_v1, "zoë", 3, 20), *some(make_v1, HOT, 3, 20), *some(make_v1, "null", 3)])])
    store.repairs.prepare(ACME, Prepared("op2", (Change("op2.taken", shown=False, counts=False),)))
    store.repairs.settle(ACME, "op2")
    store.append([append_of([*some(make_v1, "null", 3, 5), *some(make_v1, "zoë", 3, 30)])])  # the first are new
    store.repairs.bring(ACME, "op3.brought", "shard-0/000000", marked(some(make_v1, "later", 5)))
    return store


def some(make_v1: ModuleType, user: str, count: int, first: int = 0) -> list[Event]:
    return [
        Event("open", user, make_v1.START_MS + at * 1_000, f"insert {at}", {"i:n": at})
        for at in range(first, first + count)
    ]


def marked(events: list[Event]) -> MarkedRows:
    none = np.zeros(len(events), np.bool_)
    return MarkedRows(event_batch(events), none, none)


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {"acme": make_v1.rows_of(store, "acme")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
