"""Users of sorted lists are numbered, and rows put together by user, as sets and a stable sort would."""

import numpy as np
import pytest
from evenshard.events import user_runs
from evenshard.events.united import united
from evenshard.events.user_runs import runs_of
from evenshard.events.users import NO_PEOPLE, People
from hypothesis import given
from hypothesis import strategies as st

HASHES = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1]
user = st.tuples(
    st.sampled_from(HASHES) | st.integers(0, (1 << 64) - 1), st.sampled_from([b"a", b"ab", b"longer than eight", b"b"])
)
lists = st.lists(st.sets(user, max_size=40).map(sorted), max_size=6)


def people(users: list[tuple[int, bytes]]) -> People:
    ends = np.cumsum([0, *(len(name) for _, name in users)], dtype=np.int64)
    data = np.frombuffer(b"".join(name for _, name in users), np.uint8)
    return People(np.array([each for each, _ in users], np.uint64), ends, data)


def users_in(found: People) -> list[tuple[int, bytes]]:
    data, ends = found.data.tobytes(), found.offsets.tolist()
    return [(each, data[a:b]) for each, a, b in zip(found.hashes.tolist(), ends, ends[1:], strict=False)]


@given(lists, lists)
def test_a_number_is_a_place_among_all_users_in_order(
    first: list[list[tuple[int, bytes]]], second: list[list[tuple[int, bytes]]]
) -> None:
    known = united(NO_PEOPLE, [people(each) for each in first]).people
    before = users_in(known)
    assert before == sorted({each for some in first for each in some})
    found = united(known, [people(each) for each in second])
    every = users_in(found.people)
    assert every == sorted({*before, *(each for some in second for each in some)})
    for users, numbers in zip([before, *second], found.numbers, strict=True):
        places = list(range(len(users))) if numbers is None else numbers.tolist()
        assert [every[place] for place in places] == users


runs = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 6), st.integers(0, 2)), max_size=60)


@pytest.mark.parametrize("factor", [1, 1000])
@given(runs, st.data())
def test_rows_are_put_together_by_user_and_time_and_else_stay_as_they_are(
    factor: int, drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    gaps = [gap for _, _, gap in drawn]
    lengths = [length + 1 for length, _, _ in drawn]
    ends = np.cumsum([gap + length for gap, length in zip(gaps, lengths, strict=True)], dtype=np.int32)
    starts = (ends - np.array(lengths, np.int32)).astype(np.int32)
    numbers = np.array([number * factor if number > 0 else number for _, number, _ in drawn], np.int32)
    size = int(ends[-1]) if drawn else 0
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), np.int64)
    found = runs_of(starts, ends, numbers, times)
    rows = [
        (number, times[row], row)
        for start, end, number in zip(starts.tolist(), ends.tolist(), numbers.tolist(), strict=True)
        for row in range(start, end)
        if number >= 0
    ]
    told = [
        (number, times[row], row)
        for start, end, number in zip(found.starts, found.ends, found.numbers.tolist(), strict=True)
        for row in (range(start, end) if found.order is None else found.order[start:end].tolist())
    ]
    assert told == sorted(rows)
    assert (np.diff(found.numbers) > 0).all()


def test_many_rows_of_one_user_are_put_in_order_of_time() -> None:
    rng = np.random.default_rng(3)
    size = 40 * user_runs._INSERTED_MAX
    times = rng.integers(0, size // 4, size)
    starts = np.arange(size, dtype=np.int32)
    found = runs_of(starts, starts + np.int32(1), (starts % 2).astype(np.int32), times)
    assert found.order is not None
    assert found.order.tolist() == np.lexsort((times, starts % 2)).tolist()
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, size // 2], [size // 2, size])
