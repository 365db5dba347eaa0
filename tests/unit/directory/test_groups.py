"""What an operation over several tenants has to do still, as a record."""

import json

import pytest
from evenshard.directory.groups import Group
from evenshard.directory.planning import PlannedMove
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId

A, B = ShardId("shard-0"), ShardId("shard-1")
MOVE = PlannedMove(TenantId("acme"), (0, 9), A, B, False, 10, 100, "drain")


def test_a_record_comes_back_as_it_was_and_only_a_new_one_needs_a_new_reader() -> None:
    group = Group(OperationId("op"), (MOVE,), A, 5, (OperationId("child"),), rows_done=3, troubles=("none",))
    assert Group.from_json(group.to_json()) == group
    assert json.loads(group.to_json())["version"] == 1
    for newer in (
        group.taken_back(),
        group.taken_back().turned((MOVE,)),
        Group(group.operation, (), A, use_before="cordoned"),
    ):
        assert Group.from_json(newer.to_json()) == newer
        assert json.loads(newer.to_json())["version"] == 2
    unknown = json.dumps({**json.loads(group.to_json()), "version": 3}).encode()
    with pytest.raises(EvenshardError) as raised:
        Group.from_json(unknown)
    assert raised.value.code == "FORMAT_TOO_NEW"


def test_what_is_taken_back_begins_nothing_until_all_of_it_has_ended() -> None:
    group = Group(OperationId("op"), (MOVE,), A)
    assert (group.wish, group.next_tenant, group.ends_what_it_began) == ("", "acme", False)
    back = group.taken_back()
    assert (back.wish, back.next_tenant, back.ends_what_it_began) == ("rollback", None, True)
    turned = back.turned((MOVE,))
    assert (turned.wish, turned.next_tenant, turned.ends_what_it_began) == ("rollback", "acme", False)
    cancelled = group.cancelled()
    assert (cancelled.wish, cancelled.next_tenant, cancelled.ends_what_it_began) == ("cancel", None, True)
