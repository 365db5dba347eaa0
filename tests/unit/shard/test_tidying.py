"""The tail is sorted while nobody asks, and in the end all the same."""

import asyncio
import queue
from typing import Any

from evenshard.ids import TenantId
from evenshard.shard.tidying import LOOK_EVERY_MS, WAIT_EVERY_MS, WAIT_MS_MAX, TailSorter
from evenshard.testing.clock import ManualClock

DEADLINE_S = 5


class Sorting:
    """Stands for a store whose tail takes some runs."""

    def __init__(self, runs: int) -> None:
        self.left = runs
        self.began: queue.Queue[TenantId] = queue.Queue()

    def sort_tail(self, tenant: TenantId) -> bool:
        self.left -= 1
        self.began.put(tenant)
        return self.left > 0

    async def next(self) -> TenantId:
        return await asyncio.to_thread(self.began.get, timeout=DEADLINE_S)


async def test_a_run_waits_while_queries_are_answered_though_not_for_ever() -> None:
    clock, answering = ManualClock(), [True]
    store: Any = Sorting(3)
    sorter = TailSorter(store, clock, lambda: answering[0])
    sorter.start()
    sorter.appended(TenantId("acme"))
    await clock.advance(LOOK_EVERY_MS)
    await clock.advance(WAIT_MS_MAX - WAIT_EVERY_MS)
    assert store.left == 3
    await clock.advance(WAIT_EVERY_MS)
    assert await store.next() == "acme"
    answering[0] = False
    await clock.advance(WAIT_EVERY_MS)
    assert [await store.next(), await store.next()] == ["acme", "acme"]
    await sorter.close()
    assert (store.left, store.began.empty()) == (0, True)
