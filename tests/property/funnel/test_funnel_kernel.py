"""The kernel finds what naive search finds: events with many ties, steps that repeat and share events, up to 32."""

import numpy as np
from evenshard.queries.funnel_kernel import STEPS_MAX, best_attempts
from evenshard.queries.funnel_plain_kernel import follow
from evenshard.testing.funnel_reference import Ask, Event, attempts
from hypothesis import given, settings
from hypothesis import strategies as st


def kernel_attempts(users: list[list[tuple[int, int]]], steps: int, window: int, entries: list[int]) -> list[list[int]]:
    """For each user (rows of (time, mask), in order) the indices of the rows that fill its steps."""
    orders = [sorted(range(len(rows)), key=lambda at: (rows[at][0], rows[at][1] & -rows[at][1])) for rows in users]
    starts = np.append(0, np.cumsum([len(rows) for rows in users])).astype(np.int64)
    ordered = [rows[at] for rows, order in zip(users, orders, strict=True) for at in order]
    times, masks = np.array([time for time, _ in ordered], np.int64), np.array([mask for _, mask in ordered], np.uint64)
    levels, filled = np.full(len(users), -1, np.int8), np.full(len(times), -1, np.int32)
    total = best_attempts(starts, times, masks, steps, window, np.array(entries, np.int64), levels, filled)
    assert total == levels.sum()
    found, at = [], 0
    for start, level, order in zip(starts.tolist(), levels.tolist(), orders, strict=False):
        found.append([order[place] for place in (filled[at : at + level] - start).tolist()])
        at += level
    return found


def naive_attempts(users: list[list[tuple[int, int]]], steps: int, window: int, entries: list[int]) -> list[list[int]]:
    def opens(time: int) -> bool:
        return any(start <= time < end for start, end in zip(entries[::2], entries[1::2], strict=True))

    answers = []
    for rows in users:
        events = [
            Event(time, frozenset(step for step in range(1, steps + 1) if mask >> step - 1 & 1), row=at)
            for at, (time, mask) in enumerate(rows)
        ]
        found = attempts(events, Ask(steps, window, opens))
        answers.append([event.row for event in found[0]] if found else [])
    return answers


def deepest_level(rows: list[tuple[int, int]], steps: int, window: int) -> int:
    """By trying every sequence of different events, whatever their ms."""

    def deepest(level: int, time: int, entry: int, used: frozenset[int]) -> int:
        best = level
        for at, (when, mask) in enumerate(rows):
            if level < steps and at not in used and mask >> level & 1 and time <= when <= entry + window:
                best = max(best, deepest(level + 1, when, entry, used | {at}))
        return best

    entries = [(at, time) for at, (time, mask) in enumerate(rows) if mask & 1]
    return max((deepest(1, time, time, frozenset((at,))) for at, time in entries), default=0)


@st.composite
def streams(draw: st.DrawFn, steps_max: int = 6, rows_max: int = 14) -> tuple[list[list[tuple[int, int]]], int]:
    steps = draw(st.integers(2, steps_max))
    bit = st.integers(0, steps - 1).map(lambda step: 1 << step)
    mask = draw(st.sampled_from([bit, st.integers(1, 2**steps - 1), st.one_of(bit, st.integers(1, 2**steps - 1))]))
    time = st.integers(0, draw(st.sampled_from([0, 2, 5, 12])))
    rows = st.lists(st.tuples(time, mask), max_size=rows_max).map(lambda some: sorted(some, key=lambda row: row[0]))
    return draw(st.lists(rows, max_size=4)), steps


@settings(max_examples=600, deadline=None, print_blob=True)
@given(streams(), st.integers(1, 12), st.sampled_from([[0, 99], [3, 6], [0, 2, 4, 7], [5, 5]]))
def test_attempts_equal_the_naive_ones(
    case: tuple[list[list[tuple[int, int]]], int], window: int, entries: list[int]
) -> None:
    users, steps = case
    assert kernel_attempts(users, steps, window, entries) == naive_attempts(users, steps, window, entries)


@st.composite
def streams_apart(draw: st.DrawFn) -> tuple[list[list[tuple[int, int]]], int]:
    """Each event matches one step."""
    steps = draw(st.sampled_from([2, 3, 6, STEPS_MAX]))
    row = st.tuples(
        st.integers(0, draw(st.sampled_from([0, 2, 5, 90]))), st.integers(0, steps - 1).map(lambda at: 1 << at)
    )
    rows = st.lists(row, max_size=draw(st.sampled_from([14, 80]))).map(
        lambda some: sorted(some, key=lambda one: one[0])
    )
    return draw(st.lists(rows, max_size=4)), steps


