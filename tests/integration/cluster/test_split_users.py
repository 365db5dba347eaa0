"""Users split over real shards, placed by hand, over real gRPC: every question is answered as if they were whole."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, query_pb2
from evenshard.errors import EvenshardError
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng
from evenshard.runtime.logs import start_logs
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.server import Server
from evenshard.runtime.service import Servicer
from evenshard.runtime.settings import Settings
from evenshard.runtime.telemetry import start_telemetry
from evenshard.testing.by_hand import append_by_hand
from evenshard.testing.cluster import GATEWAY, ROUTER, MemoryCluster
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.reference import Reference, Row, ndjson_of
from evenshard.testing.spread import SPLITTING, spread
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-14"
START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
SEED = 20260105
IN_CI = "hot keys apart"
SPLIT = [how if how == IN_CI else pytest.param(how, marks=pytest.mark.slow) for how in SPLITTING]


class SocketPeers(MemoryPeers):
    """Every service is a gRPC server of its own, begun when it is called first."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        super().__init__(clock, rng)
        self._offered: dict[str, Sequence[Servicer]] = {}
        self._servers: dict[str, Server] = {}
        self._real = GrpcPeers()

    def register(self, address: str, servicers: Sequence[Servicer]) -> None:
        self._offered[address] = servicers

    def unregister(self, address: str) -> None:
        self._offered.pop(address)

    async def _at(self, address: str) -> str:
        if address not in self._offered:
            raise EvenshardError("UNREACHABLE", f"{address}: nobody there")
        if address not in self._servers:
            self._servers[address] = Server("127.0.0.1:0", self._offered[address])
            await self._servers[address].start()
        return f"127.0.0.1:{self._servers[address].port}"

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        return await self._real.call(await self._at(address), rpc, request, timeout_s=timeout_s)

    async def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        at = await self._at(address)
        async for answer in self._real.stream(at, rpc, request, timeout_s=timeout_s):
            yield answer

    async def close(self) -> None:
        await asyncio.gather(*(server.drain(0) for server in self._servers.values()))
        await self._real.close()


@pytest.fixture(scope="module", autouse=True)
def telemetry() -> None:
    start_telemetry("test")
    start_logs("test")


def over_sockets(**settings: Any) -> MemoryCluster:
    cluster = MemoryCluster(shards=6, seed=SEED, settings=Settings(**settings))
    cluster.peers = SocketPeers(cluster.clock, cluster.rng)
    return cluster


def some_rows(chance: random.Random, count: int, tenant: str) -> list[Row]:
    rows = [
        {
            "tenant": tenant,
            "event": chance.choice(["view", "view", "buy", "click"]),
            "distinct_id": chance.choice(["", "hot", "hot", "hot", *(f"user-{number}" for number in range(30))]),
            "time": START_MS + chance.randrange(-60, 15 * 24 * 60) * MINUTE_MS,
            "insert_id": f"{chance.randrange(1 << 30)}",
            "properties": {
                "plan": chance.choice([None, 1, "2", True]),
                "price": chance.choice([None, 1, 2.5, 9, "dear"]),
            },
        }
        for _ in range(count)
    ]
    return [*rows, *rows[: count // 5]]


def step(*events: str, where: str = "") -> query_pb2.FunnelStep:
    return query_pb2.FunnelStep(events=events, where=where)


VIEW_BUY = {"steps": [step("view"), step("buy")], "window_ms": 3 * 24 * 60 * MINUTE_MS}
QUESTIONS: list[tuple[Any, dict[str, Any]]] = [
    (rpcs.QUERY_SEGMENTATION, {"measure": "unique"}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "unique", "unit": "week", "by": ["plan"], "limit": 2}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "average", "by": ["$event"], "where": "plan is set"}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "p90", "property": "price", "by": ["plan"]}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "total", "by": ["$distinct_id"], "limit": 3}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "total", "by": ["$cohort:buyers"]}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "unique", "where": "`$cohort:quiet` == true"}),
    (rpcs.QUERY_FUNNEL, VIEW_BUY),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "by": ["plan"], "by_step": "2", "attempt": "first"}),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "count_mode": "total", "strict_increase": True, "hold_constant": ["plan"]}),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "count_mode": "session", "where": "plan is set"}),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "order": "strict", "count_mode": "total"}),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "order": "any", "by": ["$cohort:buyers"]}),
    (rpcs.QUERY_FUNNEL, {
        **VIEW_BUY, "exclude_user": True,
        "exclusions": [query_pb2.FunnelExclusion(events=["click"], after_step=1, before_step=2)],
    }),
    (rpcs.QUERY_FUNNEL, {**VIEW_BUY, "explain_user": "hot", "count_mode": "total"}),
    (rpcs.QUERY_RETENTION, {"birth": step("view"), "return": step("buy"), "by": ["plan"], "buckets": 5}),
    (rpcs.QUERY_RETENTION, {"birth": step("buy"), "birth_scope": "lifetime", "mode": "on_or_after", "unit": "week"}),
    (rpcs.QUERY_RETENTION, {"birth": step("view"), "align": "calendar", "where": "`$cohort:buyers` == true"}),
    (rpcs.QUERY_FLOWS, {"anchor": step("view"), "steps": 3, "top": 2}),
    (rpcs.QUERY_FLOWS, {"anchor": step("buy", where="plan is set"), "direction": "backward", "collapse_repeats": True}),
    (rpcs.QUERY_FLOWS, {"anchor": step("view"), "session": True}),
    (rpcs.GET_SCHEMA, {}),
    (rpcs.GET_TIMELINE, {"user": "hot", "page_size": 7}),
    (rpcs.GET_TIMELINE, {"user": "user-1", "where": "`$cohort:buyers` == true"}),
]  # fmt: skip


