"""How long a plan over many tenants and shards takes, and a router's lookup of a placement."""

import time
from collections.abc import Callable
from random import Random
from typing import Final

import numpy as np

from evenshard.directory.balancing import drain_plan, rebalance_plan
from evenshard.directory.placement import even_placement
from evenshard.directory.planning import Plan, ShardFacts, Shards, TenantFacts
from evenshard.ids import ShardId, TenantId
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.options import Options

TENANTS: Final = 100_000
SHARDS: Final = 1_000
LOOKUPS: Final = 200_000
SEED: Final = 7


def plan(options: Options) -> list[Figure]:
    """``--events``: so many tenants."""
    count = options.events or TENANTS
    tenants, shards = uneven(count, SHARDS)
    figures = []
    plans: dict[str, Callable[[], Plan]] = {
        "plan": lambda: rebalance_plan(tenants, shards, "even"),
        "plan_drain": lambda: drain_plan(ShardId("shard-0"), tenants, shards),
    }
    for name, made in plans.items():
        began_s = time.perf_counter()
        found = made()
        seconds = time.perf_counter() - began_s
        skews = {"skew_before": round(found.skew_before or 0, 2), "skew_after": round(found.skew_after or 0, 2)}
        detail = {"shards": SHARDS, "moves": len(found.moves), **skews}
        figures.append(Figure(name, round(seconds, 3), "s", count, detail=detail))
    known = {tenant.name: tenant.placement for tenant in tenants}
    names = [tenant.name for tenant in tenants][:1000]
    slots = np.random.default_rng(SEED).integers(0, 4096, LOOKUPS).tolist()
    began_s = time.perf_counter()
    for number, slot in enumerate(slots):
        placement = known[names[number % len(names)]]
        placement.shards[placement.shard_of_slot[slot]]
    ns = (time.perf_counter() - began_s) / LOOKUPS * 1e9
    figures.append(Figure("plan_lookup", round(ns, 1), "ns", LOOKUPS))
    return figures


def uneven(tenant_count: int, shard_count: int) -> tuple[list[TenantFacts], Shards]:
    """Tenants whose sizes, and shards whose loads, differ by orders of magnitude."""
    random = Random(SEED)
    names = [ShardId(f"shard-{number}") for number in range(shard_count)]
    rows = dict.fromkeys(names, 0)
    tenants = []
    for number in range(tenant_count):
        owner = names[min(shard_count - 1, int(random.paretovariate(1.0)) - 1)]
        size = int(10 * random.paretovariate(0.8))
        rows[owner] += size
        placement = even_placement([owner])
        tenants.append(TenantFacts(TenantId(f"t{number}"), placement, {owner: size}, {owner: 50 * size}))
    return tenants, Shards(ShardFacts(name, rows=rows[name]) for name in names)
