"""Router, counter, two shards and a gateway in one process on the in-memory ports, against the naive model."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pytest
from evenshard.api.v1 import query_pb2, shard_pb2
from evenshard.directory.placement import even_placement
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.testing import flows_reference, retention_reference
from evenshard.testing.cluster import MemoryCluster
from evenshard.testing.reference import Reference, Row
from evenshard.testing.retention_reference import local_date
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-10"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
END_MS = START_MS + 10 * DAY_MS
SEED = 20260101
SHARD_0, SHARD_1 = ShardId("shard-0"), ShardId("shard-1")


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=SEED) as made:
        yield made


class Model:
    """What the cluster should hold, and questions asked of both."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.reference = Reference()

    def store(self, rows: Sequence[Row]) -> None:
        self.reference.import_events(rows)

    async def check(self, tenant: str, timezone: str = "UTC") -> None:
        """Every kind of question the cluster answers: whole answers are compared."""
        for query in (
            {},
            {"measure": "unique", "unit": "week"},
            {"by": ["plan"], "limit": 2},
            {"by": ["$event", "plan"], "measure": "unique", "unit": "month"},
            {"events": ["view", "sale"], "unit": "hour"},
            {"include_duplicates": True},
            {"measure": "average", "by": ["plan"], "limit": 2},
            {"measure": "sum", "property": "number", "by": ["$event"]},
            {"measure": "p90", "property": "ratio", "unit": "week", "by": ["plan"], "limit": 1},
        ):
            await self._check_segmentation(tenant, timezone, query)
        await self._check_timelines(tenant)
        await self._check_behaviour(tenant, timezone)
        await self._check_export(tenant)

    async def _check_behaviour(self, tenant: str, timezone: str) -> None:
        """A retention of who belongs to a cohort that is just saved, and flows."""
        step = query_pb2.FunnelStep
        mine = [row for row in self.reference.rows if row["tenant"] == tenant]
        days = {"tenant": tenant, "from_date": FROM, "to_date": TO}
        sold = query_pb2.CohortDid(step=step(events=["sale"]), at_least=3)
        definition = query_pb2.CohortDefinition(from_date=FROM, to_date=TO, did=[sold])
        request = query_pb2.SaveCohortRequest(tenant=tenant, name="sellers", definition=definition)
        saved = await self.cluster.call("gateway-0", rpcs.SAVE_COHORT, request)
        zone = ZoneInfo(timezone)
        sales = Counter(
            row["distinct_id"]
            for row in mine
            if row["event"] == "sale" and not row["duplicate"] and FROM <= str(local_date(row["time"], zone)) <= TO
        )
        sellers = {user for user, count in sales.items() if user and count >= 3}
        assert saved.cohort.users == len(sellers)

        where = "`$cohort:sellers` == true"
        retention = query_pb2.QueryRetentionRequest(
            **days, birth=step(events=["open"]), align="calendar", buckets=3, where=where
        )
        got = await self.cluster.call("gateway-0", rpcs.QUERY_RETENTION, retention)
        expected = retention_reference.retention(
            mine,
            FROM,
            TO,
            (["open"], lambda row: True),
            ([], lambda row: True),
            align="calendar",
            buckets=3,
            where=lambda row: row["distinct_id"] in sellers,
            timezone=timezone,
            now_ms=END_MS,
        )
        assert [(each.start, each.size, list(each.returned)) for each in got.cohorts] == [
            (each["start"], each["size"], each["returned"]) for each in expected["cohorts"]
        ]

        flows = query_pb2.QueryFlowsRequest(**days, anchor=step(events=["view"]), direction="backward", session=True)
        got = await self.cluster.call("gateway-0", rpcs.QUERY_FLOWS, flows)
        wanted = flows_reference.flows(
            mine, FROM, TO, (["view"], lambda row: True), direction="backward", session=True, timezone=timezone
        )
        assert (got.anchors, [(each.step, each.name, each.count, each.dropoff) for each in got.nodes]) == (
            wanted["anchors"],
            [(each["step"], each["name"], each["count"], each["dropoff"]) for each in wanted["nodes"]],
        )

    async def _check_segmentation(self, tenant: str, timezone: str, query: dict[str, Any]) -> None:
        sent = {key: value for key, value in query.items() if key != "include_duplicates"}
        if query.get("include_duplicates"):
            sent["options"] = {"include_duplicates": True}
        answer = await self.cluster.segmentation(tenant, FROM, TO, **sent)
        expected = self.reference.segmentation(tenant, FROM, TO, timezone=timezone, **query)
        skipped = answer.meta.duplicates_skipped
        found = {
            "buckets": list(answer.buckets),
            "series": [
                {
                    "by": [value_of(value) for value in line.by],
                    "values": [value_of(value) for value in line.values],
                    "overall": value_of(line.overall),
                }
                for line in answer.series
            ],
            "duplicates_skipped": skipped.log + skipped.segment,
        }
        assert found == expected, query
        assert (answer.meta.complete, list(answer.meta.missing_shards)) == (True, [])

    async def _check_timelines(self, tenant: str) -> None:
        """Of two users, page by page."""
        for user in ("user-1", "user-7"):
            found, token = [], ""
            while True:
                request = query_pb2.GetTimelineRequest(tenant=tenant, user=user, page_size=13, page_token=token)
                page = await self.cluster.call("gateway-0", rpcs.GET_TIMELINE, request)
                found += [orjson.loads(row) for row in page.events]
                token = page.next_page_token
                if not token:
                    break
            expected = [row for row in self.reference.rows if row["tenant"] == tenant]
            wanted = Reference(expected).timeline(tenant, user)
            assert as_multiset_in_order(found) == as_multiset_in_order(wanted)

    async def _check_export(self, tenant: str) -> None:
        for include in (False, True):
            payload = await self.cluster.export(tenant, START_MS, END_MS, include_duplicates=include)
            rows = [orjson.loads(line) for line in payload.splitlines()]
            expected = self.reference.export(tenant, START_MS, END_MS, include_duplicates=include)
            assert as_multiset_in_order(rows) == as_multiset_in_order(expected)


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def as_multiset_in_order(rows: Sequence[dict[str, Any]]) -> list[tuple[tuple[Any, ...], Counter[str]]]:
    """Rows by their order key; those that share one, in any order."""
    groups: list[tuple[tuple[Any, ...], Counter[str]]] = []
    for row in rows:
        properties = row["properties"]
        key = (properties["time"], properties["distinct_id"], row["event"], properties.get("$insert_id"))
        if not groups or groups[-1][0] != key:
            groups.append((key, Counter()))
        groups[-1][1][orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()] += 1
    return groups


