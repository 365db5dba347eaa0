"""Seals hot keys at their home, tells what identities it holds of them, and keeps such of other shards.

A seal is a record in the catalog, made under ``append_lock``: rows that were stored before it are among the identities
that are told, and none is stored after it but those that the overflow brings here. Identities of others are kept in
files like segments, which no query reads and no compaction touches; they last as long as the key is hot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES, FIELDS, EventBatch
from evenshard.events.hashing import SLOT_COUNT, UInt64, hash_events, hash_of, slots_of
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH
from evenshard.ids import TenantId
from evenshard.storage.compaction.compact import compact
from evenshard.storage.compaction.plan import Task, storage_day
from evenshard.storage.compaction.settle import as_it_is
from evenshard.storage.deletions import Deletions
from evenshard.storage.hot_keys import HeldKey, KeySealedError, Page, UserDay
from evenshard.storage.ownership import Owned
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import DAY_MS, MAIN_RUN, SegmentInfo
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State, refusal

PAGE_ROWS_MAX: Final = 20_000
"""Identities told at once: some 2 MB, at most 12 MB of the longest names."""
_CANDIDATE_ROWS_MAX: Final = 8 * PAGE_ROWS_MAX
"""Identities held while a page is looked for, about; of more those with the lowest hashes."""
_SCHEMA: Final = pa.schema(FIELDS)


@dataclass(frozen=True, slots=True)
class Originals:
    """A page of a key's identities, by their hashes."""

    batch: EventBatch
    identity: UInt64
    hash_next: int
    """Where the next page begins; 0: this was the last."""


def seal(state: State, tenant: TenantId, key: UserDay, nonce: str, *, has_hot_rows: bool) -> None:
    """Durable at return; under ``append_lock``. Once more changes nothing. Raises ``KEY_SEALED`` where it was sealed
    for another mark, which has to end first."""
    rows = state.rows(tenant)
    held = rows.held.get(key)
    if held is not None and held.nonce != nonce:
        raise KeySealedError(tenant, [key])
    if held is not None and held.sealed:
        return
    held = held or HeldKey(*key, nonce, has_hot_rows, sealed=True)
    held = replace(held, sealed=True)  # it may have become the home of a key whose originals it keeps
    with state.changing_catalog() as catalog:
        catalog.hold_key(tenant, held)
    rows.held.put(held)


def originals(
    snapshot: Snapshot, tenant: TenantId, key: UserDay, stays: Owned | None, hash_from: int, rows_max: int
) -> Originals:
    """A page of the identities that are stored of a key, hidden ones left out, and those in slots of the overflow that
    ``stays`` (None: none does). Events without insert_id have none. Raises ``DATA_DAMAGED``."""
    distinct_id, day = key
    found, rows = [_SCHEMA_PLAIN.empty_table()], 0
    for some in snapshot.scan(FIELD_NAMES, (), day * DAY_MS, (day + 1) * DAY_MS):
        record = some.record.select(FIELD_NAMES)
        chosen = pc.and_(pc.equal(record.column("distinct_id"), distinct_id), pc.is_valid(record.column("insert_id")))
        found.append(pa.Table.from_batches([_plain(record.filter(chosen))]))
        rows += found[-1].num_rows
        if rows > _CANDIDATE_ROWS_MAX:
            batch, hashes = _by_hash(tenant, pa.concat_tables(found), stays, hash_from)
            last = min(rows_max, hashes.size - 1)  # the first of the next page, if there is one
            kept = int(np.searchsorted(hashes, hashes[last], "right")) if hashes.size else 0
            found = [pa.Table.from_batches([_plain(batch.record.slice(0, kept))])]
            rows = found[0].num_rows
    batch, hashes = _by_hash(tenant, pa.concat_tables(found), stays, hash_from)
    end = _end(hashes, rows_max)
    return Originals(EventBatch(batch.record.slice(0, end)), hashes[:end], int(hashes[end]) if end < hashes.size else 0)


def _by_hash(tenant: TenantId, events: pa.Table, stays: Owned | None, hash_from: int) -> tuple[EventBatch, UInt64]:
    """Each identity once, in the order of their hashes, from ``hash_from`` on."""
    batch = _batch(events.group_by(list(FIELD_NAMES)).aggregate([]).select(list(FIELD_NAMES)))
    identity = hash_events(tenant, batch).identity
    chosen = identity >= np.uint64(hash_from)
    if stays is not None:
        chosen &= ~stays[slots_of(identity)]
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(identity[rows], kind="stable")]
    return batch.take(pa.array(rows)), identity[rows]


