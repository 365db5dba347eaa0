"""What a counter answers: counts of the keys it was just told of, of keys asked for, and of the largest."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from evenshard.api.v1 import counter_pb2
from evenshard.counter.service import CounterService
from evenshard.errors import EvenshardError
from evenshard.hotkeys.aggregate import KEY_SCHEMA, NAME_SCHEMA
from evenshard.hotkeys.counting import Counts
from evenshard.ids import TenantId
from evenshard.testing.clock import ManualClock
from evenshard.wire.counting import count_request, counts_of_response, lookup_request

START_MS = 0


@pytest.fixture
async def counter() -> AsyncIterator[CounterService]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield CounterService(Counts(1000, START_MS), ManualClock(), pool)


def counted(*keys: tuple[str, int, int]) -> pa.RecordBatch:
    columns = list(zip(*keys, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, KEY_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=KEY_SCHEMA)


def named(*keys: tuple[str, int]) -> pa.RecordBatch:
    columns = list(zip(*keys, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, NAME_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=NAME_SCHEMA)


async def test_counting_answers_with_the_keys_that_have_enough_by_now(counter: CounterService) -> None:
    first = await counter.CountEvents(count_request("acme", [counted(("a", 1, 5), ("b", 1, 9))], 8), None)
    second = await counter.CountEvents(count_request("acme", [counted(("a", 1, 5), ("a", 2, 7), ("c", 1, 1))], 8), None)
    assert counts_of_response(first).to_pylist() == [{"distinct_id": "b", "day": 1, "count": 9}]
    assert counts_of_response(second).to_pylist() == [{"distinct_id": "a", "day": 1, "count": 10}]
    silent = await counter.CountEvents(count_request("acme", [counted(("a", 1, 5))]), None)
    assert silent == counter_pb2.CountEventsResponse()


async def test_events_without_counts_and_counted_keys_may_come_in_one_call(counter: CounterService) -> None:
    batches = [named(("a", 1), ("b", 1), ("a", 1)), counted(("a", 1, 5), ("c", 1, 9)), named(("b", 1))]
    answer = await counter.CountEvents(count_request("acme", batches, 2), None)
    said = [(key["distinct_id"], key["count"]) for key in counts_of_response(answer).to_pylist()]
    assert said == [("a", 2), ("a", 7), ("c", 9), ("b", 2)]
    alone = await counter.CountEvents(count_request("acme", batches[:1], 9), None)
    assert [(key["distinct_id"], key["count"]) for key in counts_of_response(alone).to_pylist()] == [("a", 9)]


async def test_counts_of_keys_come_in_the_order_asked(counter: CounterService) -> None:
    await counter.CountEvents(count_request("acme", [counted(("a", 1, 5), ("b", 1, 9))]), None)
    await counter.CountEvents(count_request("other", [counted(("a", 1, 70))]), None)
    answer = await counter.GetCounts(lookup_request("acme", named(("b", 1), ("a", 2), ("a", 1))), None)
    assert list(answer.counts) == [9, 0, 5]


async def test_a_question_that_cannot_be_read_is_refused(counter: CounterService) -> None:
    for data in (b"", b"nonsense", lookup_request("acme", counted(("a", 1, 5))).arrow_ipc):
        with pytest.raises(EvenshardError) as caught:
            await counter.GetCounts(counter_pb2.GetCountsRequest(tenant="acme", arrow_ipc=data), None)
        assert caught.value.code == "PAYLOAD_INVALID"


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_of_keys_are_those_of_either_generation(seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    counts, tenant = Counts(100, START_MS), TenantId("acme")
    naive: dict[tuple[str, int], int] = {}
    for _ in range(20):
        keys = [(f"user-{rng.integers(0, 45)}", 1, int(rng.integers(1, 9))) for _ in range(10)]
        counts.add(tenant, counted(*keys), START_MS)
        for distinct_id, day, count in keys:
            naive[distinct_id, day] = naive.get((distinct_id, day), 0) + count
    assert counts.counts_of(tenant, named(*naive, ("nobody", 1))).tolist() == [*naive.values(), 0]
