"""Generators of a thread, read from the loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from evenshard.shard.threads import settled, steps


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPoolExecutor]:
    made = ThreadPoolExecutor(max_workers=1)
    yield made
    await asyncio.to_thread(made.shutdown)


class Source:
    """Counts up; remembers how far it got, on which threads, and its end."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.count = count
        self.fails_at = fails_at
        self.made = 0
        self.closed = threading.Event()
        self.threads: set[int] = set()
        self.generator = self._run()
        """Held here, so that nothing but ``close`` ends it."""

    def run(self) -> Generator[int, None, None]:
        return self.generator

    def _run(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                self.threads.add(threading.get_ident())
                if number == self.fails_at:
                    raise ValueError("as told")
                self.made += 1
                yield number
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


async def test_all_is_read_in_order_off_the_loop(pool: ThreadPoolExecutor) -> None:
    source = Source(20)
    assert [number async for number in steps(pool, source.run)] == list(range(20))
    assert threading.get_ident() not in source.threads
    assert source.closed.is_set()


async def test_the_thread_is_never_more_than_one_step_ahead(pool: ThreadPoolExecutor) -> None:
    source = Source(1000)
    read = 0
    async for _ in steps(pool, source.run):
        read += 1
        await asyncio.sleep(0.002)
        assert source.made <= read + 1
        if read == 20:
            break


async def test_a_reader_that_leaves_closes_the_source_in_the_pool(pool: ThreadPoolExecutor) -> None:
    source = Source(1000)
    numbers = steps(pool, source.run)
    assert await anext(numbers) == 0
    await numbers.aclose()
    assert await asyncio.to_thread(source.closed.wait, 2)
    assert threading.get_ident() not in source.threads
    assert source.made <= 2


async def test_a_cancelled_reader_closes_the_source(pool: ThreadPoolExecutor) -> None:
    source = Source(10**9)

    async def read() -> None:
        async for _ in steps(pool, source.run):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(source.closed.wait, 2)


async def test_an_error_reaches_the_reader_after_what_came_before(pool: ThreadPoolExecutor) -> None:
    source = Source(10, fails_at=3)
    numbers = steps(pool, source.run)
    assert [await anext(numbers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="as told"):
        await anext(numbers)
    assert source.closed.is_set()


async def test_who_stops_waiting_does_not_cancel_the_work() -> None:
    future: Future[int] = Future()
    task = asyncio.create_task(settled(future))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not future.cancelled()
    future.set_result(3)
    assert await settled(future) == 3
