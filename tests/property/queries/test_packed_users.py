"""Users that fit only packed are numbered as those that fit as they are, whatever comes and goes."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.packed_runs import packed
from evenshard.events.user_runs import UserRuns, runs_of
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.runs import own_runs
from evenshard.storage.columns.users import Source, Users, users_of
from evenshard.storage.log.frame import checksum
from hypothesis import given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
SOURCES = 16


def plainly(runs: UserRuns) -> list[object]:
    arrays = [runs.starts, runs.ends, runs.numbers, *([] if runs.order is None else [runs.order])]
    assert {each.dtype for each in arrays} == {np.dtype(np.int32)}
    return [each.tolist() for each in arrays]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(-1, 70_000)), max_size=40),
    st.sampled_from([1, 300]),
    st.booleans(),
)
def test_packed_runs_come_back_as_they_were(runs: list[tuple[int, int]], longer: int, in_order: bool) -> None:
    """Runs of nobody between them, long ones, users met twice, rows that are not by time."""
    ends = np.cumsum([length * (longer if at == 0 else 1) for at, (length, _) in enumerate(runs)], dtype=np.int32)
    starts = np.concatenate((np.zeros(min(1, ends.size), np.int32), ends[:-1]))
    numbers = np.array([number for _, number in runs], np.int32)
    rows = int(ends[-1]) if ends.size else 0
    times = np.arange(rows) if in_order else np.arange(rows) % 7
    expected = runs_of(starts, ends, numbers, times)
    again = packed(expected).unpacked()
    assert plainly(again) == plainly(expected)
    assert all(each.flags.c_contiguous for each in (again.starts, again.ends, again.numbers))


def numbered(cache: ColumnCache, sources: list[Source], live: set[object], seq: int) -> Users:
    return users_of(cache, cache.begin(), ACME, sources, lambda key: key in live, seq)


def rows_of(users: Users, key: int) -> dict[bytes, list[int]]:
    """Of a source, by user."""
    runs, people = users.runs[key], users.people
    order = np.arange(int(runs.ends.max(initial=0))) if runs.order is None else runs.order
    return {
        people.data[people.offsets[number] : people.offsets[number + 1]].tobytes(): order[start:end].tolist()
        for start, end, number in zip(runs.starts, runs.ends, runs.numbers, strict=True)
    }


def sources_of(random: Random) -> list[Source]:
    """Some in the order of segments, some in none."""
    made = []
    for key in range(SOURCES):
        ids = random.choices([f"user-{number:04d}" for number in range(600)], k=random.randint(100, 900))
        ids.sort(key=(lambda name: checksum(name.encode())) if key % 8 else None)
        made.append(Source(key, lambda ids=ids: own_runs([pa.array(ids)], np.arange(len(ids)))))  # type: ignore[misc]
    return made


@pytest.mark.parametrize("seed", range(10))
def test_users_that_fit_only_packed_are_numbered_as_those_that_fit_as_they_are(seed: int) -> None:
    random = Random(seed)
    sources = sources_of(random)
    large, seq, live = ColumnCache(1 << 30), 0, set[object]()
    numbered(large, sources, set(range(SOURCES)), -1)
    small = ColumnCache(large.bytes * 3 // 4)
    wanted: list[int] = []
    packed_times = 0
    for _ in range(10):
        wanted = sorted({*random.sample(wanted, max(0, len(wanted) - 1)), *random.sample(range(SOURCES), 6)})
        seq += random.random() < 0.2
        live = {*wanted, *(key for key in live if random.random() < 0.5)}
        asked = [sources[key] for key in wanted]
        one, other = (numbered(cache, asked, live, seq) for cache in (large, small))
        for key in wanted:
            assert rows_of(one, key) == rows_of(other, key), f"seed {seed}"
        packed_times += small.bytes < large.bytes
    assert packed_times, "the small cache held them as they are"


def test_what_does_not_fit_even_packed_is_refused() -> None:
    ids = pa.array([f"user-{number:05d}" for number in range(3_000)])
    source = Source("a", lambda: own_runs([ids], np.arange(3_000)))
    with pytest.raises(EvenshardError, match="the 3000 users of acme on this shard need"):
        numbered(ColumnCache(20_000), [source], set(), 0)
