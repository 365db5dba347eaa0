"""Small tables of rows as a compaction takes them, and what naive Python says of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import pyarrow as pa

from evenshard.events.batch import EventBatch, schema_of
from evenshard.events.hashing import UInt64, hash_events
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, Bools
from evenshard.ids import TenantId
from evenshard.storage.compaction.inputs import TailTable
from evenshard.storage.segment.writer import identity_of

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class TailRow:
    """An event with one number and one text as properties, and its duplicate bit."""

    event: str
    distinct_id: str
    time_ms: int
    insert_id: str | None
    number: int | None = None
    text: str | None = None
    duplicate: bool = False

    @property
    def identity(self) -> tuple[str, str, int, str] | None:
        """None: it is never a duplicate."""
        return None if self.insert_id is None else (self.event, self.distinct_id, self.time_ms, self.insert_id)

    @property
    def time_key(self) -> tuple[int, bytes, bytes, bool, bytes]:
        """Sorts as an export does."""
        insert = self.insert_id
        return self.time_ms, self.distinct_id.encode(), self.event.encode(), insert is not None, (insert or "").encode()


def random_rows(random: Random, count: int, days: Sequence[int], users: int = 20) -> list[TailRow]:
    """Rows in which names, users, times and insert_ids meet often; numbered by their place in ``number``."""
    rows = []
    for number in range(count):
        day = random.choice(days)
        rows.append(
            TailRow(
                event=random.choice(["a", "b", "ab", "é", "z.z"]),
                distinct_id=random.choice(["", *(f"user-{i}" for i in range(users))]),
                time_ms=day * DAY_MS + random.choice([0, 1, 5, 1000, DAY_MS - 1]),
                insert_id=random.choice([None, *(f"i{i}" for i in range(12))]),
                number=number,
                text=random.choice([None, "x", "yy"]),
            )
        )
    return rows


def with_bits(rows: Iterable[TailRow], stored: set[tuple[str, str, int, str]]) -> list[TailRow]:
    """The rows with their duplicate bits decided in this order; ``stored`` grows by their identities."""
    decided = []
    for row in rows:
        identity = row.identity
        duplicate = identity is not None and identity in stored
        if identity is not None:
            stored.add(identity)
        decided.append(TailRow(row.event, row.distinct_id, row.time_ms, row.insert_id, row.number, row.text, duplicate))
    return decided


def event_batch(rows: Sequence[TailRow]) -> EventBatch:
    """The rows in canonical form; a property without any value has no column."""
    columns: dict[str, pa.Array] = {}
    if any(row.number is not None for row in rows):
        columns["i:number"] = pa.array([row.number for row in rows], pa.int64())
    if any(row.text is not None for row in rows):
        columns["s:text"] = pa.array([row.text for row in rows], pa.utf8())
    arrays = [
        pa.array([row.event for row in rows], pa.utf8()).dictionary_encode(),
        pa.array([row.distinct_id for row in rows], pa.utf8()),
        pa.array([row.time_ms for row in rows], pa.int64()),
        pa.array([row.insert_id for row in rows], pa.utf8()),
        *columns.values(),
    ]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema_of(columns)))


def tail_table(tenant: TenantId, rows: Sequence[TailRow]) -> pa.Table:
    """The rows with what storage keeps beside."""
    batch = event_batch(rows)
    table = pa.Table.from_batches([batch.record])
    table = table.append_column(PLACEMENT_HASH, pa.array(hash_events(tenant, batch).placement))
    table = table.append_column(DUPLICATE, pa.array([row.duplicate for row in rows], pa.bool_()))
    return table.append_column(HOT, pa.array(np.zeros(len(rows), np.bool_)))


def waiting_table(tenant: TenantId, rows: Sequence[TailRow]) -> TailTable:
    """The rows as the tail gives them: their identity hashes come in another order, in two pieces."""
    table = tail_table(tenant, rows)
    hashes = identity_of(tenant, table)
    chance = np.random.default_rng(len(rows))

    def loose(chosen: Bools | None) -> Sequence[UInt64]:
        came = chance.permutation(hashes if chosen is None else hashes[chosen])
        return came[: came.size // 3], came[came.size // 3 :]

    return TailTable(table, lambda: hashes, loose)


def rows_of(data: pa.Table | pa.RecordBatch) -> list[TailRow]:
    """What ``tail_table`` was made of, from a table or a scanned batch that has all fields."""
    return [
        TailRow(
            row["event"],
            row["distinct_id"],
            row["time"],
            row["insert_id"],
            row.get("i:number"),
            row.get("s:text"),
            row["duplicate"],
        )
        for row in data.to_pylist()
    ]


def in_segment_order(tenant: TenantId, rows: Sequence[TailRow]) -> list[TailRow]:
    """Sorted by (placement hash, distinct_id, time, event, insert_id), stable."""
    hashes = hash_events(tenant, event_batch(rows)).placement.tolist() if rows else []
    keyed = [
        (placement, row.distinct_id.encode(), row.time_ms, row.event.encode(), row.time_key[3:], number)
        for number, (placement, row) in enumerate(zip(hashes, rows, strict=True))
    ]
    return [rows[key[-1]] for key in sorted(keyed)]
