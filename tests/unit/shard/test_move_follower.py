"""A follower whose disk refuses what comes tries again, and can be ended, however much its source has sent already."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.shard.move_follower import MoveFollower
from evenshard.storage.moving.record import Follow, MoveRecord
from evenshard.testing.clock import ManualClock

TENANT = TenantId("acme")
SENT = 200
FOLLOW = Follow(ShardId("shard-0"), "shard-0:1", since=1, is_cleared=True, next_day=None)


class Moves:
    """What the follower asks of its store: each position is refused so many times, then taken."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.record = MoveRecord("op", False, ((0, 4095),), 1, FOLLOW)

    def named(self, tenant: TenantId, name: str) -> MoveRecord:
        return self.record

    def reached(self, tenant: TenantId, name: str, position: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise EvenshardError("DISK_FULL", "there is no room")
        assert self.record.follow is not None
        self.record = replace(self.record, follow=self.record.follow.reached(position))

    def known_held(self, tenant: TenantId, name: str) -> list[Any]:
        return []

    def end_held(self, *_: object) -> None:
        return None


class Store:
    def __init__(self, moves: Moves, backlog: float = 0.0) -> None:
        self.moves = moves
        self.waiting = backlog

    def backlog(self, tenant: TenantId) -> float:
        return self.waiting


class Tenants:
    def get(self, tenant: TenantId) -> None:
        return None


class Source:
    """Sends much more at once than a follower takes ahead, then nothing until it is asked again."""

    def __init__(self) -> None:
        self.streams = 0

    async def stream(self, address: str, rpc: Any, request: Any, *, timeout_s: float) -> AsyncIterator[Any]:
        if rpc.path.endswith("CopyHeldKeys"):
            return
        self.streams += 1
        for position in range(request.position + 1, SENT + 1):
            yield shard_pb2.TailLogResponse(position=position, end_position=SENT)
        if request.position >= SENT:
            await asyncio.Event().wait()


def follower(moves: Moves, source: Source, clock: ManualClock, backlog: float = 0.0) -> MoveFollower:
    store: Any = Store(moves, backlog)
    return MoveFollower(ShardId("shard-1"), store, cast(Any, None), cast(Any, Tenants()), cast(Any, source), clock)


async def until(clock: ManualClock, what: Any) -> None:
    async with asyncio.timeout(10):
        while not what():
            await clock.advance(100)
            await asyncio.sleep(0.001)  # what is taken is taken in a thread


async def test_what_was_refused_is_asked_for_again() -> None:
    moves, source, clock = Moves(refusals=2), Source(), ManualClock()
    following = follower(moves, source, clock)
    following.go_on(TENANT, "op")
    await until(clock, lambda: moves.record.follow is not None and moves.record.follow.position == SENT)
    assert source.streams >= 3
    async with asyncio.timeout(10):
        await following.close()


async def test_a_follower_that_is_refused_everything_says_why_and_can_be_ended() -> None:
    moves, source, clock = Moves(refusals=1_000_000), Source(), ManualClock()
    following = follower(moves, source, clock)
    following.go_on(TENANT, "op")
    await until(clock, lambda: following.error_of(TENANT, "op") is not None)
    error = following.error_of(TENANT, "op")
    assert error is not None
    assert error.code == "DISK_FULL"
    async with asyncio.timeout(10):
        await following.close()


async def test_a_follower_that_waits_for_compaction_says_so() -> None:
    moves, source, clock = Moves(refusals=0), Source(), ManualClock()
    following = follower(moves, source, clock, backlog=100.0)
    following.go_on(TENANT, "op")
    await until(clock, lambda: following.error_of(TENANT, "op") is not None)
    error = following.error_of(TENANT, "op")
    assert error is not None
    assert (error.code, "compaction" in error.message) == ("OVERLOADED", True)
    async with asyncio.timeout(10):
        await following.close()


class Throttled(Moves):
    """A strip, whose first piece is ahead of the throttle by more than a hundred days."""

    def __init__(self) -> None:
        super().__init__(refusals=0)
        self.bytes, self.pieces, self.discarded = 0, 0, False
        self.record = replace(self.record, follow=replace(FOLLOW, next_day=0, bytes_per_second=1))

    def take_strip(self, *_: object) -> "Throttled":
        return self

    def data(self, piece: bytes) -> None:
        self.bytes += 10_000_000
        self.pieces += 1

    def discard(self) -> None:
        self.discarded = True


class Strip(Source):
    """Sends the pieces of a strip."""

    async def stream(self, address: str, rpc: Any, request: Any, *, timeout_s: float) -> AsyncIterator[Any]:
        yield shard_pb2.CopyRunsResponse(strip=shard_pb2.CopiedStrip(last_day=1))
        for _ in range(SENT):
            yield shard_pb2.CopyRunsResponse(data=b"piece")


async def test_a_follower_that_is_ended_does_not_wait_for_its_throttle() -> None:
    moves, clock = Throttled(), ManualClock()
    following = follower(moves, Strip(), clock)
    following.go_on(TENANT, "op")
    await until(clock, lambda: moves.pieces)
    began_s = time.monotonic()
    await following.close()
    assert time.monotonic() - began_s < 5
    assert (moves.pieces, moves.discarded) == (1, True)


async def test_a_follower_that_is_held_takes_nothing_beyond_until_it_is_let_go_or_some_seconds_are_over() -> None:
    for is_let_go in (True, False):
        moves, source, clock = Moves(refusals=0), Source(), ManualClock()
        following = follower(moves, source, clock)
        following.hold(TENANT, "op", 50)
        following.go_on(TENANT, "op")

        def position(moves: Moves = moves) -> int:
            assert moves.record.follow is not None
            return moves.record.follow.position

        await until(clock, lambda: position() == 50)
        for _ in range(20):
            await clock.advance(100)
            await asyncio.sleep(0.001)
        assert position() == 50
        await following.until_at(TENANT, "op", 50)
        if is_let_go:
            following.let_go(TENANT, "op")
        await until(clock, lambda: position() == SENT)
        async with asyncio.timeout(10):
            await following.close()
