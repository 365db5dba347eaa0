"""Two shards on one disk that keeps a journal, and the driver of a move of slots from one to the other.

The driver's record is in a directory that loses nothing; whatever a call of it returned for is promised from then on.
A power cut takes both shards, of which each has kept what it may have: also as if it alone had lost anything.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT, SLOT_SHIFT, hash_of
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.moving.slots import MovedSlots, Span, mask_of
from evenshard.storage.ownership import NO_SLOTS, Owned, Ownership
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, all_events, append_of
from evenshard.testing.faults.disk_part import DiskPart
from evenshard.testing.faults.journal import NOTHING, DiskState
from evenshard.testing.faults.oracle import (
    DAY_MS,
    FIRST_DAY,
    USERS,
    Acked,
    Batch,
    Deleted,
    Deleting,
    Deletion,
    Found,
    Oracle,
    Refused,
    Sent,
    event_of,
)
from evenshard.testing.faults.recording_disk import RecordingDisk
from evenshard.testing.moving import Pull

TENANT: Final = TenantId("acme")
OPERATION: Final = "move-1"
SOURCE: Final = 0
TARGET: Final = 1
SHARDS: Final = (ShardId("shard-0"), ShardId("shard-1"))
NOT_TAKEN: Final = ("SLOTS_FENCED", "STALE_EPOCH")
"""How a shard refuses rows of slots that it does not answer for any more."""


@dataclass(frozen=True, slots=True)
class MoveNote:
    """What the driver's record says, and what shards have answered it since."""

    revision: int = 1
    epoch: int = 1
    owner: int = SOURCE
    """Of the slots that are moved."""
    goes_back: bool = False
    """They go from the target to the source."""
    follows: bool = False
    """The one that is to get them said that it follows."""
    position: int | None = None
    """From which on of the owner's log it does; None: it copies all there is first."""
    fenced_at: int | None = None
    """The owner said so."""
    agreed_at: int | None = None
    """Both have the same, they said, and where the log of the one that follows ended: it may switch at any moment."""
    refuses: int | None = None
    """Who said that it takes nothing of the slots by this epoch, and gets no newer one of which it does."""
    is_dropped: bool = False
    """The one that has lost them said that nothing is left of them but trash."""


@dataclass(slots=True)
class MoveOracle(Oracle):
    """Promises of both shards together, and what the driver knows."""

    move: MoveNote = field(default_factory=MoveNote)

    def note(self, what: object) -> None:
        if isinstance(what, MoveNote):
            self.move = what
        else:
            Oracle.note(self, what)

    def key(self) -> Hashable:
        return self.move


