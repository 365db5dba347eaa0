"""Which shards would be too many if there were only so many, and what they still hold: decides whether they may go."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from evenshard.directory.tenant import Tenant
from evenshard.ids import ShardId, TenantId

NUMBERED: Final = re.compile(r"shard-(0|[1-9][0-9]*)")
"""Names of shards that are counted from 0 on, as the chart and ``up`` give them."""


@dataclass(frozen=True, slots=True)
class SurplusShard:
    """A shard beyond the number wanted."""

    shard: ShardId
    slots: int
    """Of all tenants together; the overflow's count too."""
    tenants: tuple[TenantId, ...]
    """Whose slots those are, by name."""

    @property
    def is_empty(self) -> bool:
        return not self.slots


def surplus_shards(listed: Iterable[ShardId], tenants: Sequence[Tenant], count: int) -> list[SurplusShard]:
    """Those numbered ``count`` or higher, by number: of the shards ``listed``, and of all that a placement names.

    Raises ``ValueError`` for a negative count.
    """
    if count < 0:
        raise ValueError(f"{count} shards")
    names = set(listed).union(*(tenant.placement.shards for tenant in tenants))
    numbers = {name: int(match[1]) for name in names if (match := NUMBERED.fullmatch(name))}
    surplus = sorted((number, name) for name, number in numbers.items() if number >= count)
    return [_held(name, tenants) for _, name in surplus]


def _held(shard: ShardId, tenants: Sequence[Tenant]) -> SurplusShard:
    held = {tenant.name: _slots_of(shard, tenant) for tenant in tenants}
    return SurplusShard(shard, sum(held.values()), tuple(sorted(name for name, slots in held.items() if slots)))


def _slots_of(shard: ShardId, tenant: Tenant) -> int:
    pieces = (*tenant.placement.slots, *tenant.placement.overflow)
    return sum(piece.last - piece.first + 1 for piece in pieces if piece.shard == shard)