@settings(max_examples=300, deadline=None, print_blob=True)
@given(streams_apart(), st.integers(1, 12), st.sampled_from([[0, 99], [3, 6], [0, 2, 4, 7], [5, 5]]))
def test_rows_found_by_the_numbers_of_steps_are_the_naive_ones(
    case: tuple[list[list[tuple[int, int]]], int], window: int, entries: list[int]
) -> None:
    users, steps = case
    starts = np.append(0, np.cumsum([len(rows) for rows in users])).astype(np.int64)
    times = np.array([time for rows in users for time, _ in rows], np.int64)
    numbers = np.array([mask.bit_length() for rows in users for _, mask in rows], np.uint8)
    levels, filled, latest = np.full(len(users), -1, np.int8), np.full(len(times), -1, np.int32), np.empty(33, np.int64)
    funnel = (starts, times, numbers, steps, window, np.array(entries, np.int64))
    total = follow(*funnel, latest, levels, np.zeros(0, np.int64), filled)
    found, at = [], 0
    for start, level in zip(starts.tolist(), levels.tolist(), strict=False):
        found.append((filled[at : at + level] - start).tolist())
        at += level
    naive = naive_attempts(users, steps, window, entries)
    assert (found, total) == (naive, at)
    # Where only times are wanted they are those of the same rows.
    levels_too, since_entry = np.full(len(users), -1, np.int8), np.full(len(times), -1, np.int64)
    count = follow(*funnel, latest, levels_too, since_entry, np.zeros(0, np.int32))
    expected = [
        int(times[start + row] - times[start + rows[0]])
        for start, rows in zip(starts, naive, strict=False)
        for row in rows[1:]
    ]
    assert (since_entry[:count].tolist(), levels_too.tolist()) == (expected, levels.tolist())


@settings(max_examples=300, deadline=None, print_blob=True)
@given(streams(steps_max=4, rows_max=7), st.integers(1, 12))
def test_no_sequence_of_events_goes_deeper(case: tuple[list[list[tuple[int, int]]], int], window: int) -> None:
    users, steps = case
    levels = [len(attempt) for attempt in kernel_attempts(users, steps, window, [0, 99])]
    assert levels == [deepest_level(rows, steps, window) for rows in users]


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.data(), st.integers(20, STEPS_MAX))
def test_many_steps_that_share_events(data: st.DataObject, steps: int) -> None:
    """Every attempt that is found is one, and as deep as the naive one."""
    mask = st.integers(0, steps - 1).flatmap(
        lambda step: st.sampled_from([1 << step, (1 << step) | 1, ((1 << steps) - 1) >> step << step])
    )
    rows = sorted(data.draw(st.lists(st.tuples(st.integers(0, 6), mask), max_size=40)), key=lambda row: row[0])
    window = data.draw(st.integers(1, 6))
    assert kernel_attempts([rows], steps, window, [0, 99]) == naive_attempts([rows], steps, window, [0, 99])


def test_thirty_two_any_steps_in_one_ms_take_the_first_events_in_order() -> None:
    everything = (1 << 32) - 1
    assert kernel_attempts([[(5, everything)] * 50], 32, 1, [0, 99]) == [list(range(32))]
    assert kernel_attempts([[(5, everything)] * 31], 32, 1, [0, 99]) == [list(range(31))]


def test_a_choice_within_a_ms_leads_deepest_and_does_not_look_ahead() -> None:
    # Row 1 could fill step 2 or 3, row 2 only step 2: both are filled at 5, not step 3 at 9.
    assert kernel_attempts([[(1, 0b001), (5, 0b110), (5, 0b010), (9, 0b100)]], 3, 20, [0, 99]) == [[0, 2, 1]]
    # With nothing to gain the first in order is taken.
    assert kernel_attempts([[(1, 0b001), (5, 0b010), (5, 0b110)]], 3, 20, [0, 99]) == [[0, 1, 2]]


def test_what_an_earlier_step_has_stays_when_a_later_one_wants_it() -> None:
    # Steps 1 to 3 may have rows {0, 3}, {1, 2} and {0, 1}: the first in order is 0, 2, 1, not 3, 1, 0.
    rows = [(5, 0b101), (5, 0b110), (5, 0b010), (5, 0b001)]
    assert kernel_attempts([rows], 3, 1, [0, 99]) == naive_attempts([rows], 3, 1, [0, 99]) == [[0, 2, 1]]


def test_a_window_is_inclusive_and_the_earliest_of_the_deepest_entries_counts() -> None:
    assert kernel_attempts(
        [[(0, 1), (1, 1), (10, 2)], [(0, 1), (1, 1), (11, 2)], [(0, 1), (12, 2)]], 2, 10, [0, 99]
    ) == [
        [0, 2],
        [1, 2],
        [0],
    ]


def test_a_million_events_of_one_user_that_never_convert_take_no_time() -> None:
    rows = 1_000_000
    times = np.arange(rows, dtype=np.int64)
    masks = np.ones(rows, np.uint64)
    masks[1::2] = 2
    levels, filled = np.zeros(1, np.int8), np.zeros(rows, np.int32)
    total = best_attempts(np.array([0, rows]), times, masks, 3, rows, np.array([0, rows]), levels, filled)
    assert (total, levels[0], filled[:2].tolist()) == (2, 2, [0, 1])
