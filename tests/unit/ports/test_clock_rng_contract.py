"""What every ``Clock`` and ``Rng`` promises."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from evenshard.ports.clock import Clock
from evenshard.ports.rng import Rng
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.rng import SystemRng
from evenshard.testing.clock import START_MS, ManualClock
from evenshard.testing.rng import SeededRng


@dataclass
class Timed:
    clock: Clock
    pass_ms: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["system", "manual"])
def timed(request: pytest.FixtureRequest) -> Timed:
    if request.param == "manual":
        manual = ManualClock()
        return Timed(manual, manual.advance)

    async def wait(duration_ms: float) -> None:
        await asyncio.sleep(duration_ms / 1000)

    return Timed(SystemClock(), wait)


async def test_sleep_takes_at_least_its_time(timed: Timed) -> None:
    async def sleeper(duration_ms: float) -> float:
        start_ms = timed.clock.monotonic_ms()
        await timed.clock.sleep(duration_ms)
        return timed.clock.monotonic_ms() - start_ms

    tasks = [asyncio.create_task(sleeper(duration_ms)) for duration_ms in (50, 0, 7.5, -3)]
    await timed.pass_ms(100)
    slept_ms = await asyncio.gather(*tasks)
    assert [slept >= asked for slept, asked in zip(slept_ms, (50, 0, 7.5, -3), strict=True)] == [True] * 4
    assert max(slept_ms) < 100


async def test_the_monotonic_clock_never_goes_back_and_moves(timed: Timed) -> None:
    seen = []
    for _ in range(5):
        seen.append(timed.clock.monotonic_ms())
        await timed.pass_ms(2)
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] >= 8


async def test_the_wall_clock_counts_from_the_epoch(timed: Timed) -> None:
    before_ms = timed.clock.now_ms()
    assert before_ms >= START_MS - 366 * 86_400_000
    await timed.pass_ms(20)
    assert 20 <= timed.clock.now_ms() - before_ms < 5000


async def test_a_cancelled_sleeper_is_forgotten(timed: Timed) -> None:
    task = asyncio.create_task(timed.clock.sleep(10_000))
    await timed.pass_ms(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await timed.pass_ms(10)


async def test_advance_wakes_each_at_its_own_time() -> None:
    clock, woken = ManualClock(), []

    async def repeat(every_ms: float) -> None:
        while True:
            await clock.sleep(every_ms)
            woken.append((clock.monotonic_ms(), every_ms))

    tasks = [asyncio.create_task(repeat(every_ms)) for every_ms in (30, 50)]
    await clock.advance(100)
    for task in tasks:
        task.cancel()
    assert woken == [(30, 30), (50, 50), (60, 30), (90, 30), (100, 50)]


@pytest.mark.parametrize("rng", [SystemRng(), SeededRng(7)], ids=["system", "seeded"])
def test_chance_is_uniform_and_tokens_differ(rng: Rng) -> None:
    values = [rng.random() for _ in range(2000)]
    assert all(0 <= value < 1 for value in values)
    assert 0.4 < sum(values) / len(values) < 0.6
    tokens = {rng.token_hex(8) for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 16 and int(token, 16) >= 0 for token in tokens)


def test_the_same_seed_gives_the_same_chance() -> None:
    one, two = SeededRng(3), SeededRng(3)
    assert [one.random(), one.token_hex(4)] == [two.random(), two.token_hex(4)]
