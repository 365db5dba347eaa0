"""The tail is sorted while nobody asks, and in the end all the same."""

import asyncio
import queue
from typing import Any

from evenshard.ids import TenantId
from evenshard.shard.tidying import LOOK_EVERY_MS, START_REST_MS, WAIT_EVERY_MS, WAIT_MS_MAX, TailSorter
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


async def test_users_are_numbered_once_what_was_replayed_is_sorted_and_after_no_other_append() -> None:
    clock, numbered = ManualClock(), queue.Queue[tuple[TenantId, int]]()
    store: Any = Sorting(2)
    sorter = TailSorter(store, clock, lambda: False, lambda tenant: numbered.put((tenant, store.left)))
    sorter.replayed(TenantId("acme"))
    sorter.start()
    for _ in range(START_REST_MS // LOOK_EVERY_MS - 1):
        await clock.advance(LOOK_EVERY_MS)
    assert store.left == 2
    await clock.advance(LOOK_EVERY_MS)
    assert await asyncio.to_thread(numbered.get, timeout=DEADLINE_S) == ("acme", 0)
    store.left = 2
    while not store.began.empty():
        store.began.get()
    sorter.appended(TenantId("acme"))
    await clock.advance(LOOK_EVERY_MS)
    assert [await store.next(), await store.next()] == ["acme", "acme"]
    await sorter.close()
    assert (store.left, numbered.empty()) == (0, True)
