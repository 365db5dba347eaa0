"""The election on a clock that stands still: how long a lease is trusted, what a failing directory does."""

import asyncio

from evenshard.ids import Revision
from evenshard.ports.directory import Delete, Put, Unchanged
from evenshard.runtime.election import LOOK_EVERY_MS, TTL_S, Election, Term
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.rng import SeededRng

KEY = "/leader"


class Candidate:
    def __init__(self, directory: MemoryDirectory, clock: ManualClock, name: str, seed: int) -> None:
        self.terms: list[Term] = []
        self.leading = False
        self.fails = False
        self.election = Election(directory, clock, SeededRng(seed), KEY, name, self.lead)
        self.election.start()

    async def lead(self, term: Term) -> None:
        self.terms.append(term)
        self.leading = True
        try:
            if self.fails:
                raise ValueError("a defect")
            await asyncio.Event().wait()
        finally:
            self.leading = False


async def test_a_leader_keeps_leading_and_there_is_one() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    candidates = [Candidate(directory, clock, f"router-{number}", number) for number in range(3)]
    for _ in range(600):
        await clock.advance(500)
        assert sum(candidate.leading for candidate in candidates) == 1
    assert sum(len(candidate.terms) for candidate in candidates) == 1
    for candidate in candidates:
        await candidate.election.close()
    assert await directory.get(KEY) is None


async def test_a_leader_whose_directory_is_away_stops_when_its_lease_may_have_lapsed() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    candidate = Candidate(directory, clock, "router-0", 0)
    await clock.advance(100)
    assert candidate.leading
    directory.go_away()
    await clock.advance(TTL_S * 500)
    assert candidate.leading
    await clock.advance(TTL_S * 1000)
    assert not candidate.leading
    directory.come_back()
    await clock.advance(LOOK_EVERY_MS + 100)
    assert candidate.leading
    assert candidate.terms[0].condition.revision < candidate.terms[1].condition.revision
    await candidate.election.close()


async def test_a_leader_whose_key_is_taken_stops_though_its_lease_lives() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    candidate = Candidate(directory, clock, "router-0", 0)
    await clock.advance(100)
    await directory.swap([], [Put(KEY, b'{"leader": "router-9"}')])
    await clock.advance(TTL_S * 250)
    assert not candidate.leading
    await clock.advance(60_000)
    assert len(candidate.terms) == 1
    await directory.swap([], [Delete(KEY)])
    await clock.advance(LOOK_EVERY_MS + 100)
    assert candidate.leading
    await candidate.election.close()


async def test_a_lost_reply_of_the_winning_swap_costs_one_look() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    directory.lose_reply_next()
    candidate = Candidate(directory, clock, "router-0", 0)
    await clock.advance(100)
    assert not candidate.leading
    await clock.advance(LOOK_EVERY_MS)
    assert candidate.leading
    held = await directory.get(KEY)
    assert held is not None
    assert candidate.terms[0].condition == Unchanged(KEY, Revision(held.revision))
    await candidate.election.close()


async def test_a_defect_while_leading_gives_way_to_another_try() -> None:
    clock = ManualClock()
    directory = MemoryDirectory(clock)
    candidate = Candidate(directory, clock, "router-0", 0)
    candidate.fails = True
    await clock.advance(TTL_S * 1000)
    candidate.fails = False
    await clock.advance(TTL_S * 1000)
    assert candidate.leading
    assert len(candidate.terms) > 1
    await candidate.election.close()
