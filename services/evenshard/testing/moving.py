"""A follower and its source as two stores in one thread, step by step, for tests of moves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.properties import concat
from evenshard.storage.moving.comparing import Digest
from evenshard.storage.moving.record import Follow, Kept
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.taking import TailRows
from evenshard.storage.moving.telling import NOTHING_SEEN, SegmentTold, StripTold
from evenshard.storage.ownership import Owned
from evenshard.storage.store import Store

TRIES_MAX: Final = 5


@dataclass(slots=True)
class Pull:
    """What a follower asks of its source, and takes: each method is one step, which may be the last."""

    source: Callable[[], Store]
    target: Callable[[], Store]
    moved: MovedSlots
    operation: str
    revision: int = 1
    home: Callable[[], Owned | None] = lambda: None
    """Slots that the follower owns."""

    @property
    def name(self) -> str:
        return f"{self.operation}+overflow" if self.moved.overflow else self.operation

    @property
    def follow(self) -> Follow:
        record = self.target().moves.get(self.moved.tenant, self.operation, overflow=self.moved.overflow)
        assert record is not None
        assert record.follow is not None
        return record.follow

    def step(self, *, spread: bool = False) -> None:
        """The next strip, and the log; what the source cannot tell any more is begun anew."""
        try:
            if not self.follow.is_cleared:
                self.target().moves.clear(self.moved.tenant, self.name, spread=spread)
            if not self.follow.is_copied:
                self.strip()
            if self.follow.strips_taken or self.follow.is_copied:
                self.tail()
        except EvenshardError as error:
            if "begin_anew" not in error.details:
                raise
            self.target().moves.begin_anew(self.moved.tenant, self.name)

    def strip(self) -> None:
        """The next days."""
        follow, tenant = self.follow, self.moved.tenant
        seen = follow.deletions_seen if follow.strips_taken else NOTHING_SEEN
        assert follow.next_day is not None
        told = self.source().moves.tell_strip(
            self.moved, self.operation, self.revision, follow.next_day, follow.position, seen
        )
        strip = next(told)
        assert isinstance(strip, StripTold)
        if strip.tail_first:
            told.close()  # type: ignore[attr-defined]
            self.tail()
            return
        taking = self.target().moves.take_strip(tenant, self.name, strip)
        try:
            for each in told:
                if isinstance(each, SegmentTold):
                    taking.segment(each)
                elif isinstance(each, bytes):
                    taking.data(each)
                elif not isinstance(each, StripTold):
                    taking.rows(each)
            taking.commit()
        except BaseException:
            taking.discard()
            raise

    def tail(self, rows_max: int = 1 << 30) -> None:
        """What has come, or as many things of it; then the hot keys."""
        follow, tenant = self.follow, self.moved.tenant
        told = self.source().moves.tell_tail(
            self.moved, self.operation, self.revision, Kept(follow.position, follow.deletions_seen)
        )
        for number, (each, _) in enumerate(told):
            if number >= rows_max:
                return
            if each.rows is not None:
                self.target().moves.take_rows(tenant, self.name, [TailRows(each.position, each.rows)])
            elif each.deletion is not None:
                self.target().moves.take_deletion(tenant, self.name, each.deletion, each.position)
            else:
                self.target().moves.reached(tenant, self.name, each.position)
        if self.follow.is_copied:
            self.held()

    def held(self) -> None:
        """The hot keys of the slots."""
        tenant, there = self.moved.tenant, []
        known = self.target().moves.known_held(tenant, self.name)
        pieces: list[EventBatch] = []
        for told in list(self.source().moves.tell_held(self.moved, known)):
            if told.originals is not None:
                pieces.append(told.originals)
                continue
            there.append(told.name)
            if told.name not in known:
                self.target().moves.take_held(tenant, self.name, told, _joined(pieces))
            pieces = []
        self.target().moves.end_held(tenant, self.name, there, self.home())

    def come_to_terms(self) -> frozenset[bytes]:
        """What both count as files, as a driver has them do before a fence: what files contain that both have."""
        for _ in range(TRIES_MAX):
            mine, other = self._counted(None)
            if mine == other:
                return mine
            self._counted(mine & other)
        raise AssertionError(f"source and target do not agree about files: {mine}, {other}")

    def _counted(self, agreed: frozenset[bytes] | None) -> list[frozenset[bytes]]:
        stores = (self.source(), self.target())
        counted = [store.moves.count(self.moved, self.operation, self.revision, agreed) for store in stores]
        return [frozenset(each.files) for each in counted]

    def agree(self, fenced_at: int, *, by_files: bool = False) -> int:
        """Catches up to a fence; both hold the same then. Returns where the follower's own log ended. ``by_files``:
        files that both have may be counted as files."""
        while not self.follow.is_copied or self.follow.position < fenced_at:
            self.step()
        self.tail()
        assert self.follow.position >= fenced_at
        if by_files:
            self.come_to_terms()
        source, target = self._digests(fenced_at)
        if source.files != target.files:  # one was restarted since they came to terms: nothing was compared
            self.come_to_terms()
            source, target = self._digests(fenced_at)
            assert source.files == target.files
        assert (source.cells, source.state) == (target.cells, target.state), _differ(source, target)
        assert source.sum == target.sum
        return target.log_position

    def _digests(self, at: int) -> list[Digest]:
        stores = (self.source(), self.target())
        return [store.moves.digest(self.moved, self.operation, self.revision, at, with_cells=True) for store in stores]


def _joined(pieces: list[EventBatch]) -> EventBatch | None:
    return EventBatch(concat([piece.record for piece in pieces])) if pieces else None


def _differ(source: Digest, target: Digest) -> str:
    """What one has, and not the other."""
    mine, other = frozenset(source.cells), frozenset(target.cells)
    states = "alike" if source.state == target.state else "not alike"
    return f"source {sorted(mine - other, key=str)}, target {sorted(other - mine, key=str)}, hot keys {states}"
