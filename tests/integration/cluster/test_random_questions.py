"""Random questions of every kind, each asked once of a whole cluster, equal the naive model: wherever users' rows are
(whole on 1, 2, 3 or 7 shards, split, on overflow shards, moved by hand), and whether these are in logs, in segments, in
both, or in the middle of a compaction."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.client.flows import flows_result
from evenshard.client.funnels import funnel_result
from evenshard.client.results import segmentation_result
from evenshard.client.retentions import retention_result
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.ids import ShardId
from evenshard.ports.peers import Rpc
from evenshard.shard import compacting
from evenshard.testing.by_hand import append_by_hand
from evenshard.testing.cluster import GATEWAY, MemoryCluster
from evenshard.testing.questions import COHORTS, Asking, Cohort, Question, World, marked, random_world
from evenshard.testing.reference import Reference, Row, order_of
from evenshard.testing.spread import SPREADS, Spread, spread
from evenshard.wire import rpcs

SHARDS: Final = 7
LYING: Final = ("in logs", "in segments", "half in each", "being compacted")
RPCS: Final[dict[str, Rpc[Any, Any]]] = {
    "segmentation": rpcs.QUERY_SEGMENTATION,
    "funnel": rpcs.QUERY_FUNNEL,
    "retention": rpcs.QUERY_RETENTION,
    "flows": rpcs.QUERY_FLOWS,
}
RESULTS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "segmentation": lambda answer, sent: segmentation_result(answer, sent.by),
    "funnel": funnel_result,
    "retention": lambda answer, sent: retention_result(answer, sent.by),
    "flows": lambda answer, sent: flows_result(answer),
}


class Gate:
    """Where compactions are held at their first write until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = 0
        self._open = threading.Event()
        self._open.set()
        monkeypatch.setattr(compacting, "_as_fast_as_it_can", self._written)

    def _written(self, size: int) -> None:
        if not self._open.is_set():
            self.held += 1
            assert self._open.wait(60)

    @asynccontextmanager
    async def holding(self, cluster: MemoryCluster, tenant: Tenant, shards: int) -> AsyncIterator[None]:
        """Compactions of so many shards, in their middle; of none, nothing is compacted."""
        if not shards:
            yield
            return
        self._open.clear()
        self.held = 0
        compaction = asyncio.create_task(cluster.compact(tenant))
        try:
            async with asyncio.timeout(60):
                while self.held < shards:
                    assert not compaction.done(), compaction.result()
                    await asyncio.sleep(0.001)
            yield
        finally:
            self._open.set()
            await compaction


