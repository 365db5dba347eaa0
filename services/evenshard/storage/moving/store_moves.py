"""What a store does in moves: see the modules beside. Everything blocks: call it off the event loop."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.compaction.plan import storage_day
from evenshard.storage.deletions import Deletion
from evenshard.storage.indexing import Pace
from evenshard.storage.moving import comparing, dropping, fencing, hot_keys, strips, tailing, taking, telling
from evenshard.storage.moving.comparing import Digest
from evenshard.storage.moving.counting import Counted
from evenshard.storage.moving.hot_keys import HeldName, HeldTold, Opens
from evenshard.storage.moving.known import following, heard, store
from evenshard.storage.moving.record import Kept, MoveRecord, move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.strips import StripTaking
from evenshard.storage.moving.tailing import Place, Tailed
from evenshard.storage.moving.taking import TailRows
from evenshard.storage.moving.telling import StripTold, Told
from evenshard.storage.ownership import Owned, Ownership
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows


def _no_pace(_: int) -> None:
    """As fast as it can."""


class StoreMoves:
    """Of one store; may be used from several threads."""

    def __init__(self, state: State, open_snapshot: Opens, is_closed: Callable[[], bool]) -> None:
        self._state = state
        self._open = open_snapshot
        self._is_closed = is_closed

    def check_scan(self, tenant: TenantId, owned: Ownership) -> None:
        """Raises ``SLOTS_FENCED`` where a scan would answer for fenced slots. To be asked before its snapshot."""
        rows = self._state.tenants.get(tenant)  # without a lock: who asked before a fence may still be answered
        if rows is not None:
            rows.moves.check_scan(tenant, owned)

    def records(self) -> list[tuple[TenantId, MoveRecord]]:
        """Moves that are not over, of all tenants."""
        tenants = list(self._state.tenants.items())
        return [(name, record) for name, rows in tenants for record in rows.moves.records()]

    def get(self, tenant: TenantId, operation: str, *, overflow: bool) -> MoveRecord | None:
        """None: nothing was heard of it."""
        return self.named(tenant, move_name(operation, overflow=overflow))

    def named(self, tenant: TenantId, name: str) -> MoveRecord | None:
        """The same, by its name. Without a lock."""
        rows = self._state.tenants.get(tenant)
        return None if rows is None else rows.moves.get(name)

    def last_deletion(self, tenant: TenantId) -> int:
        """The seq of the newest deletion. Without a lock."""
        return self._state.catalog.last_deletion(tenant)

    def fence(self, moved: MovedSlots, epoch: Epoch, operation: str, revision: int) -> int:
        """From the position returned on, appends to the slots are refused, and scans of them; durable at return."""
        with self._changing(moved.tenant) as rows:
            self._state.fence(moved.tenant, epoch)
            return fencing.fence(self._state, rows, moved, operation, revision)

    def lift(self, moved: MovedSlots, operation: str, revision: int) -> None:
        """Ends a fence; durable at return."""
        with self._changing(moved.tenant) as rows:
            fencing.lift(self._state, rows, moved, operation, revision)

    def follow(
        self,
        moved: MovedSlots,
        epoch: Epoch,
        operation: str,
        revision: int,
        source: ShardId,
        address: str,
        bytes_per_second: int = 0,
        from_position: int | None = None,
        copies: int = 0,
    ) -> MoveRecord:
        """Begins to follow a source, or goes on; anew, where ``copies`` is higher than it was. Durable at return."""
        with self._changing(moved.tenant) as rows:
            self._state.fence(moved.tenant, epoch)
            return fencing.follow(
                self._state, rows, moved, operation, revision, source, address, bytes_per_second, from_position, copies
            )

    def end(self, moved: MovedSlots, operation: str, revision: int) -> None:
        """The shard does not follow any more, and keeps nothing for a follower; durable at return."""
        with self._changing(moved.tenant) as rows:
            fencing.end(self._state, rows, moved, operation, revision)

    def begin_anew(self, tenant: TenantId, name: str) -> None:
        """What a follower has taken is of no use; it goes, and is copied again."""
        with self._changing(tenant) as rows:
            fencing.begin_anew(self._state, rows, following(rows, name))

    def keep_nothing(self, tenant: TenantId, name: str) -> None:
        """A follower was silent for too long: nothing is kept for it any more."""
        with self._changing(tenant) as rows:
            record = rows.moves.get(name)
            if record is not None and record.kept is not None:
                fencing.keep_nothing(self._state, rows, record)

    def tell_strip(
        self, moved: MovedSlots, operation: str, revision: int, first_day: int, position: int, deletions_seen: int
    ) -> Iterator[Told]:
        """The next days of a source's rows: first what they are."""
        return telling.tell_strip(self._state, moved, operation, revision, first_day, position, deletions_seen)

    def tell_tail(
        self,
        moved: MovedSlots,
        operation: str,
        revision: int,
        taken: Kept,
        told: Kept | None = None,
        place: Place | None = None,
    ) -> Iterator[tuple[Tailed, Place | None]]:
        """What came to a source, up to now; and a shortcut for the next time. ``taken``: what the follower has; what
        came later is kept. ``told``: what it was told already, if that is more."""
        tail = tailing.tail_from(self._state, moved, operation, revision, taken, told)
        return tailing.tell_tail(self._state, moved, tail, place)

    def held_version(self, moved: MovedSlots) -> int:
        """Changes whenever what is known of hot keys of the slots does."""
        with self._state.append_lock:
            rows = self._state.rows(moved.tenant)
            return hot_keys.version_of([hot_keys.name_of(each, moved) for each in hot_keys.concerned(rows, moved)])

    def log_end(self) -> int:
        """Position of the next row; without a lock, it may be higher already."""
        return self._state.writer.next_row

    def tell_held(self, moved: MovedSlots, known: Collection[HeldName]) -> Iterator[HeldTold]:
        """The hot keys of a source's slots."""
        return hot_keys.tell(self._state, moved, known, self._open)

    def take_strip(self, tenant: TenantId, name: str, told: StripTold) -> StripTaking:
        """Of a follower, the next days; to be filled, and ended."""
        with self._state.append_lock:
            rows = self._state.rows(tenant)
            following(rows, name)
        return strips.StripTaking(self._state, rows, name, told)

    def take_rows(self, tenant: TenantId, name: str, told: Sequence[TailRows]) -> None:
        """Of a follower: durable at return."""
        with self._changing(tenant) as rows:
            taking.take_rows(self._state, rows, name, told)

    def take_deletion(self, tenant: TenantId, name: str, told: Deletion, position: int) -> None:
        """Of a follower: durable at return."""
        with self._changing(tenant) as rows:
            if taking.take_deletion(self._state, rows, name, told, position):
                return
            moved = following(rows, name).moved(tenant)
        dropping.expunge(self._state, moved, told.users, told.horizon_ms, _no_pace)
        with self._changing(tenant) as rows:
            store(self._state, rows, taking.with_deletion(following(rows, name), told, position))

    def reached(self, tenant: TenantId, name: str, position: int) -> None:
        """Of a follower: nothing else came before a position of the source's log."""
        with self._changing(tenant) as rows:
            taking.reached(rows, name, position)

    def known_held(self, tenant: TenantId, name: str) -> list[HeldName]:
        """Of a follower: hot keys that came with the move."""
        with self._changing(tenant) as rows:
            return hot_keys.known_of(rows, name)

    def take_held(self, tenant: TenantId, name: str, told: HeldTold, identities: EventBatch | None) -> None:
        """Of a follower: durable at return."""
        with self._state.append_lock:
            rows = self._state.rows(tenant)
        hot_keys.take(self._state, rows, name, told, identities)

    def end_held(self, tenant: TenantId, name: str, there: Collection[HeldName], home: Owned | None) -> None:
        """Of a follower: hot keys that the source does not have go. ``home``: slots that this shard owns."""
        with self._changing(tenant) as rows:
            hot_keys.end_others(self._state, rows, name, there, home)

    def count(self, moved: MovedSlots, operation: str, revision: int, agreed: Collection[bytes] | None = ()) -> Counted:
        """Begins, or goes on, to count what is here of the slots. ``agreed``: what files contain that the other side
        has too, which are counted as files; None: that is to be found out."""
        with self._changing(moved.tenant) as rows:
            name = heard(rows, moved, operation, revision).name
        return comparing.count(self._state, moved, name, agreed)

    def digest(
        self, moved: MovedSlots, operation: str, revision: int, position: int, *, with_cells: bool = False
    ) -> Digest:
        """As of a position of the source's log, at which this shard is."""
        return comparing.digest_at(self._state, moved, operation, revision, position, with_cells=with_cells)

    def count_beside(self, moved: MovedSlots, operation: str, agreed: Collection[bytes] | None) -> Counted:
        """As ``count``, anew and by itself; ``end_beside`` ends it."""
        return comparing.count(self._state, moved, comparing.beside(self._name(moved, operation)), agreed)

    def digest_now(self, moved: MovedSlots, operation: str) -> tuple[Digest, int | None]:
        """What ``count_beside`` has counted, up to now; and how far a follower was then."""
        return comparing.digest_now(self._state, moved, self._name(moved, operation))

    def end_beside(self, moved: MovedSlots, operation: str) -> None:
        """Nothing is counted any more but for the move itself."""
        with self._changing(moved.tenant) as rows:
            rows.moves.stop_counting(comparing.beside(move_name(operation, overflow=moved.overflow)))

    def _name(self, moved: MovedSlots, operation: str) -> str:
        """Raises ``OPERATION_STATE`` where the move is over, or was never heard of."""
        with self._changing(moved.tenant) as rows:
            record = rows.moves.get(move_name(operation, overflow=moved.overflow))
        if record is None or record.is_over or record.slots != moved.spans:
            raise EvenshardError("OPERATION_STATE", f"operation {operation} is not under way here")
        return record.name

    def clear(self, tenant: TenantId, name: str, pace: Pace = _no_pace, *, spread: bool) -> None:
        """Of a follower, before it copies: what is left here of the slots goes for good."""
        with self._changing(tenant) as rows:
            record = following(rows, name)
        moved = record.moved(tenant)
        dropping.drop(self._state, moved, name, self._open, pace, spread=spread, for_good=True)
        with self._changing(tenant) as rows:
            fencing.cleared(self._state, rows, following(rows, name))

    def drop(
        self, moved: MovedSlots, epoch: Epoch, operation: str, revision: int, pace: Pace = _no_pace, *, spread: bool
    ) -> int:
        """Rows of slots that this shard does not own go into the trash; how many. Its fence, of no use any more, ends.
        Raises ``OPERATION_STATE`` where it follows for them, or is followed."""
        with self._changing(moved.tenant) as rows:
            self._state.fence(moved.tenant, epoch)
            record = heard(rows, moved, operation, revision)
            if record.follow is not None or record.kept is not None:
                raise EvenshardError("OPERATION_STATE", f"operation {operation} is not at its end on this shard")
            store(self._state, rows, replace(record, fenced_at=None), with_foreign=True)
        return dropping.drop(self._state, moved, record.name, self._open, pace, spread=spread, for_good=False)

    def remove_tenant(self, tenant: TenantId, pace: Pace = _no_pace) -> int:
        """Of a tenant that is gone: all its rows go for good; how many. Raises as ``drop``."""
        whole = [MovedSlots(tenant, ((0, SLOT_COUNT - 1),), overflow) for overflow in (False, True)]
        gone = 0
        for moved in whole:
            gone += dropping.drop(self._state, moved, "deleted", self._open, pace, spread=False, for_good=True)
        with self._changing(tenant) as rows:
            left = list(rows.visible.layers)
        for layer in left:
            dropping.remove_layer(self._state, rows, layer)
        return gone

    def empty_trash(self, now_ms: int) -> None:
        """What was dropped a week ago goes for good."""
        for rows in list(self._state.tenants.values()):
            dropping.empty_trash(self._state, rows, storage_day(now_ms))

    @contextmanager
    def _changing(self, tenant: TenantId) -> Iterator[TenantRows]:
        with self._state.append_lock:
            if self._is_closed():
                raise EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            yield self._state.rows(tenant)
