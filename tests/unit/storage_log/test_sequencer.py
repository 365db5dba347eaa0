"""The sequencer: groups what waits, keeps the order, bounds the queue, drains at the end."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.storage.append import Append, Appended
from evenshard.storage.sequencer import RETRY_MS_MAX, RETRY_MS_MIN, Sequencer, retry_after_ms
from evenshard.testing.events import Event, append_of

DEADLINE_S = 10.0


class Log:
    """Remembers groups; holds the first one until it is told to go on."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def append(self, group: Sequence[Append]) -> list[Appended | EvenshardError]:
        self.groups.append([append.tenant for append in group])
        self.entered.set()
        assert self.go_on.wait(DEADLINE_S)
        if group[0].tenant == "raises":
            raise RuntimeError("a defect")
        return [
            EvenshardError("DISK_FULL", "no room")
            if append.tenant == "full"
            else Appended(np.zeros(append.batch.rows, np.bool_), 1)
            for append in group
        ]


def batch(tenant: str) -> Append:
    return append_of([Event("click", "u", 1, "x")], tenant)


def sequencer(log: Log, *, queue_bytes_max: int = 1 << 20, group_bytes_max: int = 1 << 20) -> Sequencer:
    return Sequencer(log.append, queue_bytes_max=queue_bytes_max, group_bytes_max=group_bytes_max)


def test_everything_that_waits_shares_the_next_group_in_order() -> None:
    log = Log()
    line = sequencer(log)
    first = line.submit(batch("a"))
    assert log.entered.wait(DEADLINE_S)
    rest = [line.submit(batch(tenant)) for tenant in ("b", "full", "c")]
    log.go_on.set()
    assert first.result(DEADLINE_S).position == 1
    assert rest[2].result(DEADLINE_S).position == 1
    with pytest.raises(EvenshardError, match="DISK_FULL"):
        rest[1].result(DEADLINE_S)
    line.close()
    assert log.groups == [["a"], ["b", "full", "c"]]


def test_a_group_is_bounded_in_bytes() -> None:
    log = Log()
    line = sequencer(log, group_bytes_max=1)
    futures = [line.submit(batch(tenant)) for tenant in "abc"]
    log.go_on.set()
    for future in futures:
        future.result(DEADLINE_S)
    line.close()
    assert log.groups == [["a"], ["b"], ["c"]]


def test_a_full_queue_refuses_and_takes_again_once_it_is_empty() -> None:
    log = Log()
    line = sequencer(log, queue_bytes_max=5 * (len(batch("a").payload) + 64) // 2)
    line.submit(batch("a"))
    assert log.entered.wait(DEADLINE_S)
    waiting = line.submit(batch("b"))
    with pytest.raises(EvenshardError) as error:
        line.submit(batch("b"))
    assert (error.value.code, error.value.retryable) == ("OVERLOADED", True)
    assert RETRY_MS_MIN <= (error.value.retry_after_ms or 0) <= RETRY_MS_MAX
    other = line.submit(batch("c"))  # a tenant that floods leaves room for others
    assert line.queued_bytes > 0
    log.go_on.set()
    waiting.result(DEADLINE_S)
    other.result(DEADLINE_S)
    assert line.queued_bytes == 0
    line.submit(batch("c")).result(DEADLINE_S)
    line.close()


def test_a_tenant_that_comes_behind_a_flood_is_in_the_next_group_but_one() -> None:
    log = Log()
    line = sequencer(log, group_bytes_max=1)
    first = line.submit(batch("flood"))
    assert log.entered.wait(DEADLINE_S)
    rest = [line.submit(batch(tenant)) for tenant in ("flood", "flood", "flood", "small")]
    log.go_on.set()
    for future in (first, *rest):
        future.result(DEADLINE_S)
    line.close()
    assert log.groups == [["flood"], ["small"], ["flood"], ["flood"], ["flood"]]


def test_how_long_to_wait_follows_the_pace_within_bounds() -> None:
    assert [retry_after_ms(*asked) for asked in ((1 << 20, 0.0), (2000, 10.0), (1, 1e9), (1 << 40, 1.0))] == [
        RETRY_MS_MIN,
        100,
        RETRY_MS_MIN,
        RETRY_MS_MAX,
    ]


def test_closing_drains_and_refuses_what_comes_later() -> None:
    log = Log()
    line = sequencer(log)
    futures = [line.submit(batch(tenant)) for tenant in "ab"]
    log.go_on.set()
    line.close()
    assert all(future.done() for future in futures)
    with pytest.raises(EvenshardError, match="stopping"):
        line.submit(batch("c"))


def test_a_defect_reaches_the_caller_and_the_next_group_goes_on() -> None:
    log = Log()
    log.go_on.set()
    line = sequencer(log)
    with pytest.raises(EvenshardError) as error:
        line.submit(batch("raises")).result(DEADLINE_S)
    assert (error.value.code, error.value.in_doubt) == ("INTERNAL", True)
    assert line.submit(batch("a")).result(DEADLINE_S).position == 1
    line.close()


def test_closing_has_a_deadline() -> None:
    log = Log()
    line = sequencer(log)
    line.submit(batch("a"))
    with pytest.raises(TimeoutError):
        line.close(timeout_s=0.05)
    log.go_on.set()
    line.close()