class MovingStory:
    """Begins with ``open``. ``others``: slots that the target owns from the beginning."""

    def __init__(
        self,
        seed: int,
        moved: MovedSlots,
        others: Iterable[Span] = (),
        *,
        start: DiskState = NOTHING,
        oracle: MoveOracle | None = None,
    ) -> None:
        self.seed = seed
        self.moved = moved
        self.others = tuple(others)
        self.disk = RecordingDisk.holding(start)
        self.clock = ManualClock()
        self.settings = StorageSettings(log_file_bytes=900, identity_scratch_bytes=0)
        self.begin: MoveOracle = MoveOracle(seed) if oracle is None else oracle.copy()
        self.oracle = self.begin.copy()
        self.reports: list[str] = []
        self.stores: list[Store] = []
        self.began: dict[str, int] = {}
        """At which entry of the journal the driver first began to do something."""
        self._next_batch = self.oracle.last_number

    @property
    def move(self) -> MoveNote:
        return self.oracle.move

    # Shards

    def after(self, state: DiskState, oracle: Oracle) -> "MovingStory":
        assert isinstance(oracle, MoveOracle)
        return MovingStory(self.seed, self.moved, self.others, start=state, oracle=oracle)

    def open(self) -> Found:
        """Both start; all that was promised must be there."""
        self.stores = [
            Store.open(DiskPart(self.disk, shard), self.clock, shard, self.settings, self.reports.append)
            for shard in SHARDS
        ]
        strange = [each for store in self.stores for each in store.quarantined]
        assert strange == [], strange
        found = self.found()
        self.expect(found)
        self._note(self.oracle.served(found))
        return found

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def owned(self, shard: int, owner: int | None = None) -> Owned:
        """The slots of a shard, where ``owner`` has those that are moved; None: who has them now."""
        owner = self.move.owner if owner is None else owner
        others = mask_of(self.others)
        mine = others if shard == TARGET else ~others
        return mine | self.moved.mask if shard == owner else mine & ~self.moved.mask

    def found(self, owner: int | None = None) -> Found:
        """What both show together."""
        rows: list[tuple[Event, bool]] = []
        for shard, store in enumerate(self.stores):
            with store.snapshot(TENANT, Ownership(self.owned(shard, owner), NO_SLOTS)) as snapshot:
                rows += all_events(snapshot)
        return {TENANT: rows}

    def epochs(self) -> dict[str, int]:
        return {TENANT: max(store.epoch(TENANT) for store in self.stores)}

    def expect(self, found: Found | None = None) -> None:
        """What is visible is what was promised, or may be; and so it is if the driver switches now, where it may."""
        owners = (self.move.owner,) if self.move.agreed_at is None else (self.move.owner, 1 - self.move.owner)
        for owner in owners:
            seen = found if found is not None and owner == self.move.owner else self.found(owner)
            fault = self.oracle.fault(seen, self.epochs())
            assert fault is None, f"{fault}, where {SHARDS[owner]} owns the slots"
        if self.move.refuses is not None:
            code = self._tried(self.move.refuses)
            assert code in NOT_TAKEN, f"{SHARDS[self.move.refuses]} took rows of slots that it gave away: {code!r}"
        if self.move.fenced_at is not None:
            record = self.stores[self.move.owner].moves.get(TENANT, OPERATION, overflow=False)
            assert record is not None
            assert record.fenced_at == self.move.fenced_at
        if self.move.is_dropped:
            with self.stores[1 - self.move.owner].snapshot(TENANT) as snapshot:
                left = [event for event, _ in all_events(snapshot) if self.moved.mask[_slot(event.distinct_id)]]
            assert left == [], f"rows that were dropped: {left[:3]}"

    def _tried(self, shard: int) -> str:
        """How a shard refuses a row of the slots that comes from a router that knows of nothing."""
        epoch = self.move.epoch if shard == self.move.owner else self.move.epoch - 1
        event = Event("view", self.moved_user, FIRST_DAY * DAY_MS, "tried")
        (outcome,) = self.stores[shard].append([append_of([event], TENANT, epoch)])
        return outcome.code if isinstance(outcome, EvenshardError) else ""

    @property
    def moved_user(self) -> str:
        """One whose slot is moved."""
        return next(user for user in USERS if self.moved.mask[_slot(user)])

    # Applications

    def send(self, *events: int) -> list[str]:
        """Each to whom it belongs. Returns the codes with which groups were refused; bits must be right."""
        codes = []
        for shard in (SOURCE, TARGET):
            owned = self.owned(shard)
            mine = tuple(each for each in events if owned[_slot(event_of(self.seed, each).distinct_id)])
            if mine:
                codes += self._append(shard, mine)
        return codes

    def _append(self, shard: int, events: tuple[int, ...]) -> list[str]:
        self._next_batch += 1
        batch = Batch(self._next_batch, TENANT, events)
        self._note(Sent((batch,)))
        append = replace(append_of(batch.rows(self.seed), TENANT, self.move.epoch), owned=self.owned(shard))
        (outcome,) = self.stores[shard].append([append])
        if isinstance(outcome, Appended):
            bits = self.oracle.bits(batch)
            assert outcome.duplicates.tolist() == bits, f"batch {batch.number}: {outcome.duplicates} for {bits}"
            self._note(Acked(batch, self.move.epoch))
            return []
        assert outcome.code in NOT_TAKEN, outcome
        self._note(Refused(batch))
        return [outcome.code]

    def delete(self, user: str) -> None:
        """One whose rows are the source's, now."""
        self._next_batch += 1
        deletion = Deletion(self._next_batch, TENANT, (user,))
        self._note(Deleting(deletion))
        self.stores[SOURCE].hide_users(TENANT, Epoch(self.move.epoch), f"operation-{deletion.number}", [user])
        self._note(Deleted(deletion))

    def compact(self, *shards: int) -> None:
        for shard in shards or (SOURCE, TARGET):
            self.stores[shard].compact(TENANT)

    # The driver

    def follow(self) -> Pull:
        """The one that is to get the slots begins to follow their owner, or goes on."""
        self._begins("follow")
        move, taker = self.move, 1 - self.move.owner
        self.stores[taker].moves.follow(
            self.moved, Epoch(move.epoch), OPERATION, move.revision, SHARDS[move.owner], "", 0, move.position
        )
        self._changed(follows=True)
        return self.pull()

    def pull(self) -> Pull:
        """What it does then."""
        giver = self.move.owner
        return Pull(
            lambda: self.stores[giver], lambda: self.stores[1 - giver], self.moved, OPERATION, self.move.revision
        )

    def catch_up(self) -> None:
        """The one that follows takes what has come."""
        self._begins("catch_up")
        self.pull().step()

    def fence(self) -> None:
        self._begins("fence")
        self._changed(revision=self.move.revision + 1)
        move = self.move
        at = self.stores[move.owner].moves.fence(self.moved, Epoch(move.epoch), OPERATION, move.revision)
        self._changed(fenced_at=at, refuses=move.owner)

    def agree(self) -> None:
        """The one that follows catches up; both hold the same then."""
        assert self.move.fenced_at is not None
        self._changed(agreed_at=self.pull().agree(self.move.fenced_at))

    def switch(self) -> None:
        """One change of the directory; then both shards are told."""
        move = self.move
        assert move.agreed_at is not None
        self._changed(
            revision=move.revision + 1,
            epoch=move.epoch + 1,
            owner=1 - move.owner,
            follows=False,
            position=move.agreed_at,
            fenced_at=None,
            agreed_at=None,
        )
        for store in self.stores:
            store.learn_epoch(TENANT, Epoch(self.move.epoch))

    def ship_back(self) -> None:
        """The former owner follows: what comes goes back."""
        self._changed(goes_back=True)
        self.follow()

    def complete(self) -> None:
        """Nobody follows any more; who lost the slots drops their rows."""
        self._begins("complete")
        self._changed(revision=self.move.revision + 1)
        move = self.move
        for shard in (TARGET, SOURCE):
            self.stores[shard].moves.end(self.moved, OPERATION, move.revision)
        loser = self.stores[1 - move.owner]
        loser.moves.drop(self.moved, Epoch(move.epoch), OPERATION, move.revision, spread=False)
        self._changed(is_dropped=True)

    def empty_trash(self) -> None:
        """A week later."""
        self.clock.jump_wall(8 * DAY_MS)
        for store in self.stores:
            store.moves.empty_trash(self.clock.now_ms())

    def follow_up(self) -> None:
        """What must be possible after any recovery: another driver goes on from the record, to the end; retries meet
        their originals wherever these are now; all is compacted, and starts again."""
        if self.move.owner == (TARGET if self.move.goes_back else SOURCE) and not self.move.is_dropped:
            self.follow()
            self.fence()
            self.agree()
            self.switch()
        self.expect()
        self.complete()
        self.expect()
        known = sorted({each for batch in self.oracle.promised.values() for each in batch.events})
        new = 10_000 + self._next_batch
        assert self.send(*known, *range(new, new + 8), *known[:3]) == []
        self.compact()
        self.expect()
        self.close()
        self.open()

    def _begins(self, step: str) -> None:
        self.began.setdefault(step, len(self.disk.journal))

    def _changed(self, **changes: Any) -> None:
        self._note(replace(self.move, **changes))

    def _note(self, what: object) -> None:
        self.oracle.note(what)
        self.disk.note(what)


def _slot(user: str) -> int:
    return hash_of(user) >> SLOT_SHIFT


def all_slots() -> MovedSlots:
    return MovedSlots(TENANT, ((0, SLOT_COUNT - 1),))


def some_slots() -> tuple[MovedSlots, Span]:
    """Those of two users, to be moved, and those of another one."""
    slots = sorted(_slot(user) for user in USERS)
    return MovedSlots(TENANT, ((0, slots[1]),)), (slots[-1], SLOT_COUNT - 1)