def _end(hashes: UInt64, rows_max: int) -> int:
    """Where a page of so many rows ends: those of one hash stay together, be they more."""
    if hashes.size <= rows_max:
        return int(hashes.size)
    end = int(np.searchsorted(hashes, hashes[rows_max]))
    return end or int(np.searchsorted(hashes, hashes[0], "right"))


def keep(
    state: State,
    tenant: TenantId,
    key: UserDay,
    nonce: str,
    page: tuple[int, int],
    batch: EventBatch | None,
) -> Sequence[SegmentInfo]:
    """Writes the identities of a page into files; to be followed by ``kept``. None are written of one that is kept."""
    rows = state.tenants.get(tenant)
    held = None if rows is None else rows.held.get(key)
    if held is not None and held.nonce == nonce and held.has(*page):
        return ()
    if batch is None or not batch.rows:
        return ()
    return written_originals(state, tenant, key, batch)


def written_originals(state: State, tenant: TenantId, key: UserDay, batch: EventBatch) -> Sequence[SegmentInfo]:
    """Files with the identities of a key that the catalog does not name yet; at least one row. Raises
    ``PAYLOAD_INVALID`` where they are of another one."""
    distinct_id, day = key
    ids, times = batch.record.column("distinct_id"), batch.record.column("time").to_numpy()
    if not pc.all(pc.equal(ids, distinct_id)).as_py() or (times // DAY_MS != day).any():
        raise EvenshardError("PAYLOAD_INVALID", "originals are of another key than they were said to be of")
    hashes = hash_events(tenant, batch)
    never = pa.array(np.zeros(batch.rows, np.bool_))
    table = pa.Table.from_batches([batch.record])
    for name, column in (
        (PLACEMENT_HASH, pa.array(hashes.placement)),
        (DUPLICATE, never),
        (HOT, never),
        (IDENTITY_HASH, pa.array(hashes.identity)),
    ):
        table = table.append_column(name, column)
    deletions = Deletions((), state.catalog.last_deletion(tenant))
    written: list[int] = []

    def next_id() -> int:
        with state.changing_catalog() as catalog:
            written.append(catalog.next_segment_id())
        return written[-1]

    try:
        return compact(
            state.disk,
            next_id,
            tenant,
            [table],
            (),
            storage_day(state.clock.now_ms()),
            shard=state.shard,
            deletions=deletions,
            tasks=[Task(day, day, MAIN_RUN, ())],
            settle=as_it_is,  # what several shards told may be told twice
        ).added
    except BaseException as error:
        state.pins.discard(tenant, written)
        if isinstance(error, OSError):
            raise refusal(error, f"originals of {tenant} could not be kept") from error
        raise


def kept(
    state: State,
    tenant: TenantId,
    key: UserDay,
    nonce: str,
    page: tuple[int, int],
    added: Sequence[SegmentInfo],
    *,
    has_hot_rows: bool,
) -> bool:
    """The key's rows are taken here once all pages are kept. Durable at return; under ``append_lock``. False: the page
    was kept already, and ``added`` is of no use. Raises ``KEY_SEALED`` where something of another mark is kept, which
    has to end first."""
    rows = state.rows(tenant)
    held = rows.held.get(key)
    if held is not None and held.nonce != nonce:  # one that is sealed may keep them too: it was, or will be, the home
        raise KeySealedError(tenant, [key])
    if held is not None and held.has(*page):
        return False
    if held is None:
        held = HeldKey(*key, nonce, has_hot_rows, sealed=False)
    held = replace(held, pages=(*held.pages, Page(*page, tuple(info.id for info in added))))
    with state.changing_catalog() as catalog:
        catalog.hold_key(tenant, held, added)
    rows.held.put(held)
    rows.originals = IndexedIdentities(state.disk, state.catalog.counting_originals(tenant), state.cache)
    return True


def slot_of_user(distinct_id: str) -> Owned:
    """Only the slot of a user: bool[4096]."""
    slots = np.zeros(SLOT_COUNT, np.bool_)
    slots[slots_of(np.array([hash_of(distinct_id)], np.uint64))] = True
    return slots


_SCHEMA_PLAIN: Final = pa.schema([(field.name, field.type if field.name == "time" else pa.utf8()) for field in FIELDS])


def _plain(record: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in record.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA_PLAIN)


def _batch(table: pa.Table) -> EventBatch:
    columns = [table.column(name).combine_chunks() for name in FIELD_NAMES]
    columns = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in columns]
    return EventBatch(pa.RecordBatch.from_arrays([columns[0].dictionary_encode(), *columns[1:]], schema=_SCHEMA))
