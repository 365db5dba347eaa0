"""What is told of times to convert is what sorting all of them would tell."""

import numpy as np
from evenshard.queries.funnel_histogram import BOUNDS_MS, NO_TIMES, spread
from hypothesis import given
from hypothesis import strategies as st

longest = int(BOUNDS_MS[-1])
near = st.sampled_from(BOUNDS_MS.tolist()).flatmap(lambda bound: st.integers(bound - 1, min(bound + 1, longest)))
times = st.lists(st.integers(0, longest) | near | st.integers(0, 3), max_size=200)


@given(times)
def test_average_median_and_bars_are_those_of_the_sorted_times(durations: list[int]) -> None:
    found = spread(np.array(durations, np.int64))
    if not durations:
        assert found == NO_TIMES
        return
    assert found.average_s == sum(durations) / len(durations) / 1000
    assert found.median_s == float(np.median(durations)) / 1000
    bars = [next(bound for bound in BOUNDS_MS.tolist() if each <= bound) for each in durations]
    shown = [bound for bound in BOUNDS_MS.tolist() if min(bars) <= bound <= max(bars)]
    assert [(bar.up_to_seconds, bar.count) for bar in found.bars] == [(each / 1000, bars.count(each)) for each in shown]
