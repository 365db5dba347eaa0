"""Bytes an event takes once it is indexed, filters and side indexes included.

The same events, 2 % of them copies, in ClickHouse partitioned by day: each batch as it was inserted, and all merged.
Copies are kept here and dropped by ClickHouse's merges; events are counted as sent, for everybody.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import evenshard
from evenshard.testing.bench.compare import Answer, check_equal, ratio
from evenshard.testing.bench.dataset import COPIES_SHARE, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import sessions_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers import clickhouse_sql
from evenshard.testing.bench.peers.process import PeerProcess
from evenshard.testing.bench.segmentation import ask_total, total_of
from evenshard.testing.bench.sending import SEED, SHARDS, TENANT, send
from evenshard.testing.processes import ClusterProcess

EVENTS_DEFAULT: Final = 10_000_000
COMPACTION_TIMEOUT_S: Final = 600.0


def storage_bytes(options: Options) -> list[Figure]:
    events = options.events or EVENTS_DEFAULT
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        data = write_dataset(
            place / "data", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=COPIES_SHARE,
        )  # fmt: skip
        answer, stored = _ours(data, place)
        detail = {"copies": data.copies, "shards": SHARDS, "seed": SEED, **stored}
        ours = stored["bytes"] / events
        if not options.peers:
            return [Figure("storage_bytes", round(ours, 3), "bytes", events, detail=detail)]
        return _against_clickhouse(data, place, answer, ours, detail)
    finally:
        shutil.rmtree(place)


def _ours(data: Dataset, place: Path) -> tuple[Answer, dict[str, Any]]:
    with (
        ClusterProcess(place / "evenshard", shards=SHARDS) as cluster,
        evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=COMPACTION_TIMEOUT_S) as client,
    ):
        client.create_tenant(TENANT, hot_key_threshold=1 << 40)
        send(cluster.router, data.batches())
        client.compact(wait=True)
        stored = client.storage()["tenants"][0]
        answer = ask_total(client)
    found = (stored["log_rows"], stored["segment_rows"], stored["duplicate_rows"])
    if found != (0, data.events, data.copies):
        raise RuntimeError(f"in the log, indexed, duplicates: {found}, expected {(0, data.events, data.copies)}")
    return answer, {name: stored[name] for name in ("bytes", "segments", "files")}


def _against_clickhouse(
    data: Dataset, place: Path, answer: Answer, ours: float, detail: dict[str, Any]
) -> list[Figure]:
    figures = []
    with PeerProcess("clickhouse", place / "clickhouse") as clickhouse:
        for state in clickhouse_sql.STATES:
            for sql in clickhouse_sql.query_table(state, state, by_day=True):
                clickhouse.run(sql)
            for path in data.files:
                clickhouse.run(clickhouse_sql.insert(state, [path]))
            if state == "merged":
                clickhouse.run(clickhouse_sql.merge(state))
            _, source = next(clickhouse_sql.sources(state, state, "1"))
            check_equal(answer, clickhouse.run(total_of(source)), f"totals: evenshard and {state} ClickHouse")
            [[parts, rows, size]] = clickhouse.run(clickhouse_sql.parts(state))
            theirs = size / data.events
            figures.append(
                Figure(
                    "storage_bytes", round(ours, 3), "bytes", data.events, f"clickhouse_{state}", round(theirs, 3),
                    ratio(theirs, ours), {**detail, "peer_parts": parts, "peer_rows": rows},
                )
            )  # fmt: skip
    return figures
