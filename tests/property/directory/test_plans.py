"""Plans: every slot has one shard afterwards, nothing goes where nothing may go, and no plan makes skew worse."""

import time
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import cast

import pytest
from evenshard.directory.balancing import EVEN_ENOUGH, MOVES_MAX, POLICIES, Policy, drain_plan, rebalance_plan
from evenshard.directory.moves import placement_moved
from evenshard.directory.placement import Placement, SlotRange, even_placement
from evenshard.directory.planning import (
    DISK_FREE_BYTES_MIN,
    Plan,
    ShardFacts,
    Shards,
    TenantFacts,
    isolate_plan,
    legs_of,
    merge_plan,
    move_plan,
    slots_given,
    split_plan,
)
from evenshard.directory.shard_state import Use
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId, TenantId
from hypothesis import given, settings
from hypothesis import strategies as st


def shard_name(number: int) -> ShardId:
    return ShardId(f"shard-{number}")


def ranges(random: Random, shards: Sequence[ShardId]) -> tuple[SlotRange, ...]:
    cuts = sorted(random.sample(range(1, SLOT_COUNT), random.randrange(4)))
    bounds = [0, *cuts, SLOT_COUNT]
    return tuple(SlotRange(a, b - 1, random.choice(shards)) for a, b in pairwise(bounds))


def world(seed: int) -> tuple[list[TenantFacts], Shards]:
    """Tenants of very unequal size on shards of which some take nothing."""
    random = Random(f"plans {seed}")
    names = [shard_name(number) for number in range(random.randrange(2, 8))]
    tenants = []
    for number in range(random.randrange(1, 12)):
        overflow = ranges(random, names) if random.random() < 0.3 else ()
        placement = Placement(Epoch(number + 1), ranges(random, names), overflow)
        rows = {shard: int(random.paretovariate(0.7)) for shard in placement.shards}
        requires = {"zone": {"a"}} if random.random() < 0.2 else {}
        sizes = {shard: 50 * count for shard, count in rows.items()}
        tenants.append(TenantFacts(TenantId(f"t{number}"), placement, rows, sizes, requires))
    facts = []
    for name in names:
        rows = sum(tenant.rows.get(name, 0) for tenant in tenants)
        use = cast(Use, random.choice(["active"] * 6 + ["cordoned", "draining"]))
        free = random.choice([None, 1 << 40, DISK_FREE_BYTES_MIN + 150])
        facts.append(
            ShardFacts(
                name,
                use,
                random.random() > 0.1,
                {"zone": random.choice("ab")},
                rows,
                50 * rows,
                free,
            )
        )
    return tenants, Shards(facts)


def check(plan: Plan, tenants: Sequence[TenantFacts], shards: Shards) -> dict[TenantId, Placement]:
    """What holds of every plan; the placements after it."""
    by_name = {tenant.name: tenant for tenant in tenants}
    placements = {tenant.name: tenant.placement for tenant in tenants}
    for move in plan.moves:
        assert move.source != move.target
        assert not shards.refusal(move.target), move
        assert not shards.missing_label(move.target, by_name[move.tenant]), move
        assert min(move.rows, move.bytes) >= 0
    for name in {move.tenant for move in plan.moves}:
        legs = legs_of(move for move in plan.moves if move.tenant == name)
        assert len({(leg.source, leg.target, leg.overflow) for leg in legs}) == len(legs)
        placements[name] = placement_moved(placements[name], legs)  # it checks that every slot has one shard
    for shard in shards.all:
        incoming = sum(move.bytes for move in plan.moves if move.target == shard)
        assert not incoming or not shards.refusal(shard, incoming)
    return placements


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32), st.sampled_from(POLICIES))
def test_rebalancing_never_raises_skew_and_twice_changes_nothing_more(seed: int, policy: Policy) -> None:
    tenants, shards = world(seed)
    plan = rebalance_plan(tenants, shards, policy)
    check(plan, tenants, shards)
    if plan.skew_before is not None:
        assert plan.skew_after is not None
        assert plan.skew_after <= plan.skew_before + 1e-9, f"seed {seed}"
    if plan.moves:
        assert sum(plan.rows_after.values()) == sum(plan.rows_before.values())
        fullest = max(plan.rows_before.values())
        assert max(plan.rows_after[move.target] for move in plan.moves) <= fullest
    else:
        assert plan.rows_before == plan.rows_after


