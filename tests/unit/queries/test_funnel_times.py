"""Times from step to step travel in 32 bits where the window allows it, and mean the same as longer ones."""

from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from evenshard.events.scan import DUPLICATE, Parts, ScannedRows
from evenshard.queries import funnel, funnel_plain
from evenshard.queries.funnel_answer import finish, merge, plan_funnel
from evenshard.queries.funnel_model import FunnelQuery, funnel_query
from evenshard.queries.plan import FunnelScan
from evenshard.queries.steps import Step

DAY_MS = 86_400_000
BASE_MS = 1_704_067_200_000
LONG = pa.large_list(pa.int64())
STREAMS = {"ann": (("a", 0), ("b", 5)), "bob": (("a", 10), ("b", 48 * DAY_MS), ("c", 49 * DAY_MS)), "cy": (("a", 7),)}


def asked(window_ms: int) -> tuple[FunnelQuery, FunnelScan]:
    query = funnel_query(
        steps=[Step((name,)) for name in "abc"], from_date="2024-01-01", to_date="2024-01-02", window_ms=window_ms
    )
    return query, plan_funnel(query, ZoneInfo("UTC"), dedupe=True)


def rows_of(users: str) -> ScannedRows:
    events = [(user, name, BASE_MS + at) for user in users.split() for name, at in STREAMS[user]]
    columns = {
        "event": pa.array([name for _, name, _ in events]),
        "distinct_id": pa.array([user for user, _, _ in events]),
        "time": pa.array([at for *_, at in events], pa.int64()),
        DUPLICATE: pa.array([False] * len(events)),
    }
    return ScannedRows(pa.record_batch(columns), True, 0)


def partial_of(plan: FunnelScan, users: str, *, plain: bool = True) -> pa.Table:
    scanner = funnel_plain if plain else funnel
    return scanner.scan_parts(plan, Parts.of([rows_of(users)]), lambda: None)[0]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("window_ms", "kind"), [((1 << 32) - 1, pa.uint32()), (1 << 32, pa.int64())])
def test_times_have_32_bits_where_windows_do(window_ms: int, kind: pa.DataType, plain: bool) -> None:
    _, plan = asked(window_ms)
    table = partial_of(plan, "ann bob cy", plain=plain)
    assert table.schema.field("times").type == pa.large_list(kind)
    found = {row["level"]: (row["users"], row["times"]) for row in table.to_pylist()}
    assert found == {1: (1, []), 2: (1, [5]), 3: (1, [48 * DAY_MS - 10, 49 * DAY_MS - 10])}


def test_partials_of_shards_of_two_versions_are_put_together() -> None:
    query, plan = asked(49 * DAY_MS)
    one, other = partial_of(plan, "ann cy"), partial_of(plan, "bob")
    long = other.set_column(2, "times", other.column("times").cast(LONG))
    assert finish(query, merge([one, long])) == finish(query, merge([one, other]))
    assert [step.count for step in finish(query, merge([one, long])).overall] == [3, 2, 1]