async def append(
    cluster: MemoryCluster, tenant: Tenant, held: dict[ShardId, list[Row]], sent: set[int]
) -> set[ShardId]:
    """Each row that is among ``sent`` to its shard, in two batches; returns the shards that got some."""
    mine = {shard: [row for row in rows if id(row) in sent] for shard, rows in held.items()}
    await append_by_hand(cluster, tenant, {shard: rows[: len(rows) // 2] for shard, rows in mine.items()})
    await append_by_hand(cluster, tenant, {shard: rows[len(rows) // 2 :] for shard, rows in mine.items()})
    return {shard for shard, rows in mine.items() if rows}


@dataclass(frozen=True, slots=True)
class Stored:
    """A world in a cluster."""

    tenant: Tenant
    unindexed: int
    """Shards that have rows in their log."""


async def store(cluster: MemoryCluster, name: str, world: World, placed: Spread, lying: str) -> Stored:
    """All rows, lying so. A move is made by hand: who gave slots away keeps their rows, who has them now is given
    them."""
    before, settings = placed.before or placed, TenantSettings(timezone=world.zone)
    tenant = await cluster.create_tenant(name, settings, before.placement)
    everything = set(map(id, world.rows))
    halves = lying in ("half in each", "being compacted")
    older = set(map(id, world.rows[: len(world.rows) // 2])) if halves else everything
    unindexed = await append(cluster, tenant, before.held, older)
    if lying != "in logs":
        await cluster.compact(tenant)
        unindexed = set()
    if placed.before is not None:
        tenant = replace(tenant, placement=placed.placement)
        await cluster.put_tenant(tenant)
        unindexed |= await append(cluster, tenant, placed.came, older)
    unindexed |= await append(cluster, tenant, placed.own, everything - older)
    if lying == "in segments" and unindexed:
        await cluster.compact(tenant)
        unindexed = set()
    return Stored(tenant, len(unindexed))


async def save_cohort(cluster: MemoryCluster, tenant: str, cohort: Cohort) -> None:
    definition = query_pb2.CohortDefinition(**cohort.definition)
    request = query_pb2.SaveCohortRequest(tenant=tenant, name=cohort.name, definition=definition)
    saved = await cluster.call(GATEWAY, rpcs.SAVE_COHORT, request)
    assert saved.cohort.users == len(cohort.users), cohort


async def ask(cluster: MemoryCluster, tenant: str, question: Question) -> Any:
    rpc = RPCS[question.kind]
    request = rpc.request(tenant=tenant, **question.request)
    answer = await cluster.call(GATEWAY, rpc, request)
    document = RESULTS[question.kind](answer, request).to_dict()
    meta = document.pop("meta")
    assert meta["complete"]
    if question.kind == "segmentation":
        document["duplicates_skipped"] = sum(meta["duplicates_skipped"].values())
    return comparable(document, question.kind)


def comparable(found: Any, kind: str) -> Any:
    """Values by type as well, and numbers of a segmentation to the bit."""
    match found:
        case dict():
            return {
                name: [order_of(value) for value in some] if name == "by" else comparable(some, kind)
                for name, some in found.items()
            }
        case list() | tuple():
            return [comparable(each, kind) for each in found]
    return repr(found) if kind == "segmentation" else found


async def check_world(
    cluster: MemoryCluster, gate: Gate, chance: Random, name: str, how: int | str, lying: str, questions: int
) -> Counter[str]:
    """Asks so many questions; returns of which kinds."""
    world = random_world(chance, name)
    reference = Reference()
    reference.import_events(world.rows)
    stored = await store(cluster, name, world, spread(world.rows, how), lying)
    cohorts: list[Cohort] = []
    kinds: Counter[str] = Counter()
    for cohort_name in COHORTS:
        asking = Asking(chance, world.zone, cohorts)
        cohorts.append(asking.cohort(cohort_name, marked(reference.rows, cohorts)))
        await save_cohort(cluster, name, cohorts[-1])
    asking, rows = Asking(chance, world.zone, cohorts), marked(reference.rows, cohorts)
    shards = stored.unindexed if lying == "being compacted" else 0
    async with gate.holding(cluster, stored.tenant, shards):
        for _ in range(questions):
            question = asking.question()
            expected = asking.expected(question, name, rows, int(time.time() * 1000))
            got = await ask(cluster, name, question)
            assert got == comparable(expected, question.kind), (name, how, lying, question)
            kinds[question.kind] += 1
    return kinds


async def check(seed: int, worlds: int, questions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {seed}")
    chance, gate, asked = Random(seed), Gate(monkeypatch), Counter[str]()
    async with MemoryCluster(shards=SHARDS, seed=seed) as cluster:
        for number in range(worlds):
            turn, place = divmod(number, len(SPREADS))
            how, lying = SPREADS[place], LYING[(place + turn) % len(LYING)]
            asked += await check_world(cluster, gate, chance, f"world-{number}", how, lying, questions)
    print(dict(asked))
    assert sum(asked.values()) == worlds * questions


async def test_some_random_questions_are_answered_as_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    await check(seed=1, worlds=len(SPREADS), questions=8, monkeypatch=monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_a_thousand_random_questions_are_answered_as_by_the_model(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check(seed, worlds=6 * len(SPREADS), questions=20, monkeypatch=monkeypatch)