def make_rows(random: Random, count: int, tenants: Sequence[str], first: int = 0) -> list[Row]:
    """Events of few users over ten days; some anonymous, some without insert_id."""
    rows: list[Row] = []
    for number in range(first, first + count):
        user = random.choice(["", *(f"user-{user}" for user in range(40))])
        properties: dict[str, Any] = {"number": random.randrange(5), "ratio": random.choice([0.5, 2.25])}
        if random.random() < 0.8:
            properties["plan"] = random.choice(["free", "pro", "team", "größer"])
        rows.append(
            {
                "tenant": random.choice(tenants),
                "event": random.choice(["view", "sale", "open"]),
                "distinct_id": user,
                "time": random.randrange(START_MS, END_MS),
                "insert_id": None if random.random() < 0.05 else f"id-{number}",
                "properties": properties,
            }
        )
    return rows


def ndjson(rows: Sequence[Row]) -> bytes:
    def line(row: Row) -> dict[str, Any]:
        properties = {"distinct_id": row["distinct_id"], "time": row["time"], **row["properties"]}
        if row["insert_id"] is not None:
            properties["$insert_id"] = row["insert_id"]
        return {"event": row["event"], "tenant": row["tenant"], "properties": properties}

    return b"\n".join(orjson.dumps(line(row)) for row in rows)


