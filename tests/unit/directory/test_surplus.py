"""Which shards are too many, and whether they may go."""

import pytest
from evenshard.cli.scale_check import refuse_held
from evenshard.directory.placement import Placement, SlotRange
from evenshard.directory.surplus import SurplusShard, surplus_shards
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId


def tenant(name: str, *shards: str, overflow: tuple[str, ...] = ()) -> Tenant:
    """Its slots in even parts on ``shards``."""
    placement = Placement(Epoch(1), ranges(shards), ranges(overflow))
    return Tenant(TenantId(name), TenantSettings(), placement, "nonce")


def ranges(shards: tuple[str, ...]) -> tuple[SlotRange, ...]:
    part = 4096 // len(shards) if shards else 0
    return tuple(SlotRange(part * at, part * at + part - 1, ShardId(shard)) for at, shard in enumerate(shards))


LISTED = [ShardId(f"shard-{number}") for number in (0, 1, 2, 3, 10)]


def test_shards_beyond_the_number_are_surplus_by_number_with_what_they_hold() -> None:
    tenants = [tenant("b", "shard-0", "shard-3"), tenant("a", "shard-3", overflow=("shard-2", "shard-0"))]
    assert surplus_shards(LISTED, tenants, 2) == [
        SurplusShard(ShardId("shard-2"), 2048, (TenantId("a"),)),
        SurplusShard(ShardId("shard-3"), 2048 + 4096, (TenantId("a"), TenantId("b"))),
        SurplusShard(ShardId("shard-10"), 0, ()),
    ]
    assert surplus_shards(LISTED, tenants, 11) == []


def test_a_shard_that_only_a_placement_names_is_not_overlooked() -> None:
    assert surplus_shards([], [tenant("a", "shard-7")], 7) == [SurplusShard(ShardId("shard-7"), 4096, (TenantId("a"),))]


def test_names_that_are_not_counted_are_nobodys_surplus() -> None:
    named = [ShardId(name) for name in ("shard-x", "shard-01", "other-9", "shard-")]
    assert surplus_shards(named, [tenant("a", "special")], 0) == []


def test_shards_that_hold_something_are_refused_by_name() -> None:
    tenants = [tenant(name, "shard-2", "shard-0") for name in "abcd"]
    empty = surplus_shards(LISTED, [], 2)
    refuse_held(empty, 2)
    with pytest.raises(EvenshardError) as refused:
        refuse_held(surplus_shards(LISTED, tenants, 2), 2)
    assert (refused.value.code, refused.value.exit_status) == ("SHARD_NOT_ELIGIBLE", 4)
    assert refused.value.message == "2 shards are too few: shard-2 holds 8192 slots of 4 tenants (a, b, c, …)"
    assert refused.value.hint == "drain them first, or keep 3 shards; nothing was changed"
    assert refused.value.details == {"shards": "shard-2"}
