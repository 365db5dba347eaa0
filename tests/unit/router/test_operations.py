"""Deleting users on ports in memory: what callers are told, what is refused, what is left behind."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import BLOCKED, FORGOTTEN, MARKS, OPERATIONS, USERS, operation_key, tenant_key
from evenshard.directory.operations import FINISHED_KEPT_MS, UNFINISHED_MAX, Operation
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId
from evenshard.ports.directory import Delete, Put
from evenshard.testing.deletions import SHARDS, TENANT, DeletionWorld
from evenshard.wire import rpcs

NOW_MS = 1_767_225_600_000


@pytest.fixture
async def world() -> AsyncIterator[DeletionWorld]:
    async with DeletionWorld() as made:
        await made.start("router-0")
        for shard in made.shards.values():
            for number in range(3):
                shard.store("u1", NOW_MS, f"u1-{number}")
                shard.store("u2", NOW_MS, f"u2-{number}")
        yield made


async def refusal(awaitable: Any) -> EvenshardError:
    with pytest.raises(EvenshardError) as raised:
        await awaitable
    return raised.value


async def test_users_are_hidden_at_the_answer_and_their_bytes_go_later(world: DeletionWorld) -> None:
    answered = await world.delete_users("router-0", ["u1", "nobody", "u1"])
    assert (answered.kind, answered.tenant, answered.state, answered.requested_by) == (
        "delete-users", "acme", "running", "development",
    )  # fmt: skip
    for shard in world.shards.values():
        assert shard.visible == ["u2-0", "u2-1", "u2-2"]
        shard.store("u1", NOW_MS, "later")
    assert [list(asked.distinct_ids) for asked in world.shards[SHARDS[0]].asked[:1]] == [["u1", "nobody"]]
    done = await world.ended(answered.operation)
    assert (done.state, done.rows_done, done.rows_total, done.error, done.shards_left) == ("complete", 4, 4, "", ())
    assert [shard.visible for shard in world.shards.values()] == [["u2-0", "u2-1", "u2-2", "later"]] * 2
    assert world.counter.forgotten == [("acme", ["u1", "nobody"])] * 2  # so that no mark comes; and what came since
    assert (await world.keys(USERS), await world.keys(FORGOTTEN)) == ([], [done.id])
    shown = await world.call("router-0", rpcs.GET_OPERATION, admin_pb2.GetOperationRequest(operation=done.id))
    assert (shown.operation.state, shown.operation.rows_done) == ("complete", 4)


async def test_the_same_request_is_the_same_operation_and_another_is_a_conflict(world: DeletionWorld) -> None:
    first = await world.delete_users("router-0", ["u1", "u2"], request_id="r")
    again = await world.delete_users("router-0", ["u2", "u1"], request_id="r")
    assert (again.operation, len(await world.records())) == (first.operation, 1)
    assert [shard.hides for shard in world.shards.values()] == [1, 1]
    for change in (
        world.delete_users("router-0", ["u1"], request_id="r"),
        world.delete_users("router-0", ["u1", "u2"], request_id="r", block=True),
    ):
        error = await refusal(change)
        assert (error.code, "delete-users 'acme'" in error.message) == ("OPERATION_CONFLICT", True)
    request = admin_pb2.UpdateTenantRequest(tenant="acme", options=admin_pb2.ChangeOptions(request_id="r"))
    assert (await refusal(world.call("router-0", rpcs.UPDATE_TENANT, request))).code == "OPERATION_CONFLICT"
    request.options.request_id = "other"
    await world.call("router-0", rpcs.UPDATE_TENANT, request)
    assert (await refusal(world.delete_users("router-0", ["u1"], request_id="other"))).code == "OPERATION_CONFLICT"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("TENANT_NOT_FOUND", {"distinct_ids": ["u"], "tenant": "nobody"}),
        ("TENANT_NAME_INVALID", {"distinct_ids": ["u"], "tenant": "No!"}),
        ("QUERY_INVALID", {"distinct_ids": []}),
        ("QUERY_INVALID", {"distinct_ids": ["u", ""]}),
        ("QUERY_INVALID", {"distinct_ids": ["ü" * 128]}),
        ("QUERY_INVALID", {"distinct_ids": [f"u{number}" for number in range(1001)]}),
        ("QUERY_INVALID", {"distinct_ids": ["\x01" * 250 + f"{number:04}" for number in range(1000)]}),
        ("QUERY_INVALID", {"distinct_ids": ["u"], "request_id": "r" * 129}),
        ("OPERATION_CONFLICT", {"distinct_ids": ["u"], "expected_revision": 1 << 40}),
    ],
)
async def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    world: DeletionWorld, code: str, arguments: dict[str, Any]
) -> None:
    assert (await refusal(world.delete_users("router-0", block=True, **arguments))).code == code
    assert (await world.records(), await world.keys(BLOCKED), await world.keys(USERS)) == ([], [], [])
    assert [shard.asked for shard in world.shards.values()] == [[], []]


async def test_a_thousand_ids_of_the_longest_are_taken(world: DeletionWorld) -> None:
    ids = [f"{number:04}" + "ü" * 125 for number in range(1000)]
    done = await world.ended((await world.delete_users("router-0", ids, block=True)).operation)
    assert (done.state, done.users, len(await world.keys(BLOCKED))) == ("complete", 1000, 1000)


async def test_a_dry_run_checks_and_changes_nothing(world: DeletionWorld) -> None:
    planned = await world.delete_users("router-0", ["u1"], block=True, dry_run=True)
    assert (planned.state, planned.revision) == ("planned", 0)
    assert (await world.records(), await world.keys(BLOCKED)) == ([], [])


async def test_a_silent_shard_is_named_and_the_operation_goes_on(world: DeletionWorld) -> None:
    world.peers.partition("shard-1")
    error = await refusal(world.delete_users("router-0", ["u1"], request_id="r", timeout_s=2.0))
    assert (error.code, error.in_doubt, error.details["shards"]) == ("SHARD_UNAVAILABLE", True, "shard-1")
    name = error.details["operation"]
    assert f"evenshard admin wait {name}" in error.hint
    [record] = await world.records()
    assert (record.id, record.state, record.hidden_ms, record.shards_left) == (name, "running", None, ("shard-1",))
    assert "shard-1: UNREACHABLE" in record.error
    world.peers.heal("shard-1")
    assert (await world.delete_users("router-0", ["u1"], request_id="r")).operation == name
    assert [shard.visible for shard in world.shards.values()] == [["u2-0", "u2-1", "u2-2"]] * 2
    done = await world.ended(name)
    assert (done.state, done.error) == ("complete", "")


async def test_a_shard_that_knows_a_newer_placement_is_asked_at_that(world: DeletionWorld) -> None:
    world.directory.pause_watches()
    for shard in world.shards.values():
        shard.epoch = 7
    await world.put_tenant(7)
    request = admin_pb2.DeleteUsersRequest(tenant=TENANT, distinct_ids=["u1"])
    world.directory.resume_watches()
    answer = await world.answer(world.call("router-0", rpcs.DELETE_USERS, request))
    assert (await world.ended(answer.operation.operation)).state == "complete"


async def test_what_a_purge_waits_for_is_told(world: DeletionWorld) -> None:
    for shard in world.shards.values():
        shard.polls_to_purge = 1 << 30
    name = (await world.delete_users("router-0", ["u1"])).operation
    await world.pass_time(20_000)
    [record] = await world.records()
    assert (record.id, record.state, record.shards_left) == (name, "running", SHARDS)
    assert record.error == "shard-0: a compaction; shard-1: a compaction"
    assert 0 < record.rows_done < record.rows_total
    request = admin_pb2.WaitOperationRequest(operation=name, timeout_ms=200)
    waited = await world.answer(world.call("router-0", rpcs.WAIT_OPERATION, request))
    assert waited.operation.state == "running"
    world.shards[SHARDS[0]].polls_to_purge = world.shards[SHARDS[1]].polls_to_purge = 0
    request.timeout_ms = 0
    waited = await world.answer(world.call("router-0", rpcs.WAIT_OPERATION, request))
    assert waited.operation.state == "complete"


async def test_marks_of_the_deleted_end_and_no_others(world: DeletionWorld) -> None:
    for user in ("u1", "u2", "weird/ü id"):
        for day in (20_000, 20_001):
            await world.put_mark(user, day)
    kept = [await world.put_mark("u10"), await world.put_mark("u")]
    await world.delete_users("router-0", ["u1", "u2", "weird/ü id"])
    assert [MARKS + name for name in await world.keys(MARKS)] == sorted(kept)


async def test_operations_are_listed_the_newest_first(world: DeletionWorld) -> None:
    names = []
    for user in ("a", "b", "c"):
        names.append((await world.delete_users("router-0", [user])).operation)
        await world.pass_time(100)
    assert sorted(names) == names
    for tenant, expected in (("", names[::-1]), ("acme", names[::-1]), ("other", [])):
        request = admin_pb2.ListOperationsRequest(tenant=tenant)
        answer = await world.call("router-0", rpcs.LIST_OPERATIONS, request)
        assert [each.operation for each in answer.operations] == expected
    request = admin_pb2.ListOperationsRequest(tenant="No!")
    assert (await refusal(world.call("router-0", rpcs.LIST_OPERATIONS, request))).code == "TENANT_NAME_INVALID"


@pytest.mark.parametrize(
    ("rpc", "request_type"),
    [
        (rpcs.GET_OPERATION, admin_pb2.GetOperationRequest),
        (rpcs.WAIT_OPERATION, admin_pb2.WaitOperationRequest),
        (rpcs.CANCEL_OPERATION, admin_pb2.CancelOperationRequest),
    ],
)
async def test_an_operation_that_is_none_is_not_found(world: DeletionWorld, rpc: Any, request_type: Any) -> None:
    for name in ("", "no", "../tenants/acme"):
        assert (await refusal(world.call("router-0", rpc, request_type(operation=name)))).code == "OPERATION_NOT_FOUND"


async def cancelled(world: DeletionWorld, name: str, **options: Any) -> admin_pb2.Operation:
    request = admin_pb2.CancelOperationRequest(operation=name, options=admin_pb2.ChangeOptions(**options))
    operation: admin_pb2.Operation = (await world.call("router-0", rpcs.CANCEL_OPERATION, request)).operation
    return operation


async def test_what_nobody_has_begun_can_be_cancelled_and_hides_nothing(world: DeletionWorld) -> None:
    await world.start("router-1")
    world.lives["router-0"].arm(1, "before")  # the leader
    await world.pass_time(3_000)
    assert world.lives["router-0"].still
    request = admin_pb2.DeleteUsersRequest(tenant=TENANT, distinct_ids=["u1", "u2"], block=True)
    error = await refusal(world.answer(world.call("router-1", rpcs.DELETE_USERS, request, timeout_s=0.5)))
    assert error.code in ("DEADLINE_EXCEEDED", "UNREACHABLE")
    [record] = await world.records()
    request = admin_pb2.CancelOperationRequest(operation=record.id, options=admin_pb2.ChangeOptions(dry_run=True))
    planned = await world.call("router-1", rpcs.CANCEL_OPERATION, request)
    assert (planned.operation.state, (await world.records())[0].state) == ("cancelled", "planned")
    request.options.dry_run = False
    for _ in range(2):
        answer = await world.call("router-1", rpcs.CANCEL_OPERATION, request)
        assert answer.operation.state == "cancelled"
    await world.pass_time(20_000)  # router-1 leads
    assert [shard.asked for shard in world.shards.values()] == [[], []]
    assert (await world.keys(USERS), await world.keys(BLOCKED)) == ([], [])
    assert [each.state for each in await world.records()] == ["cancelled"]


async def test_what_has_hidden_something_cannot_be_cancelled(world: DeletionWorld) -> None:
    name = (await world.delete_users("router-0", ["u1"])).operation
    error = await refusal(cancelled(world, name))
    assert (error.code, error.details["state"], "stays hidden" in error.hint) == ("OPERATION_STATE", "running", True)
    await world.ended(name)
    error = await refusal(cancelled(world, name))
    assert (error.code, error.details["state"]) == ("OPERATION_STATE", "complete")
    assert (await refusal(cancelled(world, name, expected_revision=1))).code == "OPERATION_CONFLICT"


async def test_an_operation_whose_tenant_is_gone_fails(world: DeletionWorld) -> None:
    world.peers.partition("shard-0")
    await refusal(world.delete_users("router-0", ["u1"], timeout_s=1.0))

    await world.directory.swap([], [Delete(tenant_key(TENANT))])
    [record] = await world.records()
    done = await world.ended(record.id)
    assert (done.state, done.error, await world.keys(USERS)) == ("failed", "its tenant does not exist any more", [])


async def test_too_many_unfinished_operations_are_refused(world: DeletionWorld) -> None:
    world.lives["router-0"].arm(1, "before")
    await world.start("router-1")  # does not lead yet
    names = [OperationId(f"{number:012x}-x") for number in range(UNFINISHED_MAX)]
    records = [Operation(name, "delete-users", TENANT, 1, "p", NOW_MS, NOW_MS, "n") for name in names]
    await world.directory.swap([], [Put(operation_key(record.id), record.to_json()) for record in records])
    await world.pass_time(100)
    error = await refusal(world.delete_users("router-1", ["u1"]))
    assert (error.code, error.retryable) == ("LIMIT_EXCEEDED", True)


async def test_old_operations_are_removed_by_the_leader(world: DeletionWorld) -> None:
    name = (await world.delete_users("router-0", ["u1"])).operation
    await world.ended(name)
    world.clock.jump_wall(FINISHED_KEPT_MS - 60_000)
    await world.pass_time(700)
    assert await world.keys(OPERATIONS) == [name]
    world.clock.jump_wall(120_000)
    for _ in range(130):
        await world.clock.advance(5_000)
    assert await world.keys(OPERATIONS) == []


async def test_a_deletion_can_be_begun_at_any_router(world: DeletionWorld) -> None:
    await world.start("router-1")
    name = (await world.delete_users("router-1", ["u1"])).operation
    waited = await world.answer(
        world.call("router-1", rpcs.WAIT_OPERATION, admin_pb2.WaitOperationRequest(operation=name))
    )
    assert waited.operation.state == "complete"
    assert [shard.hides for shard in world.shards.values()] == [1, 1]


async def test_a_lost_reply_of_the_directory_makes_no_second_operation(world: DeletionWorld) -> None:
    for swaps in (1, 2):
        world.directory.lose_reply_next(swaps)
        request_id = f"r{swaps}"
        error = await refusal(world.delete_users("router-0", ["u1"], request_id=request_id))
        assert (error.code, error.in_doubt) == ("DIRECTORY_UNAVAILABLE", True)
        again = await world.delete_users("router-0", ["u1"], request_id=request_id)
        assert [each.id for each in await world.records()][-1] == again.operation
        assert len(await world.records()) == swaps
