"""Services whose clocks are an hour apart answer every question as those do whose clocks agree, and as soon; a key that
runs away crosses for them as for others.
"""

from collections.abc import Mapping

import orjson
import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import HotKeyMode
from evenshard.ports.clock import Clock
from evenshard.runtime.clock import SystemClock
from evenshard.testing.cluster import COUNTER, GATEWAY, ROUTER, MemoryCluster
from evenshard.testing.crossing import Crossing
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-03"
START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
USERS = 200


class OffClock(SystemClock):
    """A clock that is ``off_ms`` ahead."""

    def __init__(self, off_ms: int) -> None:
        self._off_ms = off_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._off_ms


OFF: dict[str, Mapping[str, Clock]] = {
    "none": {},
    "gateway behind, shards ahead": {
        GATEWAY: OffClock(-HOUR_MS), "shard-0": OffClock(HOUR_MS), "shard-1": OffClock(2 * HOUR_MS),
    },
    "gateway ahead, shards and router behind": {
        GATEWAY: OffClock(HOUR_MS), ROUTER: OffClock(-HOUR_MS), COUNTER: OffClock(-2 * HOUR_MS),
        "shard-0": OffClock(-HOUR_MS),
    },
}  # fmt: skip


def step(*names: str) -> query_pb2.FunnelStep:
    return query_pb2.FunnelStep(events=names)


REQUESTS = {
    rpcs.QUERY_SEGMENTATION: query_pb2.QuerySegmentationRequest(
        tenant="acme", from_date=FROM, to_date=TO, unit="hour", measure="unique"
    ),
    rpcs.QUERY_FUNNEL: query_pb2.QueryFunnelRequest(
        tenant="acme", from_date=FROM, to_date=TO, steps=[step("view"), step("buy")]
    ),
    rpcs.QUERY_RETENTION: query_pb2.QueryRetentionRequest(
        tenant="acme", from_date=FROM, to_date=TO, birth=step("view")
    ),
    rpcs.QUERY_FLOWS: query_pb2.QueryFlowsRequest(tenant="acme", from_date=FROM, to_date=TO, anchor=step("view")),
}  # fmt: skip


async def answers(clocks: Mapping[str, Clock]) -> list[bytes]:
    """To every question, before and after indexing and a crash; half of the events are sent twice."""
    found: list[bytes] = []
    lines = [
        {
            "event": "view" if number % 3 else "buy",
            "distinct_id": f"user-{number % USERS}",
            "time": START_MS + number * 137_000,
            "insert_id": str(number),
        }
        for number in range(5 * USERS)
    ]
    async with MemoryCluster(shards=2, clocks=clocks) as cluster:
        tenant = await cluster.create_tenant("acme")
        for some in (lines, lines[: len(lines) // 2]):
            await cluster.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, some)))
        for happens in ("nothing", "compaction", "crash"):
            if happens == "compaction":
                await cluster.compact(tenant)
            elif happens == "crash":
                await cluster.crash("shard-0")
                await cluster.start("shard-0")
            for rpc, request in REQUESTS.items():
                answer = await cluster.call(GATEWAY, rpc, request)
                answer.ClearField("meta")
                found.append(answer.SerializeToString(deterministic=True))
    return found


@pytest.mark.parametrize("off", list(OFF)[1:])
async def test_answers_do_not_depend_on_whose_clock_is_wrong(off: str) -> None:
    expected = await answers(OFF["none"])
    assert len({*expected}) >= len(REQUESTS)
    assert await answers(OFF[off]) == expected


@pytest.mark.parametrize("mode", ["rewrite", pytest.param("salt", marks=pytest.mark.slow)])
async def test_a_key_crosses_once_for_routers_whose_clocks_are_an_hour_apart(mode: HotKeyMode) -> None:
    clocks = {"router-1": OffClock(HOUR_MS), "router-2": OffClock(-HOUR_MS), "shard-0": OffClock(HOUR_MS)}
    async with MemoryCluster(shards=3, routers=3, clocks=clocks) as cluster:
        crossing = Crossing(cluster, 20260110, mode)
        await crossing.create()
        await crossing.send_all(3)
        await crossing.cross()
        await crossing.until_active()
        await crossing.check()
        before = await crossing.answers()
        assert await crossing.send_all(1) == len(crossing.rows)
        assert await crossing.answers() == before