def arrow(rows: Sequence[Row]) -> bytes:
    names = sorted({name for row in rows for name in row["properties"]})
    columns = {name: [row[name] for row in rows] for name in ("event", "distinct_id", "time", "insert_id")}
    columns |= {name: [row["properties"].get(name) for row in rows] for name in names}
    record = pa.record_batch(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return sink.getvalue()


async def test_arrow_and_lines_of_several_tenants_answer_as_the_model(cluster: MemoryCluster) -> None:
    print("seed", SEED)
    random, model = Random(SEED), Model(cluster)
    acme = await cluster.create_tenant("acme", TenantSettings(timezone="America/New_York"))
    await cluster.create_tenant("beta")
    rows = make_rows(random, 800, ["acme"])
    answer = await cluster.import_events("acme", arrow_ipc=arrow(rows))
    assert (answer.accepted, answer.duplicates, answer.rejected, len(answer.errors)) == (800, 0, 0, 0)
    model.store(rows)

    mixed = make_rows(random, 600, ["acme", "beta"], first=10_000)
    answer = await cluster.import_events("", ndjson=ndjson(mixed))
    assert (answer.accepted, answer.duplicates, answer.rejected) == (600, 0, 0)
    per_tenant = Counter(row["tenant"] for row in mixed)
    assert {each.tenant: (each.accepted, each.rejected) for each in answer.by_tenant} == {
        tenant: (count, 0) for tenant, count in per_tenant.items()
    }
    model.store(mixed)
    await model.check("acme", "America/New_York")
    await model.check("beta")

    compacted = await cluster.compact(acme)
    assert sum(done.rows for done in compacted) == 800 + per_tenant["acme"]
    await model.check("acme", "America/New_York")


async def test_retries_are_duplicates_before_during_and_after_compaction(cluster: MemoryCluster) -> None:
    print("seed", SEED)
    random, model = Random(SEED), Model(cluster)
    acme = await cluster.create_tenant("acme")
    rows = [row for row in make_rows(random, 500, ["acme"]) if row["insert_id"] is not None]
    for round_ in range(4):
        random.shuffle(rows)
        batches = [rows[start : start + 90] for start in range(0, len(rows), 90)]
        work: list[Any] = [cluster.import_events("acme", arrow_ipc=arrow(batch)) for batch in batches]
        if round_ in (1, 2):
            work.append(cluster.compact(acme))
        answers = (await asyncio.gather(*work))[: len(batches)]
        assert sum(answer.accepted for answer in answers) == len(rows)
        assert sum(answer.duplicates for answer in answers) == (len(rows) if round_ else 0)
        model.store(rows)
        await model.check("acme")


async def test_an_acked_event_is_in_the_next_answer(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    rows = make_rows(Random(SEED), 40, ["acme"])
    for number, row in enumerate(rows):
        assert (await cluster.import_events("acme", ndjson=ndjson([row]))).accepted == 1
        answer = await cluster.segmentation("acme", FROM, TO)
        assert answer.series[0].overall.int64_value == number + 1


async def test_a_crashed_shard_keeps_every_acked_event_once(cluster: MemoryCluster) -> None:
    print("seed", SEED)
    random, model = Random(SEED), Model(cluster)
    acme = await cluster.create_tenant("acme")
    rows = [row for row in make_rows(random, 1_500, ["acme"]) if row["insert_id"] is not None]
    batches = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    crashes = {3: SHARD_0, 7: SHARD_1, 11: SHARD_0}
    for number, batch in enumerate(batches):
        sending = asyncio.create_task(cluster.import_events("acme", arrow_ipc=arrow(batch)))
        if number in crashes:
            await asyncio.sleep(random.random() * 0.004)
            await cluster.crash(crashes[number])
        answer = await sending
        assert answer.accepted + answer.rejected == len(batch)
        assert {error.code for error in answer.errors} <= {"SHARD_UNAVAILABLE"}
        if number in crashes:
            await cluster.start(crashes[number])
        again = [batch[error.index] for error in answer.errors]
        if again:
            settled = await cluster.import_events("acme", arrow_ipc=arrow(again))
            assert (settled.accepted, settled.rejected) == (len(again), 0)
        if number == 8:
            await cluster.compact(acme)
    # Whatever was in doubt counts once; how often it was stored is not known.
    model.store(rows)
    answer = await cluster.segmentation("acme", FROM, TO)
    assert answer.series[0].overall.int64_value == len(rows)
    payload = await cluster.export("acme", START_MS, END_MS)
    exported = [orjson.loads(line) for line in payload.splitlines()]
    assert as_multiset_in_order(exported) == as_multiset_in_order(model.reference.export("acme", START_MS, END_MS))


async def test_a_restarted_cluster_answers_as_before(cluster: MemoryCluster) -> None:
    model = Model(cluster)
    acme = await cluster.create_tenant("acme")
    for first in (0, 1000):
        rows = make_rows(Random(SEED + first), 400, ["acme"], first=first)
        assert (await cluster.import_events("acme", arrow_ipc=arrow(rows))).accepted == 400
        model.store(rows)
        if first == 0:
            await cluster.compact(acme)
    for name in ("router-0", "gateway-0", "counter-0", SHARD_0, SHARD_1):
        await cluster.stop(name)
    for name in (SHARD_0, SHARD_1, "counter-0", "gateway-0", "router-0"):
        await cluster.start(name)
    await model.check("acme")


async def test_a_cut_link_fails_only_its_own_events_and_the_retry_counts_once(cluster: MemoryCluster) -> None:
    model = Model(cluster)
    await cluster.create_tenant("acme")
    rows = [row for row in make_rows(Random(SEED), 600, ["acme"]) if row["insert_id"] is not None]
    cluster.peers.lose_answers(SHARD_0, rpcs.APPEND_EVENTS)
    cluster.peers.partition(SHARD_1)
    answer = await cluster.import_events("acme", arrow_ipc=arrow(rows))
    assert (answer.accepted, answer.rejected) == (0, len(rows))
    assert [(error.index, error.insert_id) for error in answer.errors] == [
        (number, row["insert_id"]) for number, row in enumerate(rows)
    ]
    assert {(error.code, error.retryable) for error in answer.errors} == {("SHARD_UNAVAILABLE", True)}
    cluster.peers.heal(SHARD_1)
    again = await cluster.import_events("acme", arrow_ipc=arrow(rows))
    assert (again.accepted, again.rejected) == (len(rows), 0)
    stored_before = again.duplicates  # those whose ack was lost
    assert 0 < stored_before < len(rows)
    third = await cluster.import_events("acme", arrow_ipc=arrow(rows))
    assert (third.accepted, third.duplicates) == (len(rows), len(rows))
    model.store(rows)
    answer = await cluster.segmentation("acme", FROM, TO)
    expected = model.reference.segmentation("acme", FROM, TO)["series"]
    assert [([value_of(v) for v in line.values], value_of(line.overall)) for line in answer.series] == [
        (line["values"], line["overall"]) for line in expected
    ]
    skipped = answer.meta.duplicates_skipped
    assert skipped.log + skipped.segment == stored_before + len(rows)


async def test_a_shard_that_is_away_fails_queries_by_name(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    rows = make_rows(Random(SEED), 100, ["acme"])
    await cluster.import_events("acme", arrow_ipc=arrow(rows))
    cluster.peers.partition(SHARD_1)
    with pytest.raises(EvenshardError) as caught:
        await cluster.segmentation("acme", FROM, TO)
    assert caught.value.code == "SHARD_UNAVAILABLE"
    assert SHARD_1 in str(caught.value)
    partial = await cluster.segmentation("acme", FROM, TO, options={"allow_partial": True})
    assert (partial.meta.complete, list(partial.meta.missing_shards)) == (False, [SHARD_1])
    assert 0 < partial.series[0].overall.int64_value < 100


def moved(tenant: Tenant, epoch: int, shards: Sequence[ShardId]) -> Tenant:
    return replace(tenant, placement=even_placement(shards, Epoch(epoch)))


async def test_a_placement_that_changed_behind_the_router_is_learned(cluster: MemoryCluster) -> None:
    acme = await cluster.create_tenant("acme")
    rows = make_rows(Random(SEED), 100, ["acme"])
    assert (await cluster.import_events("acme", arrow_ipc=arrow(rows))).accepted == 100
    cluster.directory.pause_watches()
    await cluster.put_tenant(moved(acme, 2, [SHARD_0, SHARD_1]))
    # A shard learns the new epoch from a request that carries it; then the old one is refused.
    newer = shard_pb2.CompactRequest(tenant="acme", epoch=2, wait=True)
    for shard in (SHARD_0, SHARD_1):
        await cluster.call(shard, rpcs.COMPACT, newer)
        with pytest.raises(EvenshardError) as caught:
            await cluster.call(shard, rpcs.SCAN, shard_pb2.ScanRequest(tenant="acme", epoch=1))
        assert (caught.value.code, caught.value.act) == ("STALE_EPOCH", "refresh")
    more = make_rows(Random(SEED), 100, ["acme"], first=500)
    assert (await cluster.import_events("acme", arrow_ipc=arrow(more))).accepted == 100
    assert (await cluster.segmentation("acme", FROM, TO)).series[0].overall.int64_value == 200


async def test_a_shard_refuses_rows_of_slots_it_does_not_own(cluster: MemoryCluster) -> None:
    acme = await cluster.create_tenant("acme", placement=even_placement([SHARD_1]))
    rows = make_rows(Random(SEED), 50, ["acme"])
    cluster.directory.pause_watches()
    await cluster.call(SHARD_0, rpcs.COMPACT, shard_pb2.CompactRequest(tenant="acme", epoch=1, wait=True))
    # The router plans with both shards at an epoch that gives everything to one.
    await cluster.put_tenant(moved(acme, 1, [SHARD_0]))
    await cluster.stop("router-0")
    await cluster.start("router-0")
    answer = await cluster.import_events("acme", arrow_ipc=arrow(rows))
    assert (answer.accepted, {error.code for error in answer.errors}) == (0, {"SHARD_UNAVAILABLE"})
    answer = await cluster.call(SHARD_0, rpcs.GET_SHARD_STORAGE, shard_pb2.GetShardStorageRequest(tenant="acme"))
    assert sum(each.log_rows for each in answer.tenants) == 0


async def test_unknown_tenants_are_named(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    rows = make_rows(Random(SEED), 30, ["acme", "nobody"])
    with pytest.raises(EvenshardError) as caught:
        await cluster.import_events("nobody", arrow_ipc=arrow(rows))
    assert caught.value.code == "TENANT_NOT_FOUND"
    answer = await cluster.import_events("", ndjson=ndjson(rows))
    assert {(error.index, error.code, error.tenant) for error in answer.errors} == {
        (number, "TENANT_NOT_FOUND", "nobody") for number, row in enumerate(rows) if row["tenant"] == "nobody"
    }
    with pytest.raises(EvenshardError) as caught:
        await cluster.segmentation("nobody", FROM, TO)
    assert caught.value.code == "TENANT_NOT_FOUND"


async def test_the_counter_knows_what_was_new_and_its_death_costs_no_event(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    rows = [row for row in make_rows(Random(SEED), 700, ["acme"]) if row["insert_id"] is not None]
    expected = Counter((row["distinct_id"], (row["time"] - START_MS) // DAY_MS) for row in rows if row["distinct_id"])
    for _ in range(2):
        assert (await cluster.import_events("acme", arrow_ipc=arrow(rows))).accepted == len(rows)

    async def counted() -> bool:
        keys = await cluster.hot_keys("acme", limit=1000)
        found = {(key.distinct_id, int(key.date[-2:]) - 1): key.count for key in keys}
        return found == expected and all(key.count_error == 0 for key in keys)

    await cluster.until(counted)
    await cluster.crash("counter-0")
    more = make_rows(Random(SEED), 100, ["acme"], first=5_000)
    assert (await cluster.import_events("acme", arrow_ipc=arrow(more))).accepted == 100
