"""What a shard's disk holds: live segments, and for each tenant its log mark, the highest placement epoch seen, its
deletions, and the hot keys that are sealed here or of which originals are kept.

The truth about which files count. A change is one transaction; what ``commit`` returned for is durable. Names of
deleted users stand in it until nothing of them is left elsewhere.

Not thread-safe: calls may come from any thread, one at a time (the store's lock).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.storage import deletions, hot_keys, quarantine
from evenshard.storage.catalog_keys import (
    FORMAT_KEY,
    NEXT_ID_KEY,
    SHARD_KEY,
    STOPPED_KEY,
    TenantState,
    deletion_key,
    foreign_key,
    foreign_value,
    held_key,
    layer_key,
    move_key,
    original_key,
    prepared_key,
    segment_key,
    state_value,
    tenant_key,
)
from evenshard.storage.catalog_records import CatalogRecords
from evenshard.storage.catalog_rows import FILE, UNREADABLE, CatalogRows, Changes, damaged, unreadable
from evenshard.storage.deletions import NO_HORIZON, RETIRED_DELETIONS_KEPT, Deletion
from evenshard.storage.hot_keys import HeldKey
from evenshard.storage.layers import (
    Layer,
    Prepared,
    counting,
    layer_to_json,
    prepared_to_json,
)
from evenshard.storage.moving import record as move_record
from evenshard.storage.moving.record import MoveRecord
from evenshard.storage.ownership import NOTHING_FOREIGN, Foreign
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.segment.info import FOLDER, SegmentInfo, to_json

FORMAT_VERSION = 6
"""6: rows may be here that another shard owns, which a version that knows none would show, and slots may be fenced."""
FORMAT_LAYERS = 5
"""5: there may be layers, whose rows a version that knows none would show, hidden or not."""
FORMAT_SEALED = 4
"""4: keys may be sealed, whose rows a version that knows none would take."""
FORMAT_ENDED = 3
"""3: a quarantine may have ended, which a version that knows only such in force would refuse, or serve in silence."""
FORMAT_DELETIONS = 2
"""2: there may be deletions, which a version that knows none would show again, and rows in quarantine, without which
it would answer in silence."""
FORMAT_WHOLE = 1
"""What a catalog is until its first record of either."""
SEGMENT_IDS_RESERVED = 64
"""Segment ids are reserved in blocks; a crash skips at most one."""


class Catalog:
    """The catalog of one shard; made by ``open``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = CatalogRows(connection)
        self._records = CatalogRecords()
        self._format = FORMAT_WHOLE
        self._next_id = 1
        self._reserved_below = 1
        self._stopped_row = 0

    @staticmethod
    def copied(disk: Disk, shard: ShardId) -> "Catalog | None":
        """The catalog of ``shard`` as it is, not to be changed; None: there is none yet. Touches nothing on the disk.

        Raises what ``open`` does.
        """
        try:
            connection = disk.database_copy(FILE)
            if connection is None:
                return None
            try:
                catalog = Catalog(connection)
                if not catalog._rows.exist:
                    return None
                catalog._load(shard)
            finally:
                connection.close()
        except UNREADABLE as error:
            unreadable("read", error)
        return catalog

    @staticmethod
    def owner(disk: Disk) -> ShardId | None:
        """Whose catalog it says it is, unverified; None: there is none that can be read. Touches nothing."""
        try:
            connection = disk.database_copy(FILE)
            if connection is None:
                return None
            try:
                row = connection.execute("SELECT value FROM entries WHERE key = ?", (SHARD_KEY,)).fetchone()
            finally:
                connection.close()
        except UNREADABLE:
            return None
        return ShardId(row[0].decode(errors="replace")) if row is not None and isinstance(row[0], bytes) else None

    @staticmethod
    def open(disk: Disk, shard: ShardId) -> "Catalog":
        """Opens or creates the catalog of ``shard``.

        Raises ``DATA_DAMAGED`` where a checksum or the digest does not match or the disk is another shard's,
        ``FORMAT_TOO_NEW`` for a catalog of a newer evenshard, ``DISK_FULL`` and ``SHARD_UNAVAILABLE`` where the disk
        fails.
        """
        try:
            connection = disk.database(FILE)
        except UNREADABLE as error:
            unreadable("open", error)
        try:
            connection.execute("PRAGMA secure_delete=ON")
            catalog = Catalog(connection)
            if catalog._rows.exist:
                catalog._load(shard)
            elif disk.list(FOLDER):
                damaged(f"it is empty or missing, but there are files in {FOLDER}/")  # the start's check says more
            else:
                catalog._create(shard)
        except UNREADABLE as error:
            connection.close()
            unreadable("read", error)
        except BaseException:
            connection.close()
            raise
        return catalog

    @staticmethod
    def nothing() -> "Catalog":
        """Of a disk with nothing on it, not to be changed."""
        return Catalog(sqlite3.connect(":memory:"))

    @property
    def segments(self) -> Mapping[TenantId, tuple[SegmentInfo, ...]]:
        """Live segments by tenant, each tenant's sorted by (first day, run, id); a snapshot: later changes make a new
        mapping."""
        return self._records.segments

    @property
    def all_segments(self) -> list[SegmentInfo]:
        """Live ones, and those that hold originals: of all the files have to be there."""
        groups = [*self._records.segments.values(), *(group.values() for group in self._records.originals.values())]
        return [info for group in groups for info in group]

    def held_keys(self, tenant: TenantId) -> tuple[HeldKey, ...]:
        """Hot keys of which something is known here."""
        return tuple(self._records.held.get(tenant, {}).values())

    def originals(self, tenant: TenantId) -> tuple[SegmentInfo, ...]:
        """The files with identities of other shards' rows, by id: no query sees them."""
        return tuple(self._records.originals.get(tenant, {}).values())

    def counting_originals(self, tenant: TenantId, position: int | None = None) -> tuple[SegmentInfo, ...]:
        """Those whose identities are originals, now or for rows that were stored from a position on."""
        return counting(self.originals(tenant), self.layers(tenant), position)

    def name_originals(self, tenant: TenantId, segment_ids: Iterable[int], layer: Layer) -> None:
        """Some files of originals become a layer's; durable at return."""
        named = [info for info in self.originals(tenant) if info.id in frozenset(segment_ids)]
        with self._transaction() as changes:
            self._put_format(changes, FORMAT_LAYERS)
            changes.put(layer_key(tenant, layer.name), layer_to_json(layer))
            for info in named:
                changes.replace(original_key(info.id), to_json(replace(info, layer=layer.name)))

    def hold_key(self, tenant: TenantId, held: HeldKey, added: Iterable[SegmentInfo] = ()) -> None:
        """What is known of a hot key from now on, with more files of originals; durable at return."""
        with self._transaction() as changes:
            self._put_format(changes, FORMAT_SEALED)
            changes.put(held_key(tenant, held.key), hot_keys.to_json(held))
            for info in added:
                changes.add(original_key(info.id), to_json(info))

    def replace_keys(
        self,
        tenant: TenantId,
        gone: Iterable[HeldKey],
        held: HeldKey | None = None,
        added: Iterable[SegmentInfo] = (),
    ) -> None:
        """Hot keys that are ``gone``, with their originals, and one that comes, with more; durable at return."""
        with self._transaction() as changes:
            self._put_format(changes, FORMAT_VERSION)
            for each in gone:
                changes.remove(held_key(tenant, each.key))
                for segment_id in each.segments:
                    changes.remove(original_key(segment_id))
            if held is not None:
                changes.put(held_key(tenant, held.key), hot_keys.to_json(held))
            for info in added:
                changes.add(original_key(info.id), to_json(info))

    def tenants(self) -> tuple[TenantId, ...]:
        """Every tenant that has a mark, an epoch, a segment, a hot key or a move, sorted."""
        return tuple(
            sorted({*self._records.states, *self._records.segments, *self._records.held, *self._records.moves})
        )

    def moves(self, tenant: TenantId) -> Mapping[str, MoveRecord]:
        """By name; a snapshot: later changes make a new mapping."""
        return self._records.moves.get(tenant, {})

    def foreign(self, tenant: TenantId) -> Foreign:
        """Slots of which rows may be here that the shard does not own."""
        return self._records.foreign.get(tenant, NOTHING_FOREIGN)

    def put_move(
        self, tenant: TenantId, record: MoveRecord, foreign: Foreign | None = None, gone: Iterable[str] = ()
    ) -> None:
        """Durable at return, with the slots of which there may be foreign rows from now on (None: as before), and
        without moves that are ``gone``."""
        with self._transaction() as changes:
            self._put_move(changes, tenant, record)
            for name in gone:
                changes.remove(move_key(tenant, name))
            if foreign is not None:
                changes.put(foreign_key(tenant), foreign_value(foreign))

    def _put_move(self, changes: Changes, tenant: TenantId, record: MoveRecord) -> None:
        self._put_format(changes, FORMAT_VERSION)
        changes.put(move_key(tenant, record.name), move_record.to_json(record))

    def mark(self, tenant: TenantId) -> int:
        """Rows of log positions below it are indexed; 0 for an unknown tenant."""
        return self._state(tenant).mark

    def epoch(self, tenant: TenantId) -> Epoch:
        """The highest placement epoch seen; 0 for an unknown tenant."""
        return self._state(tenant).epoch

    def set_epoch(self, tenant: TenantId, epoch: Epoch) -> None:
        """Durable at return. An epoch not above the one known changes nothing."""
        state = self._state(tenant)
        if epoch > state.epoch:
            with self._transaction() as changes:
                changes.put(tenant_key(tenant), state_value(replace(state, epoch=epoch)))

    def deletions(self, tenant: TenantId) -> tuple[Deletion, ...]:
        """In the order of their seq; of retired ones the newest."""
        return tuple(self._records.deletions.get(tenant, {}).values())

    def last_deletion(self, tenant: TenantId) -> int:
        """The seq of the newest there ever was; 0: there was none."""
        return self._state(tenant).deletions

    def horizon_ms(self, tenant: TenantId) -> int:
        """The highest there was; ``NO_HORIZON``: none."""
        return self._state(tenant).horizon_ms

    def layers(self, tenant: TenantId) -> Mapping[str, Layer]:
        """By name; a snapshot: later changes make a new mapping."""
        return self._records.layers.get(tenant, {})

    def prepared(self, tenant: TenantId) -> Mapping[str, Prepared]:
        """What operations are to do to layers, or have done, by operation; a snapshot."""
        return self._records.prepared.get(tenant, {})

    def prepare(self, tenant: TenantId, prepared: Prepared) -> None:
        """Durable at return."""
        with self._transaction() as changes:
            self._put_format(changes, FORMAT_LAYERS)
            changes.put(prepared_key(tenant, prepared.operation), prepared_to_json(prepared))

    def forget_prepared(self, tenant: TenantId, operation: str) -> None:
        if operation in self.prepared(tenant):
            with self._transaction() as changes:
                changes.remove(prepared_key(tenant, operation))

    def change_layers(self, tenant: TenantId, changed: Iterable[Layer], done: Prepared) -> None:
        """All at once, and that it was done; durable at return."""
        with self._transaction() as changes:
            for layer in changed:
                changes.replace(layer_key(tenant, layer.name), layer_to_json(layer))
            changes.put(prepared_key(tenant, done.operation), prepared_to_json(done))

    def add_deletion(
        self,
        tenant: TenantId,
        deletion: Deletion,
        superseded: Iterable[int] = (),
        ended: Iterable[HeldKey] = (),
        move: MoveRecord | None = None,
    ) -> None:
        """The next one, durable at return; those it makes superfluous go with it, and all that is known of hot keys
        that have ``ended``. ``move``: the one by which it came, as it is with it."""
        state = self._state(tenant)
        if deletion.seq != state.deletions + 1:
            raise ValueError(f"deletion {deletion.seq} of {tenant} does not follow {state.deletions}")
        horizon_ms = max(state.horizon_ms, NO_HORIZON if deletion.horizon_ms is None else deletion.horizon_ms)
        with self._transaction() as changes:
            self._put_format(changes, FORMAT_DELETIONS)
            changes.add(deletion_key(tenant, deletion.seq), deletions.to_json(deletion))
            for seq in superseded:
                changes.remove(deletion_key(tenant, seq))
            for held in ended:
                changes.remove(held_key(tenant, held.key))
                for segment_id in held.segments:
                    changes.remove(original_key(segment_id))
            if move is not None:
                self._put_move(changes, tenant, move)
            changed = replace(state, deletions=deletion.seq, horizon_ms=horizon_ms)
            changes.put(tenant_key(tenant), state_value(changed))

    def retire_deletions(self, tenant: TenantId, seqs: Iterable[int]) -> None:
        """Retires deletions; at return their users stand nowhere in the catalog's files."""
        seqs = tuple(seqs)
        records = [self._records.deletions[tenant][seq] for seq in seqs]
        if any(record.users for record in records):
            with self._transaction() as changes:
                for record in records:
                    emptied = deletions.to_json(replace(record, users=()))
                    changes.put(deletion_key(tenant, record.seq), emptied)
        self._rows.write_anew()  # only then is it said
        with self._transaction() as changes:
            for record in records:
                changes.put(deletion_key(tenant, record.seq), deletions.to_json(record.retire()))
            retired = sorted({record.seq for record in self.deletions(tenant) if record.retired} | set(seqs))
            for seq in retired[:-RETIRED_DELETIONS_KEPT]:
                changes.remove(deletion_key(tenant, seq))

    def commit(
        self,
        tenant: TenantId,
        added: Iterable[SegmentInfo],
        removed_ids: Iterable[int],
        mark: int,
        changed: Iterable[SegmentInfo] = (),
        ended: Iterable[Quarantined] = (),
        layers: Iterable[Layer] = (),
        layers_gone: Iterable[str] = (),
        moves: Iterable[MoveRecord] = (),
        foreign: Foreign | None = None,
    ) -> None:
        """In one transaction: ``added`` live, ``removed_ids`` not, the tenant's mark at ``mark``, and of ``changed``,
        which stay live, what is known now; quarantines that ``ended``; new ``layers``, and those that are gone;
        ``moves`` as they are now; slots of which there may be ``foreign`` rows (None: as before). Durable at return.

        Raises ``ValueError``, changing nothing, for a falling mark, an unknown id removed or a known one added.
        """
        state = self._state(tenant)
        if mark < state.mark:
            raise ValueError(f"the mark of {tenant} would fall from {state.mark} to {mark}")
        with self._transaction() as changes:
            for segment_id in removed_ids:
                changes.remove(segment_key(segment_id))
            for info in added:
                if info.tenant != tenant:
                    raise ValueError(f"segment {info.id} is of tenant {info.tenant}, not {tenant}")
                changes.add(segment_key(info.id), to_json(info))
                if info.spread_rows:
                    self._put_format(changes, FORMAT_VERSION)
            for info in changed:
                changes.replace(segment_key(info.id), to_json(info))
            changes.put(tenant_key(tenant), state_value(replace(state, mark=mark)))
            self._put_ended(changes, ended)
            for layer in layers:
                self._put_format(changes, FORMAT_LAYERS)
                changes.put(layer_key(tenant, layer.name), layer_to_json(layer))
            for name in layers_gone:
                changes.remove(layer_key(tenant, name))
            for record in moves:
                self._put_move(changes, tenant, record)
            if foreign is not None:
                changes.put(foreign_key(tenant), foreign_value(foreign))

    def end_quarantine(self, ended: Iterable[Quarantined]) -> None:
        """Of known ones the state changes; durable at return."""
        with self._transaction() as changes:
            self._put_ended(changes, ended)

    def _put_ended(self, changes: Changes, ended: Iterable[Quarantined]) -> None:
        for each in ended:
            self._put_format(changes, FORMAT_ENDED)
            changes.replace(each.key, quarantine.to_json(each))

    def _put_format(self, changes: Changes, at_least: int) -> None:
        """It never falls."""
        self._format = max(self._format, at_least)
        changes.put(FORMAT_KEY, str(self._format).encode())

    @property
    def segment_ids_below(self) -> int:
        """Every segment file this shard ever wrote has a lower id."""
        return self._reserved_below

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """All of it, by file and offset."""
        return tuple(self._records.quarantined[key] for key in sorted(self._records.quarantined))

    def quarantine(self, found: Iterable[Quarantined]) -> None:
        """Durable at return. What is known already stays as it is, unless it had been mended."""
        new = [each for each in found if not self.has_quarantine(each)]
        if new:
            with self._transaction() as changes:
                self._put_format(changes, FORMAT_DELETIONS)
                for each in new:
                    changes.put(each.key, quarantine.to_json(each))

    def has_quarantine(self, found: Quarantined) -> bool:
        """Whether what was found is on record, and has not been mended since."""
        known = self._records.quarantined.get(found.key)
        return known is not None and not known.is_mended

    def quarantine_at_start(self, found: Iterable[Quarantined]) -> None:
        """As ``quarantine``; a disk that fails is what ``open`` says of it."""
        try:
            self.quarantine(found)
        except sqlite3.DatabaseError as error:
            unreadable("change", error)

    def next_segment_id(self) -> int:
        """An id no segment of this shard ever had, whatever crashed in between."""
        if self._next_id == self._reserved_below:
            reserved = self._next_id + SEGMENT_IDS_RESERVED
            with self._transaction() as changes:
                changes.put(NEXT_ID_KEY, str(reserved).encode())
            self._reserved_below = reserved
        self._next_id += 1
        return self._next_id - 1

    @property
    def stopped_row(self) -> int:
        """Rows of log positions below it were synced when the shard last stopped cleanly; 0: it never did."""
        return self._stopped_row

    def note_stop(self, next_row: int) -> None:
        """Every row below ``next_row`` is synced; durable at return."""
        if next_row > self._stopped_row:
            with self._transaction() as changes:
                changes.put(STOPPED_KEY, str(next_row).encode())
            self._stopped_row = next_row

    def close(self) -> None:
        self._rows.close()

    def _state(self, tenant: TenantId) -> TenantState:
        return self._records.states.get(tenant, TenantState())

    def _create(self, shard: ShardId) -> None:
        with self._transaction() as changes:
            self._rows.create_table()
            changes.put(FORMAT_KEY, str(FORMAT_WHOLE).encode())
            changes.put(SHARD_KEY, shard.encode())
            changes.put(NEXT_ID_KEY, b"1")

    def _load(self, shard: ShardId) -> None:
        values = self._rows.read()
        if FORMAT_KEY in values and int(values[FORMAT_KEY]) > FORMAT_VERSION:
            version = int(values[FORMAT_KEY])
            raise EvenshardError(
                "FORMAT_TOO_NEW",
                f"{FILE} has format {version}, this evenshard knows {FORMAT_VERSION}",
                details={"file": FILE},
            )
        self._rows.check_digest()
        self._adopt(values, shard)

    def _adopt(self, values: Mapping[str, bytes], shard: ShardId) -> None:
        owner = values[SHARD_KEY].decode()
        if owner != shard:
            raise EvenshardError(
                "DATA_DAMAGED",
                f"{FILE}: this disk belongs to {owner}, not to {shard}",
                hint=f"start {owner} on it, or give {shard} its own data directory",
                details={"file": FILE},
            )
        self._next_id = self._reserved_below = int(values[NEXT_ID_KEY])
        self._format = int(values.get(FORMAT_KEY, FORMAT_WHOLE))
        self._stopped_row = int(values.get(STOPPED_KEY, b"0"))
        self._records.load(values)

    @contextmanager
    def _transaction(self) -> Iterator[Changes]:
        """Applies the changes to SQLite in one transaction, then to memory; none of them where anything fails."""
        with self._rows.transaction() as changes:
            yield changes
        self._records.apply(changes.written)
        self._rows.empty_log()
