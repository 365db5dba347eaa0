"""Memory is dealt out and kept: the tail is compacted early, then slowed, then refused, and others have room."""

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.settings import Settings
from evenshard.shard.build import storage_settings
from evenshard.storage.indexing import merge_limits
from evenshard.storage.memory import BACKLOG_FULL, MEMORY_BYTES_MIN, MemoryBudget, TailAccount
from evenshard.storage.segment.value_keys import KEY_BYTES, KEYS_MAX
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of


@pytest.mark.parametrize("memory_bytes", [0, MEMORY_BYTES_MIN, 1 << 30, 1 << 36])
def test_all_parts_together_are_what_is_set(memory_bytes: int) -> None:
    budget = MemoryBudget.of(memory_bytes)
    parts = [budget.base, budget.tail, budget.compaction, budget.queue, budget.cache, budget.columns, budget.scans]
    assert max(memory_bytes, MEMORY_BYTES_MIN) - 64 < sum(parts) <= max(memory_bytes, MEMORY_BYTES_MIN)
    assert 0 < budget.value_keys_bytes <= KEYS_MAX * KEY_BYTES
    assert budget.value_keys_bytes + 8 * budget.window_bytes <= budget.compaction
    limits = merge_limits(storage_settings(Settings(shard_memory_bytes=max(memory_bytes, MEMORY_BYTES_MIN))))
    assert (limits.window_bytes, limits.value_keys) == (budget.window_bytes, budget.value_keys_bytes // KEY_BYTES)


def test_the_largest_are_compacted_early_and_each_may_hold_as_much_as_is_free() -> None:
    account = TailAccount(100)
    account.note("a", 30)
    account.note("b", 20)
    assert (account.largest(), account.pressure("a"), account.pressure("c")) == (set(), 30 / 50, 0.0)
    account.note("c", 5)
    assert account.largest() == {"a"}
    account.note("b", 40)
    assert (account.largest(), account.bytes) == ({"a", "b"}, 75)
    assert account.pressure("b") == 40 / 25
    account.note("a", 0)
    account.note("b", 0)
    assert (account.bytes, account.held_by("a"), account.held_by("c")) == (5, 0, 5)


def rows(first: int, count: int) -> list[Event]:
    return [Event("e", f"u{each}", 1_767_225_600_000 + each, f"i{each}") for each in range(first, first + count)]


def test_the_tail_is_accounted_with_its_identities_until_it_is_indexed_also_after_a_restart() -> None:
    disk, clock = MemoryDisk(), ManualClock()
    settings = StorageSettings(tail_bytes=1 << 20, compact_rows=1 << 30)
    store = Store.open(disk, clock, ShardId("s"), settings, lambda _: None)

    def append(tenant: str, first: int, count: int) -> None:
        (done,) = store.append([append_of(rows(first, count), tenant)])
        assert not isinstance(done, EvenshardError), done

    def tail_bytes() -> int:
        (part,) = [part for part in store.memory() if part.part == "tail"]
        assert part.bytes_max == 1 << 20
        return part.bytes

    append("a", 0, 1000)
    one = tail_bytes()
    assert 1000 * (16 + 8) < one < 1000 * 300
    append("a", 1000, 3000)
    append("b", 0, 10)
    assert store.backlog(TenantId("b")) < 1 < BACKLOG_FULL / 4 < store.backlog(TenantId("a"))
    while store.sort_tail(TenantId("a")):
        pass
    held = tail_bytes()
    store.close()
    store = Store.open(disk, clock, ShardId("s"), settings, lambda _: None)
    assert 0.5 * held < tail_bytes() < 2 * held
    append("a", 4000, 8000)
    assert store.backlog(TenantId("a")) >= BACKLOG_FULL
    assert store.backlog(TenantId("b")) < 2
    assert store.due(clock.now_ms()) == [TenantId("a")]
    store.compact(TenantId("a"), pace=lambda _: append("a", 0, 10))
    assert store.backlog(TenantId("a")) < 2
    assert 0 < tail_bytes() < 20_000
    (again,) = store.append([append_of(rows(0, 12_000), "a")])
    assert not isinstance(again, EvenshardError)
    assert np.all(again.duplicates)
    (cache,) = [part for part in store.memory() if part.part == "cache"]
    assert 0 < cache.bytes <= cache.bytes_max == settings.identity_cache_bytes
    store.close()
