"""Appends slow down evenly as compaction falls behind, and are refused only far behind."""

from evenshard.shard.backpressure import DELAY_MS_MAX, HARD_BACKLOG, SOFT_BACKLOG, append_delay_ms


def test_the_delay_rises_evenly_from_nothing_to_refusal() -> None:
    middle = (SOFT_BACKLOG + HARD_BACKLOG) / 2
    assert [append_delay_ms(backlog) for backlog in (0.0, SOFT_BACKLOG, middle, HARD_BACKLOG, 100.0)] == [
        0.0,
        0.0,
        DELAY_MS_MAX / 2,
        None,
        None,
    ]