def test_an_uneven_cluster_becomes_even_in_one_plan() -> None:
    """Ten tenants on the first of five shards."""
    first, others = shard_name(0), [shard_name(number) for number in range(1, 5)]
    tenants = [
        TenantFacts(TenantId(f"t{number}"), even_placement([first]), {first: 1000 * number}, {first: 50_000 * number})
        for number in range(1, 11)
    ]
    shards = Shards([ShardFacts(first, rows=55_000), *(ShardFacts(other) for other in others)])
    plan = rebalance_plan(tenants, shards, "even")
    placements = check(plan, tenants, shards)
    assert (plan.skew_before, plan.skew_after) == (5.0, pytest.approx(1.0, abs=0.06))
    moved = [
        TenantFacts(
            tenant.name,
            placements[tenant.name],
            {
                shard: tenant.rows[first] * int((placements[tenant.name].owned_by(shard)).sum()) // SLOT_COUNT
                for shard in placements[tenant.name].shards
            },
        )
        for tenant in tenants
    ]
    after = Shards(ShardFacts(name, rows=rows) for name, rows in plan.rows_after.items())
    assert rebalance_plan(moved, after, "even").moves == (), f"even enough is {EVEN_ENOUGH}"


def test_promoting_spreads_the_heavy_and_leaves_the_others() -> None:
    first, second = shard_name(0), shard_name(1)
    heavy = TenantFacts(TenantId("heavy"), even_placement([first]), {first: 9000}, {})
    small = [TenantFacts(TenantId(f"s{n}"), even_placement([first]), {first: 100}, {}) for n in range(10)]
    shards = Shards([ShardFacts(first, rows=10_000), ShardFacts(second)])
    plan = rebalance_plan([heavy, *small], shards, "promote")
    assert {move.tenant for move in plan.moves} == {"heavy"}
    assert plan.skew_after is not None
    assert plan.skew_after < 1.1


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32))
def test_draining_leaves_nothing_behind_or_says_why_it_cannot(seed: int) -> None:
    tenants, shards = world(seed)
    for source in shards.all:
        try:
            plan = drain_plan(source, tenants, shards)
        except EvenshardError as error:
            if error.code != "PLACEMENT_UNSATISFIABLE":
                raise
            continue
        placements = check(plan, tenants, shards)
        assert all(source not in placement.shards for placement in placements.values()), f"seed {seed}"
        assert {move.source for move in plan.moves} <= {source}
        assert source not in plan.rows_after


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32))
def test_a_split_is_even_and_takes_only_from_those_that_had_it(seed: int) -> None:
    random = Random(f"split {seed}")
    names = [shard_name(number) for number in range(random.randrange(2, 9))]
    held = names[: random.randrange(1, len(names))]
    tenant = TenantFacts(TenantId("t"), Placement(Epoch(1), ranges(random, held)))
    owners = {piece.shard for piece in tenant.placement.slots}
    targets = [name for name in names if name not in owners]
    shards = Shards(ShardFacts(name) for name in names)
    plan = split_plan(tenant, targets, shards)
    after = check(plan, [tenant], shards)[tenant.name]
    counts = {name: int(after.owned_by(name).sum()) for name in names if name in after.shards}
    assert all(abs(counts[target] - SLOT_COUNT / len({*owners, *targets})) <= 1 for target in targets), f"seed {seed}"
    for owner in owners:
        assert counts[owner] <= int(tenant.placement.owned_by(owner).sum())
    assert merge_plan(TenantFacts(tenant.name, after), targets[0], shards).moves
    _, alone = isolate_plan(TenantFacts(tenant.name, after), targets[0], shards, {})
    assert check(alone, [TenantFacts(tenant.name, after)], shards)[tenant.name].shards == (targets[0],)


