"""What a source tells of its hot keys, and what a follower makes of it.

A home's seals go with the slots of their users: the follower has all rows that were stored before a seal once it has
taken the log that far. With slots of the overflow go the identities that lie in them of rows that the homes have.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import FIELD_NAMES, EventBatch, plain_fields
from evenshard.events.hashing import hash_events, hash_of, slots_of
from evenshard.events.properties import concat
from evenshard.events.scan import SPREAD
from evenshard.ids import TenantId
from evenshard.storage.hot_keys import HeldKey, Page, UserDay
from evenshard.storage.moving.known import following
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Owned
from evenshard.storage.sealing import written_originals
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import DAY_MS, SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows

_ALL_TIMES: Final = (-(1 << 62), 1 << 62)
Opens = Callable[[TenantId, UserDay], Snapshot]
"""Opens a snapshot of all that is stored in the slot of a user."""


@dataclass(frozen=True, slots=True)
class HeldName:
    """A hot key as far as two shards have to agree on it."""

    key: UserDay
    nonce: str
    sealed: bool


@dataclass(frozen=True, slots=True)
class HeldTold:
    """One that the source has. ``originals``: of the overflow, a piece of the identities; None: there are no more."""

    name: HeldName
    has_hot_rows: bool
    originals: EventBatch | None = None


def concerned(rows: TenantRows, moved: MovedSlots) -> list[HeldKey]:
    """Keys that go with slots, by name: of a home those that are sealed; of the overflow all whose rows are taken.
    Under ``append_lock``."""
    held = rows.held.all()
    if moved.overflow:
        return [each for each in held if each.is_ready]
    return [each for each in held if each.sealed and moved.mask[_slot(each)]]


def _slot(held: HeldKey) -> int:
    return int(slots_of(np.array([hash_of(held.distinct_id)], np.uint64))[0])


def name_of(held: HeldKey, moved: MovedSlots) -> HeldName:
    """Whether it is sealed is its home's to know."""
    return HeldName(held.key, held.nonce, held.sealed and not moved.overflow)


def version_of(names: Collection[HeldName]) -> int:
    """Another one wherever they differ."""
    texts = sorted(f"{name.key}|{name.nonce}|{name.sealed}" for name in names)
    return hash_of("\n".join(texts)) if texts else 0


