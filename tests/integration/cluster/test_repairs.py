"""Repairs of hot keys on a whole cluster in memory: what is shown before, while, after, and once undone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import FORGOTTEN, MARKS, REPAIRING, REPAIRS, ROOT
from evenshard.directory.placement import even_placement
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
THRESHOLD = 20
SEED = 20260109
HOT = "null"
MAILS = ("ann@x", "bob@x", "cy@x", None)


class World:
    """Two shards, a tenant with a low threshold, and a key that ran away with it on the first day."""

    def __init__(self, cluster: MemoryCluster, tenant: Tenant) -> None:
        self.cluster = cluster
        self.tenant = tenant

    async def send(self, user: str, first: int, count: int, day: int = 0, router: str = ROUTER) -> tuple[int, int]:
        """Accepted, duplicates."""
        lines = []
        for number in range(first, first + count):
            properties = {"distinct_id": user, "time": START_MS + day * DAY_MS + number * 1000, "number": number}
            if number % 5:  # the others cannot be told from others like them
                properties["$insert_id"] = f"i-{day}-{number}"
            if MAILS[number % 4]:
                properties["mail"] = MAILS[number % 4]
            lines.append(orjson.dumps({"event": ("view", "sale")[number % 2], "properties": properties}))
        answer = await self.cluster.import_events("acme", router=router, ndjson=b"\n".join(lines))
        assert answer.rejected == 0, answer.errors
        return answer.accepted, answer.duplicates

    async def shown(self) -> list[Any]:
        """All there is to see."""
        found: list[Any] = [
            await self.cluster.export("acme", START_MS, START_MS + 2 * DAY_MS, include_duplicates=include)
            for include in (False, True)
        ]
        for query in ({}, {"measure": "unique"}, {"by": ["$event"]}, {"by": ["$distinct_id"]}):
            answer = await self.cluster.segmentation("acme", FROM, TO, **query)
            series = [(str(line.by), str(line.values), str(line.overall)) for line in answer.series]
            found.append([series, answer.meta.hot_events_rewritten])
        return found

    async def exported(self) -> list[dict[str, Any]]:
        lines = await self.cluster.export("acme", START_MS, START_MS + 2 * DAY_MS)
        return [orjson.loads(line) for line in lines.splitlines()]

    async def by_user(self) -> dict[tuple[str, str], int]:
        """Events by name and user, as an export shows them."""
        counts: dict[tuple[str, str], int] = {}
        for line in (await self.cluster.export("acme", START_MS, START_MS + 2 * DAY_MS)).splitlines():
            event = orjson.loads(line)
            key = event["event"], event["properties"]["distinct_id"]
            counts[key] = counts.get(key, 0) + 1
        return counts

    async def compact(self) -> None:
        await self.cluster.call(ROUTER, rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant="acme", wait=True))

    async def repair(self, action: str, router: str = ROUTER, **asked: Any) -> admin_pb2.RepairHotKeyResponse:
        options = admin_pb2.ChangeOptions(**asked.pop("options", {}))
        request = admin_pb2.RepairHotKeyRequest(
            **{"tenant": "acme", "distinct_id": HOT, "from_date": FROM, "to_date": TO, **asked},
            action=action,
            options=options,
        )
        answer: admin_pb2.RepairHotKeyResponse = await self.cluster.call(router, rpcs.REPAIR_HOT_KEY, request)
        return answer

    async def undo(self, operation: str, **options: Any) -> admin_pb2.Operation:
        request = admin_pb2.UndoRepairRequest(operation=operation, options=admin_pb2.ChangeOptions(**options))
        return (await self.cluster.call(ROUTER, rpcs.UNDO_REPAIR, request)).operation

    async def ended(self, operation: str) -> admin_pb2.Operation:
        request = admin_pb2.WaitOperationRequest(operation=operation, timeout_ms=15_000)
        found = (await self.cluster.call(ROUTER, rpcs.WAIT_OPERATION, request)).operation
        assert found.state == "complete", found
        return found

    async def verified(self, operation: str) -> tuple[bool, list[str]]:
        request = admin_pb2.VerifyOperationRequest(operation=operation)
        found = (await self.cluster.call(ROUTER, rpcs.VERIFY_OPERATION, request)).operation.verify
        return found.equal, list(found.differences)


@pytest.fixture(params=["spread", pytest.param("at home", marks=pytest.mark.slow)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with MemoryCluster(shards=2 if request.param == "at home" else 3, seed=SEED) as cluster:
        placement = even_placement(cluster.shard_names[:2])
        if request.param == "spread":
            placement = replace(placement, overflow=even_placement(cluster.shard_names[1:]).slots)
        tenant = await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD), placement)
        made = World(cluster, tenant)
        await made.send("ann@x", 1000, 5)
        await made.send(HOT, 0, 30)
        await made.send(HOT, 0, 10, day=1)

        async def marked() -> bool:
            entries = (await cluster.directory.range(MARKS)).entries
            return bool(entries) and all(Mark.from_json(entry.value).state == "active" for entry in entries)

        await cluster.until(marked)
        await made.send(HOT, 30, 30)
        await made.send(HOT, 30, 10)  # retries
        await made.send(HOT, 0, 10)
        yield made


def refused(code: str) -> Any:
    return pytest.raises(EvenshardError, match=code)


def repaired(exported: list[dict[str, Any]], *, include_earlier: bool, by_mail: bool = True) -> list[dict[str, Any]]:
    """What an export shows once the key of the first day was reassigned by ``mail``, or restored; naive."""
    result = []
    for event in exported:
        properties = dict(event["properties"])
        is_rewritten = event["event"] == "$hotshard_events"
        user = properties.get("mp_original_distinct_id", properties["distinct_id"])
        of_key = user == HOT and properties["time"] < START_MS + DAY_MS
        if of_key and (properties.get("mail") or not by_mail) and (is_rewritten or include_earlier):
            new_user = properties["mail"] if by_mail else user
            name = properties.pop("mp_original_event_name", event["event"])
            properties.pop("mp_original_distinct_id", None)
            event = {"event": name, "properties": {**properties, "distinct_id": new_user}}
        result.append(event)
    return result


def in_order(exported: list[dict[str, Any]]) -> list[bytes]:
    return sorted(orjson.dumps(event, option=orjson.OPT_SORT_KEYS) for event in exported)


@pytest.mark.parametrize("include_earlier", [False, True])
async def test_reassigned_events_are_under_the_ids_that_the_property_gives(world: World, include_earlier: bool) -> None:
    before, lines = await world.shown(), await world.exported()
    asked = {"distinct_id_from": "mail", "include_earlier": include_earlier}
    planned = await world.repair("reassign", **asked, options={"dry_run": True})
    assert await world.shown() == before
    expected = repaired(lines, include_earlier=include_earlier)
    plan = planned.plan
    moved = len([1 for old, new in zip(lines, expected, strict=True) if old != new])
    assert (plan.kept_rows if include_earlier else 0) + plan.rewritten_rows == moved
    assert list(plan.days) == [FROM]
    assert plan.left_rows == len(plan.left) == 16
    assert len(plan.examples) == 5
    shown, fixed = orjson.loads(plan.examples[0].before), orjson.loads(plan.examples[0].after)
    assert repaired([shown], include_earlier=include_earlier) == [fixed]
    assert fixed["properties"]["distinct_id"] == shown["properties"]["mail"]

    answer = await world.repair("reassign", **asked)
    assert answer.plan == plan
    operation = answer.operation.operation
    ended = await world.ended(operation)
    assert (ended.kind, ended.rows_done, ended.bytes_done) == ("repair", ended.rows_total, ended.bytes_total)
    assert ended.rows_total >= moved
    assert in_order(await world.exported()) == in_order(expected)
    assert await world.verified(operation) == (True, [])
    after = await world.exported()
    accepted, duplicates = await world.send(HOT, 20, 40)  # the originals, sent again
    again = [event for event in await world.exported() if event not in after]
    assert (accepted, duplicates) == (40, 32)
    assert all("$insert_id" not in event["properties"] for event in again)


async def test_undo_is_exact(world: World) -> None:
    for action, asked in (
        ("reassign", {"distinct_id_from": "mail"}),
        ("reassign", {"distinct_id_from": "mail", "include_earlier": True}),
        ("delete", {}),
    ):
        before = await world.shown()
        operation = (await world.repair(action, **asked)).operation.operation
        await world.ended(operation)
        assert await world.shown() != before
        undo = await world.undo(operation)
        await world.ended(undo.operation)
        assert await world.shown() == before, action
        await world.compact()
        assert await world.shown() == before, action
        assert await world.verified(undo.operation) == (True, [])


async def test_delete_hides_both_sets_and_what_is_imported_again_is_new(world: World) -> None:
    operation = (await world.repair("delete")).operation.operation
    await world.ended(operation)
    assert await world.by_user() == {("view", "ann@x"): 3, ("sale", "ann@x"): 2, ("view", HOT): 5, ("sale", HOT): 5}
    assert await world.send(HOT, 0, 60) == (60, 0)
    assert (await world.by_user())["$hotshard_events", ""] == 60
    undo = await world.undo(operation)
    await world.ended(undo.operation)
    users = await world.by_user()
    assert sum(users.values()) == 5 + 10 + 60 + 16  # those without insert_id cannot be told from new ones


async def test_a_query_sees_a_repair_whole_or_not_at_all(world: World) -> None:
    seen = []

    async def ask() -> None:
        while True:
            answer = await world.cluster.segmentation("acme", FROM, TO, by=["$distinct_id"])
            seen.append(tuple(sorted((str(line.by), str(line.overall)) for line in answer.series)))
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    operation = (await world.repair("reassign", distinct_id_from="mail", include_earlier=True)).operation.operation
    await world.ended(operation)
    asked = len(seen)

    async def seen_since() -> bool:
        return len(seen) >= asked + 6

    await world.cluster.until(seen_since)
    for task in asking:
        task.cancel()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert len(set(seen)) == 2
    assert seen == sorted(seen, key=lambda each: each != seen[0])


async def test_what_cannot_be_repaired_is_refused_by_name(world: World) -> None:
    for code, asked in (
        ("HOT_KEY_NOT_FOUND", {"action": "delete", "distinct_id": "ann@x"}),
        ("HOT_KEY_NOT_FOUND", {"action": "delete", "from_date": "2026-01-02"}),
        ("QUERY_INVALID", {"action": "destroy"}),
        ("QUERY_INVALID", {"action": "reassign"}),
        ("QUERY_INVALID", {"action": "reassign", "distinct_id_from": "nothing"}),
        ("QUERY_INVALID", {"action": "delete", "distinct_id": ""}),
        ("QUERY_INVALID", {"action": "delete", "distinct_id_from": "mail"}),
        ("QUERY_INVALID", {"action": "restore", "include_earlier": True}),
        ("RANGE_INVALID", {"action": "delete", "from_date": "2026-13-01"}),
        ("RANGE_INVALID", {"action": "delete", "from_date": "2026-01-03"}),
        ("TENANT_NOT_FOUND", {"action": "delete", "tenant": "nobody"}),
        ("OPERATION_CONFLICT", {"action": "delete", "options": {"expected_revision": 1}}),
    ):
        with refused(code):
            await world.repair(**asked)  # type: ignore[arg-type]
    assert (await world.cluster.directory.range(REPAIRS)).entries == []
    with refused("OPERATION_NOT_FOUND"):
        await world.undo("nothing")


async def test_a_request_sent_twice_is_one_repair(world: World) -> None:
    first = (await world.repair("delete", options={"request_id": "r"})).operation
    again = (await world.repair("delete", options={"request_id": "r"})).operation
    assert again.operation == first.operation
    with refused("OPERATION_CONFLICT"):
        await world.repair("restore", options={"request_id": "r"})
    await world.ended(first.operation)
    undo = await world.undo(first.operation, request_id="u")
    assert (await world.undo(first.operation, request_id="u")).operation == undo.operation
    with refused("OPERATION_STATE"):
        await world.undo(first.operation)
    await world.ended(undo.operation)
    with refused("OPERATION_STATE"):
        await world.undo(undo.operation)


async def test_two_repairs_of_a_key_at_once_conflict_and_a_paused_one_waits(world: World) -> None:
    before = await world.shown()
    operation = (await world.repair("reassign", distinct_id_from="mail")).operation.operation
    paused = await world.cluster.call(
        ROUTER, rpcs.PAUSE_OPERATION, admin_pb2.PauseOperationRequest(operation=operation)
    )
    with refused("OPERATION_CONFLICT"):
        await world.repair("delete")
    if paused.operation.state != "complete":
        assert paused.operation.paused
        await asyncio.sleep(0.5)
        shown = await world.cluster.call(ROUTER, rpcs.GET_OPERATION, admin_pb2.GetOperationRequest(operation=operation))
        assert shown.operation.paused
    await world.cluster.call(ROUTER, rpcs.RESUME_OPERATION, admin_pb2.ResumeOperationRequest(operation=operation))
    await world.ended(operation)
    assert await world.shown() != before
    assert (await world.cluster.directory.range(REPAIRING)).entries == []


async def test_a_cancelled_repair_changed_nothing(world: World) -> None:
    before = await world.shown()
    operation = (await world.repair("reassign", distinct_id_from="mail")).operation.operation
    await world.cluster.call(ROUTER, rpcs.PAUSE_OPERATION, admin_pb2.PauseOperationRequest(operation=operation))
    await world.cluster.call(ROUTER, rpcs.CANCEL_OPERATION, admin_pb2.CancelOperationRequest(operation=operation))
    found = await world.cluster.call(
        ROUTER, rpcs.WAIT_OPERATION, admin_pb2.WaitOperationRequest(operation=operation, timeout_ms=10_000)
    )
    assert found.operation.state == "cancelled", found
    assert await world.shown() == before
    again = (await world.repair("reassign", distinct_id_from="mail")).operation.operation
    await world.ended(again)
    undo = await world.undo(again)
    await world.ended(undo.operation)
    assert await world.shown() == before


async def test_a_deleted_user_is_named_nowhere_though_their_key_was_repaired(world: World) -> None:
    repaired_by = (await world.repair("reassign", distinct_id_from="mail", include_earlier=True)).operation.operation
    await world.ended(repaired_by)
    shown = await world.by_user()
    assert shown["view", HOT] + shown["sale", HOT] > 0  # events of the other day, and those without a mail
    running = (await world.repair("delete")).operation.operation
    await world.cluster.call(ROUTER, rpcs.PAUSE_OPERATION, admin_pb2.PauseOperationRequest(operation=running))
    deletion = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=[HOT])
    deleted_by = (await world.cluster.call(ROUTER, rpcs.DELETE_USERS, deletion)).operation.operation
    await world.cluster.call(ROUTER, rpcs.RESUME_OPERATION, admin_pb2.ResumeOperationRequest(operation=running))
    await world.ended(deleted_by)
    assert all(user != HOT for _, user in await world.by_user())
    left = [
        entry.key
        for entry in (await world.cluster.directory.range(ROOT)).entries
        if not entry.key.startswith(FORGOTTEN)  # other routers are told for a minute
        if entry.key.endswith(f"/{HOT}") or f'"{HOT}"'.encode() in entry.value
    ]
    assert left == []
    with refused("its user was deleted since"):
        await world.undo(repaired_by)


async def test_restore_shows_events_as_they_came_and_undo_as_they_were_rewritten(world: World) -> None:
    before, marks = await world.shown(), (await world.cluster.directory.range(MARKS)).entries
    with_originals = repaired(await world.exported(), include_earlier=False, by_mail=False)
    operation = (await world.repair("restore")).operation.operation
    await world.ended(operation)
    (entry,) = (await world.cluster.directory.range(MARKS)).entries
    assert Mark.from_json(entry.value).mode == "salt"

    async def restored() -> bool:  # marks are seen within a second
        return in_order(await world.exported()) == in_order(with_originals)

    await world.cluster.until(restored)
    assert await world.verified(operation) == (True, [])
    assert await world.send(HOT, 20, 40) == (40, 32)
    undo = await world.undo(operation)
    await world.ended(undo.operation)
    assert [each.value for each in (await world.cluster.directory.range(MARKS)).entries] == [
        each.value for each in marks
    ]
    assert before


async def test_export_gives_both_sets_once_and_fixed(world: World) -> None:
    request = admin_pb2.ExportHotKeyRequest(
        tenant="acme", distinct_id=HOT, from_date=FROM, to_date=TO, distinct_id_from="mail"
    )
    lines = [
        orjson.loads(line)
        async for message in world.cluster.peers.stream(ROUTER, rpcs.EXPORT_HOT_KEY, request, timeout_s=10)
        for line in message.lines.splitlines()
    ]
    assert len(lines) == 64
    assert all(
        line["properties"]["distinct_id"] == line["properties"].get("mail", HOT) and line["event"] in ("view", "sale")
        for line in lines
    )
