"""Made ``tests/compat/v2``: a shard's directory with deletions, format 2 of the catalog. Not to be run again.

Run as ``python -m tests.compat.make_v2 FOLDER`` it makes such a directory with the evenshard of now.
"""

import json
import sys
from pathlib import Path
from random import Random
from types import ModuleType

from evenshard.ids import Epoch, TenantId
from evenshard.storage.store import Store
from evenshard.testing.events import append_of

ACME, DAY_MS = TenantId("acme"), 86_400_000


def build(root: Path, make_v1: ModuleType) -> Store:
    """Users deleted and some come again, a horizon; of both some rows are in segments, some in the log, some gone."""
    store: Store = make_v1.build(root)
    again = [events for tenant, events, _ in make_v1.batches(Random(make_v1.SEED)) if tenant == ACME][-3:]
    store.hide_users(ACME, Epoch(1), "op-purged", ["u2"])
    while store.purge_step(ACME):
        pass
    store.append([append_of(events) for events in again])
    store.hide_users(ACME, Epoch(1), "op-waiting", ["u1", "Zoë"])
    store.append([append_of(events) for events in again])
    store.raise_horizon(ACME, Epoch(1), make_v1.START_MS + 10 * DAY_MS)
    store.append([append_of(again[0])])
    return store


def main(folder: Path) -> None:
    from tests.compat import make_v1  # tests are no package: pytest finds it otherwise

    store = build(folder / "shard-0", make_v1)
    expected = {tenant: make_v1.rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
