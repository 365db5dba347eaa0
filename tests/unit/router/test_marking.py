"""Marks reach the directory: whatever becomes of one, those behind it are written."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from evenshard.directory.keys import MARKS
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.ids import Revision, TenantId
from evenshard.ports.directory import Put, SwapResult
from evenshard.router.marking import MarkWriter
from evenshard.testing.clock import ManualClock
from evenshard.testing.rng import SeededRng

MARK = Mark("rewrite", 500, 501, "nonce")
DAY = 20_000


class Swaps:
    """A directory that only swaps, and fails as told: by the user in the mark's key, so many times."""

    def __init__(self, failures: dict[str, tuple[Exception, int]]) -> None:
        self.failures = failures
        self.written: list[str] = []
        self.tries = 0

    async def swap(self, conditions: Any, writes: Sequence[Put], *, timeout_s: float) -> SwapResult:
        self.tries += 1
        key = writes[0].key
        for user, (error, times) in self.failures.items():
            if user in key and times:
                self.failures[user] = error, times - 1
                raise error
        self.written.append(key)
        return SwapResult(True, Revision(self.tries))


async def written(failures: dict[str, tuple[Exception, int]]) -> tuple[list[str], int]:
    """Which users' marks are written of those of a, b and c, and in how many tries."""
    directory, clock = Swaps(failures), ManualClock()
    writer = MarkWriter(cast(Any, directory), clock, SeededRng(1))
    writer.start()
    keys: list[HotKey] = [(TenantId("acme"), f"user-{name}", DAY) for name in "abc"]
    for key in keys:
        writer.write(key, MARK)
    for _ in range(40):
        await clock.advance(500)
    await asyncio.wait_for(writer.close(), 10)
    assert all(key.startswith(MARKS) for key in directory.written)
    return [name for name in "abc" if any(f"user-{name}" in key for key in directory.written)], directory.tries


async def test_marks_are_written() -> None:
    assert await written({}) == (["a", "b", "c"], 3)


async def test_a_mark_waits_for_the_directory() -> None:
    away = EvenshardError("DIRECTORY_UNAVAILABLE", "as told")
    assert away.retryable
    assert await written({"user-a": (away, 3)}) == (["a", "b", "c"], 6)


async def test_a_mark_that_is_refused_for_good_holds_up_nobody() -> None:
    refused = EvenshardError("QUERY_INVALID", "as told")
    assert not refused.retryable
    assert await written({"user-b": (refused, 1_000)}) == (["a", "c"], 3)


@pytest.mark.parametrize("user", ["user-a", "user-c"])
async def test_a_defect_costs_the_mark_that_met_it(user: str) -> None:
    expected = [name for name in "abc" if not user.endswith(name)]
    assert await written({user: (ZeroDivisionError("a defect"), 1_000)}) == (expected, 3)
