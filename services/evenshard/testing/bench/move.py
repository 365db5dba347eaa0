"""How fast a tenant moves: on an idle cluster, bytes copied a second; under imports and queries, for how long writes
are held. Before a figure is printed the tenant's answers are compared with those before the move.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import evenshard
from evenshard.testing.bench.compare import AnswersDifferError
from evenshard.testing.bench.dataset import write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import sessions_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import connected
from evenshard.testing.bench.sending import SEED, TENANT, send
from evenshard.testing.moves_model.load import Load
from evenshard.testing.processes import ClusterProcess

EVENTS_DEFAULT: Final = 10_000_000
ROUNDS_DEFAULT: Final = 4
WAIT_S: Final = 600.0
FIRST, LAST = "2026-01-01", "2026-01-31"
LOAD_TENANT: Final = "load"


def move(options: Options) -> list[Figure]:
    """``move``: bytes a second of the copy of an indexed tenant; ``move_hold``: the longest hold of writes, of so many
    moves there and back (``--rounds``), and what an import waited at most."""
    events = options.events or EVENTS_DEFAULT
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        cluster = ClusterProcess(place / "data", shards=2)
        cluster.start()
        try:
            return [_idle(cluster, place, events), _under_load(cluster, options.rounds or ROUNDS_DEFAULT)]
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(place)


def _idle(cluster: ClusterProcess, place: Path, events: int) -> Figure:
    with connected(cluster) as client:
        data = write_dataset(
            place / "dataset", events, lambda first, rows: sessions_of(SEED, first, rows, of=events), seed=SEED
        )
        client.create_tenant(TENANT, hot_key_threshold=1 << 40)
        ended(client, client.merge_tenant(TENANT, "shard-0")["operation"])
        send(cluster.router, data.batches())
        client.compact(wait=True, timeout=WAIT_S)
        before = answers(client)
        began_s = time.monotonic()
        switched = until_settled(client, client.move_tenant(TENANT, "shard-1")["operation"])
        seconds = time.monotonic() - began_s
        if answers(client) != before:
            raise AnswersDifferError("the tenant's answers changed with its move")
        client.complete_operation(switched["operation"])
        rate = switched["bytes_done"] / seconds
        detail = {"bytes": switched["bytes_done"], "seconds": round(seconds, 2), "hold_ms": switched["fenced_ms"]}
        return Figure("move", round(rate), "bytes/s", events, detail=detail)


def _under_load(cluster: ClusterProcess, rounds: int) -> Figure:
    with connected(cluster) as client:
        client.create_tenant(LOAD_TENANT)
        held = []
        with Load(cluster.router, cluster.gateway, LOAD_TENANT) as load:
            for number in range(rounds):
                name = client.merge_tenant(LOAD_TENANT, f"shard-{number % 2}")["operation"]
                held.append(ended(client, name)["fenced_ms"])
        if load.failures:
            raise AnswersDifferError(load.failures[0])
        detail: dict[str, Any] = {
            "moves": rounds,
            "held_ms": [round(each, 1) for each in held],
            "longest_import_ms": round(1e3 * load.longest_import_s, 1),
            "imported": load.acked,
            "asked": load.asked,
        }
        return Figure("move_hold", round(max(held), 1), "ms", load.acked, detail=detail)


def until_settled(client: evenshard.Client, operation: str) -> dict[str, Any]:
    """The move, once it has switched."""
    found = client.wait_operation(operation, timeout=WAIT_S)
    if found["state"] not in ("switched", "complete"):
        raise AnswersDifferError(f"the move is {found['state']}: {found['error']}")
    return found


def ended(client: evenshard.Client, operation: str) -> dict[str, Any]:
    """The move, once it is complete."""
    until_settled(client, operation)
    client.complete_operation(operation)
    return client.wait_operation(operation, timeout=WAIT_S)


def answers(client: evenshard.Client) -> list[Any]:
    """What a tenant's month says."""
    found = []
    questions: list[dict[str, Any]] = [{}, {"measure": "unique"}, {"by": ["$event"]}]
    for asked in questions:
        document = client.segmentation(from_date=FIRST, to_date=LAST, no_cache=True, tenant=TENANT, **asked).to_dict()
        document.pop("meta")
        found.append(document)
    return found
