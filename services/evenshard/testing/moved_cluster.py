"""Three stores as the shards of one tenant, with hot keys, deletions and moves, beside a list of what they should hold.

Everything happens in one thread. The list is a naive model: a copy is a copy of any event stored before that no
deletion hid, wherever either is; a deletion hides what was stored before it; nothing else changes an answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

import numpy as np

from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT, hash_events, hash_of, slots_of, spread_hashes
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage import fsck
from evenshard.storage.append import Appended
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Ownership
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of, event_batch, events_of_parts
from evenshard.testing.moving import Pull

_Result = TypeVar("_Result")
ACME = TenantId("acme")
SHARDS = 3
NOON = 1_700_000_000_000
DAY_MS = 86_400_000
USERS = [f"user {number}" for number in range(12)]
RUNAWAYS = USERS[:3]
"""Whose keys become hot: as rewrite, salt, rewrite."""


class PowerCutError(Exception):
    """A disk loses power in the middle of something."""


@dataclass(slots=True)
class Stored:
    """An event of the model."""

    event: Event
    duplicate: bool
    hidden: bool = False


@dataclass(slots=True)
class Move:
    """One under way, or switched."""

    pull: Pull
    source: int
    target: int
    is_switched: bool = False


@dataclass
class MovedCluster:
    """``home`` and ``overflow``: for each slot its shard."""

    seed: int
    home: np.ndarray = field(default_factory=lambda: np.zeros(SLOT_COUNT, np.int64))
    overflow: np.ndarray = field(default_factory=lambda: np.repeat([0, 1], SLOT_COUNT // 2))
    epoch: int = 1
    revision: int = 1
    stored: list[Stored] = field(default_factory=list)
    hot: dict[tuple[str, int], str] = field(default_factory=dict)
    """Nonces of keys that were handed over."""
    move: Move | None = None
    left: set[int] = field(default_factory=set)
    """Shards that have not dropped yet what they lost."""
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.clock = ManualClock()
        self.disks = [MemoryDisk() for _ in range(SHARDS)]
        self.stores = [self._open(number) for number in range(SHARDS)]
        self.home[:] = self.random.randrange(2)

    def _open(self, number: int) -> Store:
        settings = StorageSettings(log_file_bytes=self.random.choice([1, 3_000, 1 << 20]))
        return Store.open(self.disks[number], self.clock, ShardId(f"shard-{number}"), settings, self.log.append)

    def ownership(self, number: int) -> Ownership:
        return Ownership(self.home == number, self.overflow == number)

    def act(self) -> None:
        """Does one thing."""
        kinds = [self.append] * 5 + [self.retry] * 3 + [self.compact, self.sort, self.crash, self.delete, self.cross]
        kinds += [self.step_move] * 6
        act = self.random.choice(kinds)
        self.log.append(act.__name__)
        act()

    def event(self) -> Event:
        random = self.random
        user = random.choice(["", *USERS, *RUNAWAYS * 2])
        time = NOON + random.randrange(3) + random.randrange(3) * DAY_MS
        insert_id = random.choice([None, *"abcdefgh"])
        return Event(random.choice("xy"), user, time, insert_id, random.choice([{}, {"i:n": 1}, {"s:n": "1"}]))

    def append(self) -> None:
        self.send([self.event() for _ in range(self.random.randint(1, 8))])

    def retry(self) -> None:
        if self.stored:
            self.send([each.event for each in self.random.choices(self.stored, k=4)])

    def send(self, events: list[Event]) -> None:
        """Each to where it belongs; what is fenced is not stored."""
        for event in events:
            key = event.distinct_id, event.time // DAY_MS
            nonce = self.hot.get(key)
            number = self._shard_of(event, spread=nonce is not None)
            hot = np.array([nonce is not None and nonce.startswith("rewrite")])
            append = replace(
                append_of([event], ACME, self.epoch),
                owned=self.home == number,
                overflow=self.overflow == number,
                hot=hot if hot.any() else None,
            )
            (outcome,) = self.stores[number].append([append])
            if isinstance(outcome, EvenshardError):
                assert outcome.code == "SLOTS_FENCED", outcome
                continue
            assert isinstance(outcome, Appended)
            copy = event.identity is not None and any(
                each.event.identity == event.identity and not each.hidden for each in self.stored
            )
            assert outcome.duplicates.tolist() == [copy], (event, number, self.log)
            self.stored.append(Stored(event, copy))

    def _shard_of(self, event: Event, *, spread: bool) -> int:
        batch = event_batch([event])
        placement = hash_events(ACME, batch).placement
        if spread:
            return int(self.overflow[slots_of(spread_hashes(ACME, batch, placement))[0]])
        return int(self.home[slots_of(placement)[0]])

    def compact(self) -> None:
        self.stores[self.random.randrange(SHARDS)].compact(ACME)

    def sort(self) -> None:
        self.stores[self.random.randrange(SHARDS)].sort_tail(ACME)

    def crash(self) -> None:
        number = self.random.randrange(SHARDS)
        self.disks[number] = self.disks[number].crash(Random(self.random.random()))
        self.stores[number] = self._open(number)

    def sure(self, act: Callable[[], _Result]) -> _Result:
        """Does what may be done again, until it is done: now and then the power of a shard goes in the middle of it."""
        number = self.random.randrange(SHARDS)
        if self.random.random() < 0.3:
            self._arm(number, self.random.randrange(40))
        try:
            while True:
                try:
                    return act()
                except PowerCutError:
                    self.log.append("cut")
                    self.disks[number] = self.disks[number].crash(Random(self.random.random()))
                    self.stores[number] = self._open(number)
        finally:
            self.disks[number].hook = None

    def _arm(self, number: int, operations: int) -> None:
        """The power of a shard goes at one of its next disk operations."""
        disk, left = self.disks[number], [operations]

        def hook(operation: str, name: str) -> None:
            del operation, name
            left[0] -= 1
            if left[0] < 0:
                raise PowerCutError

        disk.hook = hook

    def shards(self) -> Iterator[int]:
        """Those of the placement."""
        yield from sorted({*self.home.tolist(), *self.overflow.tolist()})

    def delete(self) -> None:
        """A user; not while slots are fenced, which every shard that is fenced refuses."""
        if any(store.moves.records() and self._is_fenced(store) for store in self.stores):
            return
        user = self.random.choice(USERS)
        ended = [key for key in self.hot if key[0] == user]
        for key in ended:
            del self.hot[key]
        operation = f"delete {len(self.log)}"
        for number in sorted({*self.shards(), *self.left}):  # as long as a move is not over, its shards are told
            self.stores[number].hide_users(ACME, Epoch(self.epoch), operation, [user], ended)
        for each in self.stored:
            each.hidden |= each.event.distinct_id == user

    def _is_fenced(self, store: Store) -> bool:
        return any(record.fenced_at is not None for _, record in store.moves.records())

    def cross(self) -> None:
        """A key becomes hot: it is handed over by its home to the overflow."""
        user = self.random.choice(RUNAWAYS)
        key = user, NOON // DAY_MS + self.random.randrange(2)
        if key in self.hot or any(self._is_fenced(store) for store in self.stores):
            return
        mode = "salt" if user == RUNAWAYS[1] else "rewrite"
        nonce, has_hot_rows = f"{mode} {len(self.log)}", mode == "rewrite"
        home = int(self.home[hash_of(user) >> 52])
        stays = self.overflow == home
        epoch = Epoch(self.epoch)
        self.stores[home].seal_key(ACME, epoch, key, nonce, has_hot_rows=has_hot_rows)
        hash_from = 0
        while True:
            page = self.stores[home].originals(ACME, key, stays if stays.any() else None, hash_from, 3)
            for number in sorted(set(self.overflow.tolist()) - {home}):
                rows = np.flatnonzero(self.overflow[slots_of(page.identity)] == number)
                batch = page.batch.take(rows) if rows.size else None
                self.stores[number].keep_originals(
                    ACME, epoch, key, nonce, (hash_from, page.hash_next), batch, has_hot_rows=has_hot_rows
                )
            hash_from = page.hash_next
            if not hash_from:
                break
        self.hot[key] = nonce

    def step_move(self) -> None:
        """The next step of the move there is, or one begins."""
        if self.move is None:
            self._begin()
            return
        move, self.revision = self.move, self.revision + 1
        spread = bool((self.overflow == move.target).any())
        draw = self.random.random()
        if draw < 0.6:
            self.sure(lambda: move.pull.step(spread=spread))
        elif draw < 0.7 and move.pull.follow.is_copied:
            count = self.random.randint(1, 3)
            self.sure(lambda: move.pull.tail(count))
        elif move.pull.follow.is_copied:
            self._hand_over(move)

    def _begin(self) -> None:
        random = self.random
        overflow = random.random() < 0.4
        table = self.overflow if overflow else self.home
        source = int(random.choice(table))
        mask = table == source
        if random.random() < 0.5:
            first = random.randrange(SLOT_COUNT)
            mask &= (np.arange(SLOT_COUNT) >= first) & (np.arange(SLOT_COUNT) < first + 1500)
        if not mask.any():
            return
        target = random.choice([number for number in range(SHARDS) if number != source])
        moved = MovedSlots(ACME, tuple((int(slot), int(slot)) for slot in np.flatnonzero(mask)), overflow)
        self.revision += 1
        operation = f"move {len(self.log)}"
        self._follow(moved, operation, source, target, None)
        self.move = Move(self._pull(moved, operation, source, target), source, target)

    def _follow(self, moved: MovedSlots, operation: str, source: int, target: int, position: int | None) -> None:
        self.sure(
            lambda: self.stores[target].moves.follow(
                moved, Epoch(self.epoch), operation, self.revision, ShardId(f"shard-{source}"), "", 0, position
            )
        )

    def _pull(self, moved: MovedSlots, operation: str, source: int, target: int) -> Pull:
        return Pull(
            lambda: self.stores[source],
            lambda: self.stores[target],
            moved,
            operation,
            self.revision,
            lambda: self.home == target,
        )

    def _hand_over(self, move: Move) -> None:
        """Fenced, compared, switched; or it is called off. Once switched it is rolled back, or completed."""
        pull, moved = move.pull, move.pull.moved
        pull.revision = self.revision
        if move.is_switched and self.random.random() < 0.5:
            self._complete(move)
            return
        source, revision = move.source, self.revision
        by_files = self.random.random() < 0.7
        if by_files:
            self.sure(pull.come_to_terms)
            for _ in range(self.random.randrange(3)):
                self.random.choice([self.append, self.compact, self.sort])()
        at = self.sure(lambda: self.stores[source].moves.fence(moved, Epoch(self.epoch), pull.operation, revision))
        if self.random.random() < 0.3:
            self.append()
            self.crash()
        if not move.is_switched and self.random.random() < 0.2:
            self.revision += 1
            self.sure(lambda: self.stores[source].moves.lift(moved, pull.operation, self.revision))
            return
        position = self.sure(lambda: pull.agree(at, by_files=by_files))
        if self.random.random() < 0.5:  # what came now would be lost with the switch
            self.append()
        self.revision, self.epoch = self.revision + 1, self.epoch + 1
        (self.overflow if moved.overflow else self.home)[moved.mask] = move.target
        for store in self.stores:
            store.learn_epoch(ACME, Epoch(self.epoch))
        if move.is_switched:  # back where it was
            self.move = None
            for number in (move.source, move.target):
                self._end(moved, pull.operation, number)
            self._drop(moved, pull.operation, move.source)
            return
        self._follow(moved, pull.operation, move.target, move.source, position)
        self.move = Move(
            self._pull(moved, pull.operation, move.target, move.source), move.target, move.source, is_switched=True
        )

    def _complete(self, move: Move) -> None:
        self.move = None
        moved, operation = move.pull.moved, move.pull.operation
        for number in (move.source, move.target):
            self._end(moved, operation, number)
        self._drop(moved, operation, move.target)

    def _end(self, moved: MovedSlots, operation: str, number: int) -> None:
        def ended() -> None:
            self.stores[number].moves.end(moved, operation, self.revision)
            self.stores[number].moves.lift(moved, operation, self.revision)

        self.sure(ended)

    def _drop(self, moved: MovedSlots, operation: str, number: int) -> None:
        if self.random.random() < 0.3:
            self.left.add(number)
            return
        spread = bool((self.overflow == number).any())
        self.sure(
            lambda: self.stores[number].moves.drop(moved, Epoch(self.epoch), operation, self.revision, spread=spread)
        )

    def check_disks(self) -> None:
        """Nothing on them is amiss, whatever the power did; the shards start again."""
        for number in range(SHARDS):
            self.stores[number].close()
            checked = fsck.check(self.disks[number], self.clock, ShardId(f"shard-{number}"), lambda _: None)
            assert checked.ok, (self.seed, checked.findings)
            self.stores[number] = self._open(number)

    def check(self) -> None:
        """What all shards show together is what there is."""
        found: list[tuple[Event, bool]] = []
        for number, store in enumerate(self.stores):
            with store.snapshot(ACME, self.ownership(number)) as snapshot:
                rows = all_events(snapshot)
                assert events_of_parts(snapshot) == rows
                found += rows
        wanted = [(each.event, each.duplicate) for each in self.stored if not each.hidden]
        assert sorted(found, key=_text) == sorted(wanted, key=_text), (self.seed, self.log)


def _text(row: tuple[Event, bool]) -> str:
    event, duplicate = row
    return f"{event}|{duplicate}"
