"""Made ``tests/compat/v4``: a shard's directory whose segments have filters of values, format 3 of filters. Not to be
run again.

Run as ``python -m tests.compat.make_v4 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

from evenshard.ids import TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of


def build(root: Path, make_v1: ModuleType) -> Store:
    """One segment, some pages of values, of every type."""
    store = Store.open(LocalDisk(root), ManualClock(make_v1.START_MS), make_v1.SHARD, StorageSettings(), print)
    events = [
        Event(
            ("open", "buy", "größe")[at % 3],
            "" if at % 50 == 0 else f"user {at % 70}",
            make_v1.START_MS + at * 1_000,
            None if at % 9 == 0 else f"insert {at}",
            {"s:plan": f"p{at}", "s:größe": "✓"} if at % 2 else {"i:n": at - 300, "b:ok": at % 4 == 0, "j:tags": "[1]"},
        )
        for at in range(500)
    ]
    events += [Event("open", "dora", make_v1.START_MS, f"d{at}", {"d:n": at / 4 - 12}) for at in range(100)]
    store.append([append_of(events)])
    store.compact(TenantId("acme"))
    return store


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {"acme": make_v1.rows_of(store, "acme")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
