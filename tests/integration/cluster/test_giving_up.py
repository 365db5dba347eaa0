"""A question whose asker has gone, or whose time is up, ends at the next look: each kind of question is held in the
middle of a shard's scan, given up, and let go on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError
from evenshard.queries import user_chunks
from evenshard.shard import scans
from evenshard.testing.cluster import GATEWAY, MemoryCluster
from evenshard.wire import rpcs

DAYS = {"tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-02"}
START_MS = 1_767_225_600_000
IMPORTS, USERS = 6, 20
LOOK = 3
"""The look at which a scan is held: rows have been gone through before, and are left behind it."""
TIMEOUT_S = 1.5
WAIT_S = 20.0


def step(*events: str) -> query_pb2.FunnelStep:
    return query_pb2.FunnelStep(events=events)


STEPS = [step("view"), step("buy")]
DID = query_pb2.CohortDid(step=step("view"), at_least=1)
DEFINITION = query_pb2.CohortDefinition(from_date="2026-01-01", to_date="2026-01-02", did=[DID])
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "total": (rpcs.QUERY_SEGMENTATION, {**DAYS, "where": "n > 3"}),
    "median": (rpcs.QUERY_SEGMENTATION, {**DAYS, "measure": "p50", "property": "n", "by": ["n"]}),
    "uniques": (rpcs.QUERY_SEGMENTATION, {**DAYS, "measure": "unique"}),
    "funnel": (rpcs.QUERY_FUNNEL, {**DAYS, "steps": STEPS}),
    "funnel by groups": (rpcs.QUERY_FUNNEL, {**DAYS, "steps": STEPS, "by": ["n"], "count_mode": "total"}),
    "funnel in any order": (rpcs.QUERY_FUNNEL, {**DAYS, "steps": STEPS, "order": "any", "count_mode": "session"}),
    "retention": (rpcs.QUERY_RETENTION, {**DAYS, "birth": step("view")}),
    "flows": (rpcs.QUERY_FLOWS, {**DAYS, "anchor": step("view"), "session": True}),
    "schema": (rpcs.GET_SCHEMA, DAYS),
    "timeline": (rpcs.GET_TIMELINE, {**DAYS, "user": "user-1"}),
    "cohort": (rpcs.SAVE_COHORT, {"tenant": "acme", "name": "viewers", "definition": DEFINITION}),
}


@dataclass
class Held:
    """A scan of the only shard is held at its look number ``LOOK``."""

    monkeypatch: pytest.MonkeyPatch
    looks: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)
    """That nobody waits any more."""
    go_on: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    ended: str = ""
    """How the scan did: an error's code, or done."""

    def __post_init__(self) -> None:
        look, give_up, scan = scans.Patience.check, scans.Patience.give_up, scans._scan

        def held(patience: scans.Patience) -> None:
            self.looks += 1
            if self.looks == LOOK:
                self.reached.set()
                assert self.go_on.wait(WAIT_S)
            look(patience)

        def given_up(patience: scans.Patience) -> None:
            give_up(patience)
            self.told.set()

        def run(*arguments: Any) -> Any:
            self.ended = "done"
            try:
                return scan(*arguments)
            except EvenshardError as error:
                self.ended = error.code
                raise
            finally:
                self.over.set()

        self.monkeypatch.setattr(scans.Patience, "check", held)
        self.monkeypatch.setattr(scans.Patience, "give_up", given_up)
        self.monkeypatch.setattr(scans, "_scan", run)
        self.monkeypatch.setattr(user_chunks, "CHUNK_ROWS", 2)


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    """Rows of few users, in parts."""
    async with MemoryCluster(shards=1) as made:
        await made.create_tenant("acme")
        for number in range(IMPORTS):
            lines = [
                {
                    "event": ["view", "buy"][number % 2],
                    "properties": {
                        "distinct_id": f"user-{user}",
                        "time": START_MS + number * 60_000,
                        "$insert_id": f"{number}-{user}",
                        "n": user,
                    },
                }
                for user in range(USERS)
            ]
            assert (await made.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, lines)))).accepted == USERS
        yield made


GiveUp = Callable[["asyncio.Task[Any]", Held], Awaitable[None]]


async def given_up(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, kind: str, give_up: GiveUp) -> Held:
    """Asks, gives up in the middle, lets the scan go on, and waits for its end."""
    rpc, fields = ASKED[kind]
    with monkeypatch.context() as patch:
        held = Held(patch)
        asking = asyncio.create_task(cluster.call(GATEWAY, rpc, rpc.request(**fields), timeout_s=TIMEOUT_S))
        assert await asyncio.to_thread(held.reached.wait, WAIT_S), held.looks
        await give_up(asking, held)
        held.go_on.set()
        assert await asyncio.to_thread(held.over.wait, WAIT_S)
    return held


async def cancel(asking: "asyncio.Task[Any]", held: Held) -> None:
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(held.told.wait, WAIT_S)


async def wait_in_vain(asking: "asyncio.Task[Any]", held: Held) -> None:
    with pytest.raises(EvenshardError, match="shard-0 did not answer: DEADLINE_EXCEEDED"):
        await asking


@pytest.mark.parametrize("kind", ASKED)
async def test_a_cancelled_question_ends_at_the_next_look(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    held = await given_up(cluster, monkeypatch, kind, cancel)
    assert (held.ended, held.looks) == ("DEADLINE_EXCEEDED", LOOK)
    rpc, fields = ASKED[kind]
    await cluster.call(GATEWAY, rpc, rpc.request(**fields))


async def test_a_question_whose_time_is_up_ends_at_the_next_look(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await given_up(cluster, monkeypatch, "funnel by groups", wait_in_vain)
    assert (held.ended, held.looks) == ("DEADLINE_EXCEEDED", LOOK)
