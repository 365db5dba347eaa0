"""Whoever is elected leads alone, on either directory; what a former leader writes is refused."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from evenshard.ports.directory import Directory, Put
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.election import Election, Term
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.etcd import EtcdProcess
from evenshard.testing.mortal import Life, MortalDirectory
from evenshard.testing.rng import SeededRng

PATIENCE_S = 20.0
TTL_S = 2


@dataclass
class World:
    """Candidates for one key."""

    directory: Directory
    key: str
    terms: list[Term] = field(default_factory=list)
    leading: set[str] = field(default_factory=set)
    candidates: dict[str, tuple[Election, Life]] = field(default_factory=dict)

    def candidate(self, name: str) -> Life:
        life = Life()

        async def lead(term: Term) -> None:
            self.terms.append(term)
            self.leading.add(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.leading.discard(name)

        number = len(self.candidates)
        directory = MortalDirectory(self.directory, life)
        election = Election(directory, SystemClock(), SeededRng(number), self.key, name, lead, TTL_S)
        election.start()
        self.candidates[f"{name} {number}"] = election, life
        return life

    async def until(self, met: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not met():
                await SystemClock().sleep(20)

    async def writes(self, term: Term, value: bytes) -> bool:
        return (await self.directory.swap([term.condition], [Put(self.key + "-written", value)])).swapped


@pytest.fixture(params=["memory", "etcd"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    directory: Directory
    if request.param == "memory":
        directory = MemoryDirectory(SystemClock())
    else:
        process: EtcdProcess = request.getfixturevalue("etcd")
        directory = EtcdDirectory([process.address])
    made = World(directory, f"/{uuid.uuid4().hex}/leader")
    yield made
    for election, life in made.candidates.values():
        life.bury()
        await election.close()
    await directory.close()


async def test_one_leads_and_a_clean_stop_hands_over(world: World) -> None:
    world.candidate("a")
    await world.until(lambda: world.terms)
    world.candidate("b")
    first = world.terms[0]
    assert await world.writes(first, b"1")
    election, _ = world.candidates.pop("a 0")
    await election.close()
    await world.until(lambda: world.leading == {"b"})
    assert [term.leader for term in world.terms] == ["a", "b"]
    assert not await world.writes(first, b"2")
    assert await world.writes(world.terms[1], b"3")


async def test_a_leader_that_fell_still_is_followed_and_writes_nothing_any_more(world: World) -> None:
    life = world.candidate("a")
    await world.until(lambda: world.terms)
    life.arm(1, "late")
    world.candidate("b")
    await world.until(lambda: len(world.terms) == 2)
    assert not await world.writes(world.terms[0], b"1")
    life.wake()
    await world.until(lambda: world.leading == {"b"})
    assert await world.writes(world.terms[1], b"2")
    assert [term.leader for term in world.terms] == ["a", "b"]


async def test_a_restarted_process_takes_its_own_key_over_at_once(world: World) -> None:
    life = world.candidate("a")
    await world.until(lambda: world.terms)
    life.arm(1, "before")
    world.candidate("a")
    await world.until(lambda: len(world.terms) == 2)
    assert not await world.writes(world.terms[0], b"1")
    assert await world.writes(world.terms[1], b"2")
