"""An answer accounts for everything that shards read for it, in all rounds; and it is paid for, whatever came of it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from evenshard.errors import EvenshardError
from evenshard.gateway import reunion
from evenshard.gateway.reunion import Reunion
from evenshard.ids import ShardId
from evenshard.runtime.settings import Settings
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row
from evenshard.wire.rpcs import SCAN

START_MS = 1_704_067_200_000
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
DID = {"did": [{"step": {"events": ["view"]}, "at_least": 1}]}


def rows(count: int = 40) -> list[Row]:
    return [
        {
            "tenant": TENANT,
            "event": "view",
            "distinct_id": f"user-{number % 9}",
            "time": START_MS + number * 60_000,
            "insert_id": None,
            "properties": {"plan": number % 5},
        }
        for number in range(count)
    ]


ASKED: dict[str, Callable[[GatewayWorld, str], Awaitable[Any]]] = {
    "segmentation": lambda world, event: world.segmentation(events=[event], **RANGE),
    "funnel": lambda world, event: world.funnel([event, "view"], **RANGE),
    "retention": lambda world, event: world.retention(event, **RANGE),
    "flows": lambda world, event: world.flows(event, **RANGE),
}


@pytest.mark.parametrize("kind", ASKED)
async def test_looking_for_near_names_is_counted_as_read(kind: str) -> None:
    async with GatewayWorld() as world:
        world.add(rows())
        known = (await ASKED[kind](world, "view")).meta
        unknown = (await ASKED[kind](world, "vieww")).meta
        assert ([each.code for each in known.warnings], known.rows_scanned) == ([], 40)
        assert ([each.code for each in unknown.warnings], unknown.rows_scanned) == (["UNKNOWN_EVENT"], 80)
        assert unknown.bytes_scanned > known.bytes_scanned


async def test_each_round_is_counted_as_read() -> None:
    async with GatewayWorld() as world:
        world.add(rows())
        asked: dict[str, Any] = {"measure": "unique", "by": ["plan"], **RANGE}
        one_round = await world.segmentation(limit=5, **asked)
        two_rounds = await world.segmentation(limit=1, **asked)
        assert [each.meta.rows_scanned for each in (one_round, two_rounds)] == [40, 80]
        assert two_rounds.meta.bytes_scanned == 2 * one_round.meta.bytes_scanned


async def refused(world: GatewayWorld) -> str:
    """Why the tenant's next question is; empty: it is not."""
    try:
        await world.segmentation(**RANGE)
    except EvenshardError as error:
        return error.code
    return ""


LIMITED = Settings(tenant_scan_bytes_per_second=100)


async def test_a_question_that_fails_is_paid_for_as_far_as_it_was_read() -> None:
    async with GatewayWorld(limits=LIMITED) as world:
        world.add(rows())
        world.peers.fail("shard-1", SCAN, EvenshardError("QUERY_INVALID", "too many groups"))
        with pytest.raises(EvenshardError, match="too many groups"):
            await world.segmentation(**RANGE)
        assert await refused(world) == "LIMIT_EXCEEDED"
        await world.clock.advance(60_000)
        world.peers.fail("shard-1", SCAN, None)
        assert await refused(world) == ""


async def test_who_belongs_to_cohorts_is_paid_for_and_waits_its_turn() -> None:
    async with GatewayWorld(limits=LIMITED) as world:
        world.add(rows())
        assert (await world.save_cohort("viewers", DID)).users == 9
        for ask in (world.cohorts, lambda: world.save_cohort("viewers", DID)):
            with pytest.raises(EvenshardError) as failed:
                await ask()
            assert failed.value.code == "LIMIT_EXCEEDED"
        assert await refused(world) == "LIMIT_EXCEEDED"
        await world.clock.advance(600_000)
        world.add(rows(1))  # else it would be known
        assert [(each.name, each.version, each.users) for each in await world.cohorts()] == [("viewers", 1, 9)]
        assert await refused(world) == "LIMIT_EXCEEDED"


async def test_what_is_known_costs_nothing() -> None:
    async with GatewayWorld(limits=LIMITED) as world:
        world.add(rows())
        await world.segmentation(**RANGE)
        await world.clock.advance(600_000)
        for _ in range(3):
            known = await world.segmentation(**RANGE)
            assert (known.meta.cache, known.meta.bytes_scanned) == ("hit", 0)


async def test_who_joins_a_question_that_waits_does_not_pay_for_it_again() -> None:
    limits = Settings(tenant_scan_bytes_per_second=1_000_000, tenant_queries_max=1)
    async with GatewayWorld(limits=limits) as world:
        world.add(rows())
        first, open_gate = asyncio.Event(), asyncio.Event()
        shard = world.shards[ShardId("shard-0")]
        scan = shard.Scan

        async def held(request: Any, context: Any) -> Any:
            first.set()
            await open_gate.wait()
            return await scan(request, context)

        shard.Scan = held  # type: ignore[method-assign]
        running = asyncio.create_task(world.segmentation(unit="month", **RANGE))
        await first.wait()
        joined = [asyncio.create_task(world.segmentation(**RANGE)) for _ in range(5)]
        await asyncio.sleep(0.05)
        scans = shard.scans
        open_gate.set()
        await running
        answers = [await each for each in joined]
        assert len({answer.meta.bytes_scanned for answer in answers}) == 1
        assert answers[0].meta.rows_scanned == 40
        assert shard.scans == scans + 2


class _Patient:
    def remaining_s(self) -> float:
        return 10.0


async def test_the_room_of_split_users_rows_is_held_until_the_thread_lets_go_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def goes_on(scan: bytes, of_shards: Any, check: Callable[[], None]) -> Any:
        begun.set()
        assert go_on.wait(10)
        try:
            check()
        except EvenshardError as error:
            ended.append(error.code)
            raise

    monkeypatch.setattr(reunion, "reunited", goes_on)
    room = Reunion(100)
    asking = asyncio.create_task(room.of(b"", [], 60, ["ann"], _Patient()))
    assert await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert room.bytes == 60
    with pytest.raises(EvenshardError, match="60 bytes of rows of split users are held"):
        await room.of(b"", [], 60, ["bob"], _Patient())
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert (room.bytes, ended) == (0, ["DEADLINE_EXCEEDED"])