def tell(state: State, moved: MovedSlots, known: Collection[HeldName], open_snapshot: Opens) -> Iterator[HeldTold]:
    """All that there are, in full those that are not ``known``. Raises ``DATA_DAMAGED``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        held = concerned(rows, moved)
        files = {info.id: info for info in state.catalog.originals(moved.tenant)}
        state.pins.pin(files.values())
    try:
        for each in held:
            name = name_of(each, moved)
            if moved.overflow and name not in known:
                for piece in _identities(state, moved, each, [files[n] for n in each.segments], open_snapshot):
                    yield HeldTold(name, each.has_hot_rows, piece)
            yield HeldTold(name, each.has_hot_rows)
    finally:
        state.pins.unpin(files.values())


def _identities(
    state: State, moved: MovedSlots, held: HeldKey, files: Sequence[SegmentInfo], open_snapshot: Opens
) -> Iterator[EventBatch]:
    """Those in the slots: kept for other shards' rows, and, at the key's home, of its own."""
    for info in files:
        reader = SegmentReader(state.disk, info)
        for scanned in reader.scan(FIELD_NAMES, (), *_ALL_TIMES):
            batch = plain_fields(scanned.record)
            inside = moved.mask[slots_of(hash_events(moved.tenant, batch).identity)]
            if inside.any():
                yield batch.take(pa.array(np.flatnonzero(inside)))
    if held.sealed:
        for batch in _home_identities(moved.tenant, held.key, open_snapshot):
            inside = moved.mask[slots_of(hash_events(moved.tenant, batch).identity)]
            if inside.any():
                yield batch.take(pa.array(np.flatnonzero(inside)))


def _home_identities(tenant: TenantId, key: UserDay, open_snapshot: Opens) -> Iterator[EventBatch]:
    """Of the rows that are stored here of a key, and were taken for its home; events without insert_id have none."""
    distinct_id, day = key
    with open_snapshot(tenant, key) as snapshot:
        for scanned in snapshot.scan((*FIELD_NAMES, SPREAD), (), day * DAY_MS, (day + 1) * DAY_MS):
            record = scanned.record
            chosen = pc.and_(
                pc.equal(record.column("distinct_id"), distinct_id), pc.is_valid(record.column("insert_id"))
            )
            record = record.filter(pc.and_not(chosen, record.column(SPREAD).fill_null(False)))
            if record.num_rows:
                yield plain_fields(record)


def known_of(rows: TenantRows, name: str) -> list[HeldName]:
    """Keys that came with a move. Under ``append_lock``."""
    overflow = following(rows, name).overflow
    held = [each for each in rows.held.all() if name in each.brought_by]
    return [HeldName(each.key, each.nonce, each.sealed and not overflow) for each in held]


def take(state: State, rows: TenantRows, name: str, told: HeldTold, identities: EventBatch | None) -> None:
    """What is known of one key at the source is known here. Durable at return. Raises ``DISK_FULL``,
    ``SHARD_UNAVAILABLE``."""
    distinct_id, day = told.name.key
    added = () if identities is None else written_originals(state, rows.tenant, told.name.key, identities)
    try:
        with state.append_lock:
            record = following(rows, name)
            known = rows.held.get(told.name.key)
            gone = [known] if known is not None and known.nonce != told.name.nonce else []
            if gone:
                known = None
            held = known or HeldKey(distinct_id, day, told.name.nonce, told.has_hot_rows, sealed=False)
            brought_by = tuple(sorted({*held.brought_by, name}))
            if not record.overflow:
                held = replace(held, sealed=True, brought_by=brought_by)
            elif held.sealed and known is not None:  # it is the home: it has the rows themselves
                held = replace(held, brought_by=brought_by)
            else:
                marker = 0 if known is None else hash_of(name) or 1
                page = Page(marker, marker, tuple(info.id for info in added))
                held = replace(held, pages=(*held.pages, page), brought_by=brought_by)
            used = [info for info in added if info.id in held.segments]
            _replace(state, rows, gone, held, used)
        unused = [info.id for info in added if info not in used]
    except BaseException:
        state.pins.discard(rows.tenant, [info.id for info in added])
        raise
    state.pins.discard(rows.tenant, unused)


def end_others(state: State, rows: TenantRows, name: str, there: Collection[HeldName], home: Owned | None) -> None:
    """Keys that the source does not know: their marks are gone, and this shard may not have been told. A home knows all
    of its users; a shard of the overflow all whose rows come there, but for what this one, as the ``home`` of some
    slots (None: it may be of any), has sealed just now. Under ``append_lock``."""
    record = following(rows, name)
    moved, keys = record.moved(rows.tenant), {(each.key, each.nonce) for each in there}
    if moved.overflow:
        asked = [each for each in rows.held.all() if not each.sealed or (home is not None and not home[_slot(each)])]
    else:
        asked = [each for each in rows.held.all() if moved.mask[_slot(each)]]
    gone = [each for each in asked if (each.key, each.nonce) not in keys]
    if gone:
        _replace(state, rows, gone)


def _replace(
    state: State,
    rows: TenantRows,
    gone: Sequence[HeldKey],
    held: HeldKey | None = None,
    added: Sequence[SegmentInfo] = (),
) -> None:
    files = {number for each in gone for number in each.segments}
    removed = [info for info in state.catalog.originals(rows.tenant) if info.id in files]
    with state.changing_catalog() as catalog:
        catalog.replace_keys(rows.tenant, gone, held, added)
    rows.held.remove(gone)
    if held is not None:
        rows.held.put(held)
    rows.originals = IndexedIdentities(state.disk, state.catalog.counting_originals(rows.tenant), state.cache)
    state.cache.forget(files)
    state.pins.remove(removed)


def keep_as_originals(state: State, rows: TenantRows, moved: MovedSlots, open_snapshot: Opens, *, spread: bool) -> None:
    """Before rows of sealed keys go: their identities stay as originals, where rows of the keys that are spread still
    come here; else nothing of the keys does. Raises ``DATA_DAMAGED``, ``DISK_FULL``, ``SHARD_UNAVAILABLE``."""
    with state.append_lock:
        held = concerned(rows, moved)
    for each in held:
        identities = list(_home_identities(moved.tenant, each.key, open_snapshot)) if spread else []
        joined = EventBatch(concat([batch.record for batch in identities])) if identities else None
        added = () if joined is None else written_originals(state, rows.tenant, each.key, joined)
        with state.append_lock:
            now = rows.held.get(each.key)
            if now is None or now.nonce != each.nonce:
                state.pins.discard(rows.tenant, [info.id for info in added])
            elif spread:
                page = Page(0, 0, tuple(info.id for info in added))
                _replace(state, rows, (), replace(now, sealed=False, pages=(*now.pages, page)), added)
            else:
                _replace(state, rows, [now])
