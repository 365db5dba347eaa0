"""Freed memory is given back before the bound, and not over and over where nothing is free."""

import asyncio

from evenshard.shard.giving_back import LOOK_EVERY_MS, Line, MemoryGiver
from evenshard.testing.clock import ManualClock

MAX = 3200


def test_the_line_is_three_quarters_and_above_what_was_left_before() -> None:
    line = Line(MAX)
    assert [line.is_reached(resident) for resident in (0, 2399, 2400)] == [False, False, True]
    line.left(2350)
    assert [line.is_reached(resident) for resident in (2400, 2449, 2450)] == [False, False, True]
    line.left(3000)
    assert [line.is_reached(resident) for resident in (3050, 3099, 3100)] == [False, False, True]
    line.left(1000)
    assert [line.is_reached(resident) for resident in (2399, 2400)] == [False, True]


def test_the_line_falls_with_what_is_resident() -> None:
    line = Line(MAX)
    line.left(3000)
    assert not line.is_reached(2399)
    assert line.is_reached(2400)


async def test_it_is_looked_every_now_and_then_and_given_back_where_it_is_due() -> None:
    resident: list[int | None] = [None]
    looks: asyncio.Queue[int | None] = asyncio.Queue()
    given: list[int | None] = []

    def resident_bytes() -> int | None:
        looks.put_nowait(resident[0])
        return resident[0]

    def give_back() -> None:
        given.append(resident[0])
        resident[0] = 2500

    clock = ManualClock()
    giver = MemoryGiver(clock, MAX, resident_bytes, give_back)
    giver.start()

    async def look(now: int | None, looked: list[int | None]) -> None:
        resident[0] = now
        await clock.advance(LOOK_EVERY_MS)
        async with asyncio.timeout(5):
            assert [await looks.get() for _ in looked] == looked

    await look(None, [None])
    await look(2399, [2399])
    await look(3000, [3000, 2500])
    await look(2599, [2599])
    await look(2600, [2600, 2500])
    assert given == [3000, 2600]
    await giver.close()
    assert clock.sleepers == 0
