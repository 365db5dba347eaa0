"""Repairs whose router or shard dies at each step end as planned, and their undo gives the former answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import MARKS, REPAIRS
from evenshard.directory.repair import Repair
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-01"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
HOT = "undefined"
VICTIMS = (ROUTER, "shard-0", "shard-1")


async def made(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=20))
    lines = []
    for number in range(200):
        properties = {"distinct_id": HOT, "time": START_MS + number // 3, "mail": f"u{number % 7}@x"}
        if number % 4:
            properties["$insert_id"] = f"i{number}"
        lines.append(orjson.dumps({"event": "view", "properties": properties}))
    for at in range(0, 200, 50):
        await cluster.import_events("acme", ndjson=b"\n".join(lines[at : at + 50]))

    async def marked() -> bool:
        return bool((await cluster.directory.range(MARKS)).entries)

    await cluster.until(marked)
    await cluster.import_events("acme", ndjson=b"\n".join(lines[100:150]))


async def shown(cluster: MemoryCluster) -> list[bytes]:
    return sorted((await cluster.export("acme", START_MS, START_MS + DAY_MS, include_duplicates=True)).splitlines())


async def restarted(cluster: MemoryCluster, victim: str) -> None:
    await cluster.crash(victim)
    await cluster.start(victim)


async def ended_under_fire(cluster: MemoryCluster, operation: str, victims: Any) -> list[str]:
    """Waits for the end; whoever comes next among ``victims`` dies each time a new step is reached. The steps seen."""
    steps: list[str] = []
    async with asyncio.timeout(60):
        while True:
            entries = (await cluster.directory.range(REPAIRS)).entries
            repair = next(
                (each for entry in entries if (each := Repair.from_json(entry.value)).operation == operation), None
            )
            assert repair is not None
            if repair.ended_ms is not None:
                return steps
            if not steps or steps[-1] != repair.step:
                steps.append(repair.step)
                await restarted(cluster, next(victims))
            await asyncio.sleep(0)


async def asked(cluster: MemoryCluster, rpc: Any, request: Any) -> str:
    """The operation that a request begins, sent again while nobody answers."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(EvenshardError):
                answer = await cluster.call(ROUTER, rpc, request)
                return str(answer.operation.operation)
            await asyncio.sleep(0.05)


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=20261109) as running:
        await made(running)
        yield running


@pytest.mark.parametrize(
    ("action", "victim"),
    [
        ("reassign", 0),
        *(
            pytest.param(action, victim, marks=pytest.mark.slow)
            for action, victim in (("reassign", 1), ("reassign", 2), ("delete", 0), ("delete", 1), ("delete", 2))
        ),
    ],
)
async def test_whoever_dies_at_any_step_the_repair_and_its_undo_end_as_planned(
    cluster: MemoryCluster, action: str, victim: int
) -> None:
    before = await shown(cluster)
    victims = cycle(VICTIMS[victim:] + VICTIMS[:victim])
    asked_for = {"distinct_id_from": "mail", "include_earlier": True} if action == "reassign" else {}
    request = admin_pb2.RepairHotKeyRequest(
        tenant="acme",
        distinct_id=HOT,
        from_date=FROM,
        to_date=TO,
        action=action,
        options=admin_pb2.ChangeOptions(request_id="r"),
        **asked_for,
    )
    operation = await asked(cluster, rpcs.REPAIR_HOT_KEY, request)
    steps = await ended_under_fire(cluster, operation, victims)
    assert steps[-2:] == ["settle", "end"]
    after = await shown(cluster)
    if action == "delete":
        assert after == []
    else:
        moved = []
        for line in before:
            event = orjson.loads(line)
            properties = dict(event["properties"])
            name = properties.pop("mp_original_event_name", event["event"])
            properties.pop("mp_original_distinct_id", None)
            properties["distinct_id"] = properties["mail"]
            moved.append({**event, "event": name, "properties": properties})
        assert sorted(map(canonical, map(orjson.loads, after))) == sorted(map(canonical, moved))
    undo = admin_pb2.UndoRepairRequest(operation=operation, options=admin_pb2.ChangeOptions(request_id="u"))
    await ended_under_fire(cluster, await asked(cluster, rpcs.UNDO_REPAIR, undo), victims)
    assert await shown(cluster) == before


def canonical(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