async def answers(cluster: MemoryCluster, tenant: str, *, no_cache: bool) -> list[Any]:
    """All answers, without how they were found."""
    found = []
    for rpc, fields in QUESTIONS:
        dates = {"from_date": FROM, "to_date": TO, "options": {"no_cache": no_cache}}
        answer = await cluster.call(GATEWAY, rpc, rpc.request(tenant=tenant, **dates, **fields))
        skipped = answer.meta.duplicates_skipped
        kept = (skipped.log + skipped.segment, [(each.code, each.message) for each in answer.meta.warnings])
        assert answer.meta.complete
        answer.ClearField("meta")
        if rpc is rpcs.GET_TIMELINE:
            answer.next_page_token = str(bool(answer.next_page_token))
        found.append((rpc.path, answer, kept))
    return found


async def save_cohorts(cluster: MemoryCluster, tenant: str) -> list[int]:
    users = []
    buyers = query_pb2.CohortDefinition(
        from_date=FROM, to_date="2026-01-07", did=[query_pb2.CohortDid(step=step("buy"), at_least=2)]
    )
    quiet = query_pb2.CohortDefinition(
        from_date=FROM, to_date=TO, did_not=[step("click")],
        funnel=query_pb2.CohortFunnel(
            funnel=query_pb2.QueryFunnelRequest(from_date=FROM, to_date=TO, **VIEW_BUY), reached=1
        ),
    )  # fmt: skip
    for name, definition in (("buyers", buyers), ("quiet", quiet)):
        request = query_pb2.SaveCohortRequest(tenant=tenant, name=name, definition=definition)
        users.append((await cluster.call(GATEWAY, rpcs.SAVE_COHORT, request)).cohort.users)
    return users


@pytest.mark.parametrize("how", SPLIT)
async def test_every_question_is_answered_as_if_nobody_were_split(how: str) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    async with over_sockets() as cluster:
        whole = await cluster.create_tenant("whole")
        split = await cluster.create_tenant("split", placement=spread([], how).placement)
        model = Reference()
        for part in range(2):
            rows = some_rows(chance, 250, "whole")
            model.import_events(rows)
            for row in rows:
                row["tenant"] = "split"
            assert (await cluster.import_events("whole", ndjson=ndjson_of(rows))).accepted == len(rows)
            await append_by_hand(cluster, split, spread(rows, how).held)
            if part == 0:
                cohorts = [await save_cohorts(cluster, name) for name in ("whole", "split")]
                assert cohorts[0] == cohorts[1]
                assert min(cohorts[0]) > 0
                await compare(cluster)
                await cluster.compact(whole)
                await cluster.compact(split)
        await compare(cluster)
        uniques = model.segmentation("whole", FROM, TO, measure="unique")["series"][0]
        got = await cluster.segmentation("split", FROM, TO, measure="unique", unit="day")
        assert [each.int64_value for each in got.series[0].values] == uniques["values"]
        assert got.series[0].overall.int64_value == uniques["overall"]
        exported = [await cluster.export(name, START_MS, START_MS + 10**10) for name in ("whole", "split")]
        assert exported[0] == exported[1]
        assert exported[0].count(b"\n") > 300

        for name in ("whole", "split"):
            request = admin_pb2.DeleteUsersRequest(tenant=name, distinct_ids=["hot"])
            await cluster.call(ROUTER, rpcs.DELETE_USERS, request)
        for tenant in (whole, split):
            await cluster.compact(tenant)
        await compare(cluster)
        assert await answers(cluster, "split", no_cache=False) == await answers(cluster, "split", no_cache=True)
        timeline = query_pb2.GetTimelineRequest(tenant="split", user="hot")
        assert not (await cluster.call(GATEWAY, rpcs.GET_TIMELINE, timeline)).events


async def compare(cluster: MemoryCluster) -> None:
    expected = await answers(cluster, "whole", no_cache=True)
    assert await answers(cluster, "split", no_cache=False) == expected
