"""How many queries of a tenant run, wait, share, and are refused."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from evenshard.errors import EvenshardError
from evenshard.gateway.admission import Admission, QueryLimits
from evenshard.gateway.scatter import Deadline
from evenshard.testing.clock import ManualClock


class Work:
    """Runs until it is let go."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.started += 1
        number = self.started
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def settled() -> None:
    """Everything that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


def admission(
    at_once: int = 1, waiting: int = 2, per_second: int = 0
) -> tuple[Admission, Callable[..., Awaitable[int]]]:
    clock = ManualClock()
    made = Admission(clock, QueryLimits(at_once, waiting, per_second))

    async def ask(question: str, work: Work, seconds: float = 60.0, tenant: str = "acme") -> int:
        return await made.run(tenant, question, Deadline.in_s(clock, seconds), work)

    return made, ask


async def test_equal_questions_share_one_that_waits_and_never_one_that_runs() -> None:
    _, ask = admission()
    work = Work()
    running = asyncio.create_task(ask("q", work))
    await settled()
    waiting = [asyncio.create_task(ask("q", work)) for _ in range(3)]
    await settled()
    assert work.started == 1
    work.go.set()
    assert await running == 1
    assert await asyncio.gather(*waiting) == [2, 2, 2]


async def test_so_many_run_at_once_in_the_order_they_came_and_other_tenants_beside_them() -> None:
    _, ask = admission(at_once=2, waiting=5)
    works = [Work() for _ in range(5)]
    tasks = [asyncio.create_task(ask(str(number), work)) for number, work in enumerate(works)]
    other = Work()
    elsewhere = asyncio.create_task(ask("0", other, tenant="other"))
    await settled()
    assert [work.started for work in works] == [1, 1, 0, 0, 0]
    assert other.started == 1
    for done, work in enumerate(works):
        work.go.set()
        await tasks[done]
        await settled()
        assert [each.started for each in works] == [1] * min(5, done + 3) + [0] * max(0, 2 - done)
    other.go.set()
    await elsewhere


async def test_one_too_many_is_refused_and_told_when_to_come_again() -> None:
    _, ask = admission(waiting=1)
    work = Work()
    tasks = [asyncio.create_task(ask("a", work)), asyncio.create_task(ask("b", work))]
    await settled()
    with pytest.raises(EvenshardError) as refused:
        await ask("c", work)
    assert (refused.value.code, refused.value.retry_after_ms) == ("LIMIT_EXCEEDED", 1000)
    joined = asyncio.create_task(ask("b", work))
    await settled()
    work.go.set()
    assert await asyncio.gather(*tasks, joined) == [1, 2, 2]


async def test_a_turn_that_does_not_come_in_time_is_given_up_and_leaves_no_trace() -> None:
    made, ask = admission()
    running, late = Work(), Work()
    first = asyncio.create_task(ask("a", running))
    await settled()
    with pytest.raises(EvenshardError, match="DEADLINE_EXCEEDED"):
        await ask("b", late, seconds=0.02)
    running.go.set()
    await first
    await settled()
    assert late.started == 0
    assert made._tenants == {}


async def test_a_query_goes_on_while_anybody_waits_for_it_and_no_longer() -> None:
    made, ask = admission()
    first, shared = Work(), Work()
    running = asyncio.create_task(ask("a", first))
    await settled()
    one, two = asyncio.create_task(ask("b", shared)), asyncio.create_task(ask("b", shared))
    await settled()
    one.cancel()
    first.go.set()
    await running
    await settled()
    assert (shared.started, shared.cancelled) == (1, 0)
    two.cancel()
    await settled()
    assert (shared.started, shared.cancelled) == (1, 1)
    assert made._tenants == {}


async def test_places_survive_every_order_of_leaving() -> None:
    made, ask = admission(at_once=1, waiting=10)
    for gone in range(6):
        works = [Work() for _ in range(6)]
        tasks = [asyncio.create_task(ask(str(number), work)) for number, work in enumerate(works)]
        await settled()
        tasks[gone].cancel()
        if gone % 2:
            await settled()
        for work in works:
            work.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settled()
        assert [work.started for number, work in enumerate(works) if number != gone] == [1] * 5
        assert made._tenants == {}


async def test_a_tenant_whose_queries_read_too_much_waits_until_it_is_paid_for() -> None:
    clock = ManualClock()
    made = Admission(clock, QueryLimits(4, 4, 1000))

    async def ask(size: int, tenant: str = "acme") -> None:
        async def work() -> int:
            return 0

        await made.run(tenant, "q", Deadline.in_s(clock, 60), work)
        made.paid(tenant, size)

    await ask(5000)
    with pytest.raises(EvenshardError) as refused:
        await ask(1)
    assert refused.value.code == "LIMIT_EXCEEDED"
    assert refused.value.retry_after_ms == 4000
    await ask(9000, "other")
    await clock.advance(4000)
    await ask(1)
