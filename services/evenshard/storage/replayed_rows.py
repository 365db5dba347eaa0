"""What the frames of a log make of tenants' rows: in its order, with every deletion, layer and move where it came."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import EventHashes, UInt64, hash_events
from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE as CATALOG_FILE
from evenshard.storage.dedupe import decide_duplicates
from evenshard.storage.deletions import Deletion, Deletions
from evenshard.storage.hot_keys import HeldKeys
from evenshard.storage.layers import turning_points
from evenshard.storage.log.frame import Frame, unpacked_bits
from evenshard.storage.log.reader import damaged
from evenshard.storage.moving.bits import copied_block, insert_decided
from evenshard.storage.moving.note import Note
from evenshard.storage.quarantine import of_tenant
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.settings import StorageSettings
from evenshard.storage.tail.block import ROW_BYTES, Block
from evenshard.storage.tenant import TenantRows, Visible, counting_identities

_BLOCKS_MAX = 1024
"""A tenant's blocks are left as they were appended up to so many: sorting them would be half of the time a start takes,
and can be done when the shard serves."""


def tenant_rows(
    disk: Disk, catalog: Catalog, tenant: TenantId, settings: StorageSettings, cache: SegmentCache
) -> TenantRows:
    """A tenant as the catalog knows it, without a tail."""
    segments = catalog.segments.get(tenant, ())
    mark, layers = catalog.mark(tenant), catalog.layers(tenant)
    visible = Visible(
        segments=segments,
        mark=mark,
        end_position=mark,
        quarantined=of_tenant(catalog.quarantined, tenant),
        layers=layers,
        foreign=catalog.foreign(tenant),
    )
    held = HeldKeys(tenant, catalog.held_keys(tenant))
    originals = IndexedIdentities(disk, catalog.counting_originals(tenant), cache)
    indexed = counting_identities(disk, segments, layers, cache)
    return TenantRows(
        tenant, visible, indexed, settings.identity_hash_mask, held, originals, catalog.moves(tenant).values()
    )


class ReplayedRows:
    """Of all tenants. Changes nothing on the disk."""

    def __init__(
        self,
        disk: Disk,
        catalog: Catalog,
        settings: StorageSettings,
        cache: SegmentCache,
        now_ms: int,
        has_lost: Callable[[TenantId], bool],
    ) -> None:
        """``has_lost``: whether rows of a tenant are known to be lost."""
        self._disk = disk
        self._catalog = catalog
        self._settings = settings
        self._cache = cache
        self._now_ms = now_ms
        self._has_lost = has_lost
        self.promoted: dict[TenantId, int] = {}
        """Copies that are originals now, since what they were copies of is lost."""
        self._deletions: dict[TenantId, list[Deletion]] = {}
        """Those of each tenant that did not take effect yet, the last one first."""
        for name in catalog.tenants():
            waiting = [record for record in catalog.deletions(name) if not record.retired]
            self._deletions[name] = waiting[::-1]
        self._turns: dict[TenantId, list[int]] = {}
        """Positions at which each tenant's layers begin or cease to count, still to come; the last one first."""
        self.tenants = {name: self._tenant_rows(name) for name in catalog.tenants()}
        for rows in self.tenants.values():
            mark = rows.visible.mark
            points = turning_points(rows.visible.layers.values())
            self._turns[rows.tenant] = [each for each in points if each > mark][::-1]
            if self._turns[rows.tenant]:
                self._count_layers(rows, mark)

    def finish(self) -> None:
        """No frame is left: what came behind the last one takes effect."""
        for name, rows in self.tenants.items():
            self._apply_deletions(rows, before=None)
            self._apply_layers(rows, before=None)
            seen = self._catalog.last_deletion(name)
            rows.visible = replace(rows.visible, deletions=Deletions(rows.visible.deletions.records, seen))

    def _rows_before(self, frame: Frame) -> TenantRows:
        """A tenant's rows as they were when a frame came."""
        if frame.tenant not in self.tenants:
            self.tenants[frame.tenant] = self._tenant_rows(frame.tenant)
        rows = self.tenants[frame.tenant]
        self._apply_deletions(rows, before=frame)
        self._apply_layers(rows, before=frame)
        return rows

    def take(self, name: str, frame: Frame, batch: EventBatch, *, of_old: bool) -> None:
        """Derives its bits. ``of_old``: nobody noted which of its rows were spread. Raises ``DATA_DAMAGED``."""
        rows = self._rows_before(frame)
        hashes = hash_events(frame.tenant, batch)
        visible = rows.visible
        known = rows.known(batch, hashes)
        duplicates = decide_duplicates(
            batch, hashes.identity, known, None, rows.active, visible.blocks, rows.next_ordinal
        )
        stored = unpacked_bits(frame.bits, frame.rows)
        if not visible.foreign.is_nothing and not np.array_equal(duplicates, stored):
            duplicates = self._without_later_originals(rows, batch, hashes, duplicates, stored)
        if not np.array_equal(duplicates, stored):
            self._check_bits(name, frame, batch, hashes.placement, duplicates, stored)
        block = Block(
            batch,
            hashes.placement,
            duplicates,
            first_ordinal=rows.next_ordinal,
            end_position=frame.end_row,
            appended_ms=self._now_ms,
            bytes=len(frame.payload) + ROW_BYTES * batch.rows,
            hot=unpacked_bits(frame.hot_bits, frame.rows) if frame.hot_bits else None,
            spread=unpacked_bits(frame.spread_bits, frame.rows) if frame.spread_bits else None,
            of_old=of_old,
        )
        _publish(rows, block)

    def take_copied(self, frame: Frame, batch: EventBatch, note: Note) -> None:
        """Its bits were decided elsewhere; how far the source's log was taken with it is known again."""
        rows = self._rows_before(frame)
        hashes = hash_events(frame.tenant, batch)
        duplicate = unpacked_bits(frame.bits, frame.rows)
        insert_decided(rows.active, batch, hashes, duplicate, rows.next_ordinal)
        record = rows.moves.get(note.move)
        if record is not None and record.follow is not None:
            rows.moves.put(replace(record, follow=record.follow.reached(note.position)))
        block = copied_block(
            batch,
            hashes,
            duplicate,
            unpacked_bits(frame.hot_bits, frame.rows) if frame.hot_bits else None,
            unpacked_bits(frame.spread_bits, frame.rows) if frame.spread_bits else None,
            first_ordinal=rows.next_ordinal,
            appended_ms=self._now_ms,
            size=len(frame.payload),
            end_position=frame.end_row,
        )
        _publish(rows, block)

    def _apply_deletions(self, rows: TenantRows, *, before: Frame | None) -> None:
        """Those that came before a frame; None: all."""
        waiting = self._deletions.get(rows.tenant, [])
        due: list[Deletion] = []
        while waiting and (before is None or waiting[-1].position < before.end_row):
            due.append(waiting.pop())
            if before is not None and due[-1].position > before.first_row:
                raise damaged(CATALOG_FILE, 0, f"a deletion of {rows.tenant} came within rows stored at once")
        if due:
            rows.hide(rows.hidden_by(*due))

    def _apply_layers(self, rows: TenantRows, *, before: Frame | None) -> None:
        """Those that begin or cease to count before a frame; None: all."""
        waiting = self._turns.get(rows.tenant, [])
        position = None
        while waiting and (before is None or waiting[-1] < before.end_row):
            position = waiting.pop()
            if before is not None and position > before.first_row:
                raise damaged(CATALOG_FILE, 0, f"a repair of {rows.tenant} came within rows stored at once")
        if position is not None:
            self._count_layers(rows, position)

    def _count_layers(self, rows: TenantRows, position: int) -> None:
        visible = rows.visible
        rows.indexed = counting_identities(self._disk, visible.segments, visible.layers, self._cache, position)
        originals = self._catalog.counting_originals(rows.tenant, position)
        rows.originals = IndexedIdentities(self._disk, originals, self._cache)

    def _without_later_originals(
        self,
        rows: TenantRows,
        batch: EventBatch,
        hashes: EventHashes,
        duplicates: npt.NDArray[np.bool_],
        stored: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Rows that were stored here before their slots went elsewhere may be among the originals that are kept here
        since a key was handed over there: those are no originals of them."""
        if not rows.originals:
            return duplicates
        known = rows.originals.known(rows.tenant, batch, hashes, rows.visible.deletions)
        return duplicates & ~(known & ~stored)

    def _check_bits(
        self,
        name: str,
        frame: Frame,
        batch: EventBatch,
        placement: UInt64,
        duplicates: npt.NDArray[np.bool_],
        stored: npt.NDArray[np.bool_],
    ) -> None:
        """Bits that differ do not matter where a later deletion hides the row: with it went what other shards had of a
        hot key, of which the row was found to be a copy."""
        hiding = Deletions(reversed(self._deletions.get(frame.tenant, []))).hiding(0)
        hidden = None if hiding is None else hiding.rows_of(batch, placement)
        differ = duplicates != stored
        if hidden is None or (differ & ~hidden).any():
            self._check_promoted(name, frame, duplicates, stored)

    def _check_promoted(
        self, name: str, frame: Frame, duplicates: npt.NDArray[np.bool_], stored: npt.NDArray[np.bool_]
    ) -> None:
        """Bits differ from those derived now: right where the original is lost. The earliest copy that is left is the
        original now; one that was stored as new while nobody knew of that copy is a duplicate of it."""
        if not self._has_lost(frame.tenant):
            row = int(np.flatnonzero(duplicates != stored)[0])
            raise damaged(name, frame.offset, f"the duplicate bit of row {row} is {bool(stored[row])}, but must not be")
        self.promoted[frame.tenant] = self.promoted.get(frame.tenant, 0) + int((stored & ~duplicates).sum())

    def _tenant_rows(self, tenant: TenantId) -> TenantRows:
        return tenant_rows(self._disk, self._catalog, tenant, self._settings, self._cache)


def _publish(rows: TenantRows, block: Block) -> None:
    rows.publish([block])
    if len(rows.visible.blocks) >= _BLOCKS_MAX:
        rows.sort_once()
