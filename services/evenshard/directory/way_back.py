"""Plans the way back of moves of several tenants that are complete: whatever is still where it was brought goes to
where it was. Decides, does no IO.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from evenshard.directory.moves import Leg, Slots, slots_on
from evenshard.directory.operations import Operation
from evenshard.directory.planning import PlannedMove, TenantFacts, planned
from evenshard.ids import TenantId

REASON: Final = "rolled back"


def way_back(moved: Iterable[Operation], tenants: Mapping[TenantId, TenantFacts]) -> tuple[PlannedMove, ...]:
    """Of operations that each moved slots of one tenant, oldest first. Slots that somebody moved on since stay, as does
    a tenant that is gone."""
    found: list[PlannedMove] = []
    taken: set[tuple[TenantId, bool, Slots]] = set()
    for operation in sorted(moved, key=lambda each: each.id, reverse=True):
        tenant = tenants.get(operation.tenant)
        assert operation.move is not None
        for leg in operation.move.legs if tenant is not None else ():
            assert tenant is not None
            for slots in _still_there(tenant, leg):
                if (tenant.name, leg.overflow, slots) not in taken:
                    taken.add((tenant.name, leg.overflow, slots))
                    found.append(planned(tenant, slots, leg.target, leg.source, REASON, overflow=leg.overflow))
    return tuple(sorted(found, key=lambda each: each.tenant))


def stayed(moved: Iterable[Operation], tenants: Mapping[TenantId, TenantFacts]) -> tuple[str, ...]:
    """What does not go back of it, for people."""
    told = []
    for operation in moved:
        tenant = tenants.get(operation.tenant)
        assert operation.move is not None
        gone = 0
        for leg in operation.move.legs if tenant is not None else ():
            assert tenant is not None
            gone += leg.slot_count - sum(last - first + 1 for first, last in _still_there(tenant, leg))
        if gone:
            told.append(f"{operation.tenant}: {gone:,} slots were moved on since operation {operation.id}: they stay")
    return tuple(told)


def _still_there(tenant: TenantFacts, leg: Leg) -> list[Slots]:
    ranges = tenant.placement.overflow if leg.overflow else tenant.placement.slots
    return [piece for slots in leg.slots for piece in slots_on(ranges, leg.target, slots)]