def code_of(call: object) -> str:
    with pytest.raises(EvenshardError) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


def test_what_cannot_be_moved_there_is_refused_by_code() -> None:
    a, b, c, d, e, f = (shard_name(number) for number in range(6))
    sizes = {a: 1000, b: 1000}
    tenant = TenantFacts(TenantId("acme"), even_placement([a, b]), {a: 10, b: 10}, sizes, {"zone": {"x"}})
    x = {"zone": "x"}
    shards = Shards(
        [
            ShardFacts(a, labels=x),
            ShardFacts(b, "cordoned", labels=x),
            ShardFacts(c, "draining", labels=x),
            ShardFacts(d, is_up=False, labels=x),
            ShardFacts(e, labels=x, disk_free_bytes=DISK_FREE_BYTES_MIN + 500),
            ShardFacts(f, labels={"zone": "y"}),
        ]
    )

    def moved(target: ShardId, slots: tuple[int, int] | None = None, *, overflow: bool = False) -> str:
        return code_of(lambda: move_plan(tenant, target, shards, slots, overflow=overflow))

    assert moved(ShardId("shard-9")) == "SHARD_NOT_FOUND"
    assert {target: moved(target) for target in (b, c, d, e)} == dict.fromkeys((b, c, d, e), "SHARD_NOT_ELIGIBLE")
    assert moved(f) == "PLACEMENT_UNSATISFIABLE"
    assert moved(a, (0, 99)) == "SHARD_NOT_ELIGIBLE"  # they are there
    assert moved(a, overflow=True) == "QUERY_INVALID"
    assert code_of(lambda: isolate_plan(tenant, a, shards, {a: 2})) == "SHARD_NOT_ELIGIBLE"
    assert code_of(lambda: isolate_plan(tenant, None, shards, {a: 2})) == "PLACEMENT_UNSATISFIABLE"
    assert code_of(lambda: split_plan(tenant, [a], shards)) == "SHARD_NOT_ELIGIBLE"
    assert code_of(lambda: split_plan(tenant, [], shards)) == "QUERY_INVALID"
    assert code_of(lambda: drain_plan(ShardId("shard-9"), [tenant], shards)) == "SHARD_NOT_FOUND"
    for text in ("", "-", "5-", "-5", "7-3", "0-4096", "a-b", "1-2-3", "٣-٤"):
        assert code_of(lambda text=text: slots_given(text)) == "QUERY_INVALID"
    assert [slots_given(text) for text in ("7", "0-4095", "3-3")] == [(7, 7), (0, 4095), (3, 3)]


def large(tenant_count: int, shard_count: int) -> tuple[list[TenantFacts], Shards]:
    random = Random("large plan")
    names = [shard_name(number) for number in range(shard_count)]
    tenants = []
    rows = dict.fromkeys(names, 0)
    for number in range(tenant_count):
        owner = names[min(shard_count - 1, int(random.paretovariate(1.0)) - 1)]
        size = int(10 * random.paretovariate(0.8))
        rows[owner] += size
        tenants.append(TenantFacts(TenantId(f"t{number}"), even_placement([owner]), {owner: size}, {owner: 50 * size}))
    return tenants, Shards(ShardFacts(name, rows=rows[name]) for name in names)


def test_a_plan_over_many_tenants_is_bounded_and_quick() -> None:
    tenants, shards = large(10_000, 100)
    began = time.perf_counter()
    plan = rebalance_plan(tenants, shards, "even")
    assert time.perf_counter() - began < 5
    assert 0 < len(plan.moves) <= MOVES_MAX
    assert plan.skew_before is not None
    assert plan.skew_after is not None
    assert plan.skew_after < plan.skew_before
