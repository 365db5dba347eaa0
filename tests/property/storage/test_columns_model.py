"""Parts out of the cache of columns hold exactly the rows that a scan reads from the files, whatever range of times and
slots is asked for, whatever fits into the cache, however segments are cut; and say whose they are."""

from typing import Any

import numpy as np
import pytest
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.columns import segment
from evenshard.storage.segment import writer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.storage.tail import runs
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, act_on, events_of_parts, stored_events
from hypothesis import given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
DAY_MS = 86_400_000
BASE_MS = 20_000 * DAY_MS
USERS = ["", "ann", "bob", "cy", "größe", "a" * 70]

events = st.builds(
    Event,
    st.sampled_from(["view", "buy"]),
    st.sampled_from(USERS),
    st.integers(0, 3 * 24).map(lambda hour: BASE_MS + hour * 3_600_000),
    st.sampled_from([None, "x", "y"]),
    st.sampled_from([{}, {"i:n": 1}, {"s:n": "text", "b:long name": True}]),
)
acts = st.one_of(
    st.tuples(st.just("append"), st.lists(events, min_size=1, max_size=25), st.booleans()),
    st.sampled_from([("compact",), ("sort",), ("ask",)]),
    st.tuples(st.just("delete"), st.sampled_from(USERS[1:])),
    st.tuples(st.just("expire"), st.integers(0, 40)),
)
questions = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 1 << 30)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.lists(acts, max_size=14), questions, st.sampled_from([3_000, 1 << 20]), st.integers(1, 9))
def test_parts_hold_the_rows_of_a_scan(
    done: list[tuple[Any, ...]], asked: list[tuple[int, int, int]], cache_bytes: int, group_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "LOOSE_BLOCKS_MAX", 2)
        patch.setattr(writer, "ROW_GROUP_ROWS", group_rows)
        patch.setattr(segment, "PART_ROWS_MAX", 2 * group_rows)
        store = Store.open(
            MemoryDisk(), ManualClock(), ShardId("s"), StorageSettings(column_cache_bytes=cache_bytes), lambda _: None
        )
        for number, act in enumerate(done):
            match act:
                case ("expire", hours):
                    store.raise_horizon(ACME, Epoch(1), BASE_MS + hours * 3_600_000)
                case ("ask",):
                    with store.snapshot(ACME) as snapshot:
                        events_of_parts(snapshot)
                case _:
                    act_on(store, ACME, number, act)
        for first, last, seed in asked:
            start_ms, end_ms = BASE_MS + first * 3_600_000, BASE_MS + last * 3_600_000
            owned = np.random.default_rng(seed).random(SLOT_COUNT) < 0.5 if seed % 3 else None
            with store.snapshot(ACME, owned) as snapshot:
                expected = stored_events(snapshot.scan(FIELD_NAMES, None, start_ms, end_ms))
                assert events_of_parts(snapshot, start_ms, end_ms) == expected
        store.close()
