"""The faults of the directory in memory are those a test asks for, and no others."""

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Entry, Put, Snapshot, Unchanged
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory


async def failure(awaitable: object) -> tuple[str, bool]:
    with pytest.raises(EvenshardError) as raised:
        await awaitable  # type: ignore[misc]
    return raised.value.code, raised.value.in_doubt


async def test_a_call_told_to_fail_does_nothing_and_the_one_after_works() -> None:
    directory = MemoryDirectory(ManualClock())
    directory.fail_next(2)
    assert await failure(directory.swap([], [Put("a", b"1")])) == ("DIRECTORY_UNAVAILABLE", False)
    assert await failure(directory.get("a")) == ("DIRECTORY_UNAVAILABLE", False)
    assert await directory.range("") == Snapshot([], Revision(1))


async def test_a_swap_whose_reply_is_lost_was_made_and_says_that_it_is_in_doubt() -> None:
    directory = MemoryDirectory(ManualClock())
    directory.lose_reply_next()
    assert await failure(directory.swap([Unchanged("a", Revision(0))], [Put("a", b"1")])) == (
        "DIRECTORY_UNAVAILABLE",
        True,
    )
    assert await directory.get("a") == Entry("a", b"1", Revision(2))


async def test_a_lease_lapses_by_the_clock_given() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    lease = await directory.grant(10)
    await directory.swap([], [Put("a", b"1", lease)])
    await clock.advance(9_999)
    assert await directory.keep_alive(lease)
    await clock.advance(9_999)
    assert await directory.get("a") is not None
    await clock.advance(1)
    assert await directory.get("a") is None
    assert not await directory.keep_alive(lease)


async def test_a_paused_watch_tells_later_what_it_missed_and_a_broken_one_ends() -> None:
    directory = MemoryDirectory(ManualClock())
    watch = directory.watch("", Revision(1))
    assert await anext(watch) == Changes((), (), Revision(1))
    directory.pause_watches()
    await directory.swap([], [Put("a", b"1")])
    await directory.swap([], [Put("b", b"2")])
    directory.resume_watches()
    assert await anext(watch) == Changes([Entry("a", b"1", Revision(2))], [], Revision(2))
    assert await anext(watch) == Changes([Entry("b", b"2", Revision(3))], [], Revision(3))
    directory.break_watches()
    assert await failure(anext(watch)) == ("DIRECTORY_UNAVAILABLE", False)
