"""Plans which slots of one tenant go where: move, split, merge, isolate. Decides, does no IO.

A plan never changes what is stored; it is pinned to what the directory and the shards said when it was made.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from evenshard.directory.moves import Leg, Slots, slots_on
from evenshard.directory.placement import Placement, SlotRange
from evenshard.directory.required_labels import missing
from evenshard.directory.shard_state import Use
from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Revision, ShardId, TenantId

ALL_SLOTS: Final[Slots] = (0, SLOT_COUNT - 1)
DISK_FREE_BYTES_MIN: Final = 256 << 20
"""Of a shard's disk that must stay free when everything has come."""
COPY_BYTES_PER_SECOND: Final = 100_000_000
"""For telling how long a plan takes, where nothing is throttled."""
HOLD_MS: Final = 100
"""How long writes of the slots are held at a switch, about."""

_SLOTS: Final = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What is known of a shard."""

    shard: ShardId
    use: Use = "active"
    is_up: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    disk_free_bytes: int | None = None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What is known of a tenant."""

    name: TenantId
    placement: Placement
    rows: Mapping[ShardId, int] = field(default_factory=dict)
    """That each shard stores of it."""
    bytes: Mapping[ShardId, int] = field(default_factory=dict)
    requires: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Labels that its shards have, each with one of these values."""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A run of slots that goes from one shard to another."""

    tenant: TenantId
    slots: Slots
    source: ShardId
    target: ShardId
    overflow: bool
    rows: int
    """About."""
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be moved, and what becomes of the load by it."""

    moves: tuple[PlannedMove, ...]
    rows_before: Mapping[ShardId, int]
    """Of shards that take part in balancing."""
    rows_after: Mapping[ShardId, int]

    @property
    def skew_before(self) -> float | None:
        return skew_of(self.rows_before.values())

    @property
    def skew_after(self) -> float | None:
        return skew_of(self.rows_after.values())

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)

    def seconds(self, bytes_per_second: int = 0) -> float:
        """How long it takes, about."""
        return self.bytes / (bytes_per_second or COPY_BYTES_PER_SECOND) + HOLD_MS / 1000 * bool(self.moves)

    def id_at(self, revision: Revision) -> str:
        """Names this plan, made of the directory as of ``revision``."""
        told = [[move.tenant, *move.slots, move.source, move.target, move.overflow] for move in self.moves]
        return hashlib.sha256(json.dumps([revision, told]).encode()).hexdigest()[:16]


def skew_of(loads: Collection[int]) -> float | None:
    """Max ÷ mean; None where there is no load."""
    total = sum(loads)
    return max(loads) * len(loads) / total if total else None


class Shards:
    """All shards of a cluster, and which of them may take more."""

    def __init__(self, facts: Iterable[ShardFacts]) -> None:
        self.all = {each.shard: each for each in facts}

    def check_target(self, shard: ShardId, tenant: TenantFacts | None = None, incoming_bytes: int = 0) -> None:
        """Raises ``SHARD_NOT_FOUND``, ``SHARD_NOT_ELIGIBLE`` or ``PLACEMENT_UNSATISFIABLE``, and says why."""
        if shard not in self.all:
            raise no_such_shard(shard)
        why = self.refusal(shard, incoming_bytes)
        if why:
            raise EvenshardError("SHARD_NOT_ELIGIBLE", f"{shard} {why}", details={"shard": shard})
        if tenant is not None and (label := self.missing_label(shard, tenant)):
            raise EvenshardError(
                "PLACEMENT_UNSATISFIABLE",
                f"tenant {tenant.name!r} needs shards whose label {label} is one of"
                f" {', '.join(sorted(tenant.requires[label]))}: {shard} is none",
            )

    def refusal(self, shard: ShardId, incoming_bytes: int = 0) -> str:
        """Why nothing may be brought there; empty: it may."""
        facts = self.all[shard]
        if not facts.is_up:
            return "is down"
        if facts.use != "active":
            return f"is {facts.use}"
        if facts.disk_free_bytes is not None and facts.disk_free_bytes - incoming_bytes < DISK_FREE_BYTES_MIN:
            left = max(0, facts.disk_free_bytes - incoming_bytes)
            return f"is full: {left:,} bytes of its disk would be free, and {DISK_FREE_BYTES_MIN:,} must be"
        return ""

    def missing_label(self, shard: ShardId, tenant: TenantFacts) -> str:
        """A label that it lacks for the tenant; empty: none."""
        return missing(self.all[shard].labels, tenant.requires)

    def check_return(self, shard: ShardId, tenant: TenantFacts, incoming_bytes: int = 0) -> None:
        """As ``check_target``, of one that had the slots before: it may be cordoned, or emptied."""
        others = [replace(facts, use="active") for facts in self.all.values()]
        Shards(others).check_target(shard, tenant, incoming_bytes)

    def eligible(self, tenant: TenantFacts | None = None, incoming_bytes: int = 0) -> list[ShardId]:
        """Those that may take more, by name."""
        found = [shard for shard in sorted(self.all) if not self.refusal(shard, incoming_bytes)]
        return [shard for shard in found if tenant is None or not self.missing_label(shard, tenant)]


def no_such_shard(shard: str) -> EvenshardError:
    return EvenshardError("SHARD_NOT_FOUND", f"there is no shard {shard!r}", hint="see them: evenshard admin shards")


def slots_given(text: str) -> Slots:
    """``A-B``, both inclusive, or one slot. Raises ``QUERY_INVALID``."""
    first, _, last = text.partition("-")
    if (
        first.isascii()
        and first.isdecimal()
        and (not last or (last.isascii() and last.isdecimal()))
        and text[-1] != "-"
    ):
        found = int(first), int(last or first)
        if found[0] <= found[1] < SLOT_COUNT:
            return found
    problem = f"{text!r} is no range of slots: A-B, from 0 to {SLOT_COUNT - 1}"
    raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("slots", problem),))


def move_plan(tenant: TenantFacts, target: ShardId, shards: Shards, slots: Slots | None, *, overflow: bool) -> Plan:
    """All slots (of the overflow: with ``overflow``), or those given, go to ``target``.

    Raises ``SHARD_NOT_FOUND``, ``SHARD_NOT_ELIGIBLE`` (also where they are there already), ``QUERY_INVALID``,
    ``PLACEMENT_UNSATISFIABLE``.
    """
    ranges = _map(tenant, overflow=overflow)
    moves = _to_one(tenant, target, ranges, slots or ALL_SLOTS, "asked for", overflow=overflow)
    shards.check_target(target, tenant, sum(move.bytes for move in moves))
    if not moves:
        raise EvenshardError(
            "SHARD_NOT_ELIGIBLE", f"{target} has these slots of {tenant.name!r} already", details={"shard": target}
        )
    return _plan(moves, shards)


def merge_plan(tenant: TenantFacts, target: ShardId, shards: Shards) -> Plan:
    """As ``move_plan`` of the whole main map, for a tenant that several shards have."""
    return move_plan(tenant, target, shards, None, overflow=False)


def isolate_plan(
    tenant: TenantFacts, target: ShardId | None, shards: Shards, others: Mapping[ShardId, int]
) -> tuple[ShardId, Plan]:
    """Everything of the tenant, overflow included, goes to a shard that has nobody else's slots; which one is that.

    ``others``: how many other tenants each shard has slots of. Raises as ``move_plan``; ``PLACEMENT_UNSATISFIABLE``
    where no shard is free.
    """
    if target is None:
        free = [shard for shard in shards.eligible(tenant, sum(tenant.bytes.values())) if not others.get(shard)]
        if not free:
            raise EvenshardError(
                "PLACEMENT_UNSATISFIABLE",
                f"no shard is free of others' slots for {tenant.name!r}",
                hint="add a shard, or say which one to empty: evenshard admin drain SHARD",
            )
        target = max(free, key=lambda shard: (tenant.rows.get(shard, 0), tuple(-ord(letter) for letter in shard)))
    elif others.get(target) and target in shards.all:
        raise EvenshardError(
            "SHARD_NOT_ELIGIBLE",
            f"{target} has slots of {others[target]:,} other tenants",
            hint="name one that has none, or empty it: evenshard admin drain SHARD",
            details={"shard": target},
        )
    moves = _to_one(tenant, target, tenant.placement.slots, ALL_SLOTS, "isolated", overflow=False)
    moves += _to_one(tenant, target, tenant.placement.overflow, ALL_SLOTS, "isolated", overflow=True)
    shards.check_target(target, tenant, sum(move.bytes for move in moves))
    if not moves:
        raise EvenshardError(
            "SHARD_NOT_ELIGIBLE", f"{tenant.name!r} has {target} for itself already", details={"shard": target}
        )
    return target, _plan(moves, shards)


def split_plan(tenant: TenantFacts, targets: Sequence[ShardId], shards: Shards) -> Plan:
    """The main map, spread evenly over the shards that have it and ``targets``: these get what others have too much.

    Raises as ``move_plan``.
    """
    if not targets:
        raise EvenshardError("QUERY_INVALID", "name at least one shard", fields=(FieldFault("to", "no shard"),))
    owners = list(dict.fromkeys(piece.shard for piece in tenant.placement.slots))
    wanted = list(dict.fromkeys(targets))
    for target in wanted:
        shards.check_target(target, tenant)
        if target in owners:
            raise EvenshardError(
                "SHARD_NOT_ELIGIBLE", f"{target} has slots of {tenant.name!r} already", details={"shard": target}
            )
    parties = [*owners, *wanted]
    least = SLOT_COUNT // len(parties)
    runs = {owner: list(slots_on(tenant.placement.slots, owner)) for owner in owners}
    left = {owner: sum(last - first + 1 for first, last in runs[owner]) for owner in owners}
    moves: list[PlannedMove] = []
    for at, target in enumerate(wanted, len(owners)):
        need = SLOT_COUNT * (at + 1) // len(parties) - SLOT_COUNT * at // len(parties)
        while need:
            donor = max(owners, key=lambda owner: left[owner])  # it has more than its share, or all would be even
            first, last = runs[donor].pop()
            taken = min(need, last - first + 1, left[donor] - least)
            if last - first + 1 > taken:
                runs[donor].append((first, last - taken))
            moves.append(planned(tenant, (last - taken + 1, last), donor, target, "split", overflow=False))
            left[donor] -= taken
            need -= taken
    moves = _joined(moves)
    for target in wanted:
        shards.check_target(target, tenant, sum(move.bytes for move in moves if move.target == target))
    return _plan(moves, shards)


def legs_of(moves: Iterable[PlannedMove]) -> tuple[Leg, ...]:
    """One for each source, target and map; main slots first."""
    found: dict[tuple[bool, ShardId, ShardId], list[Slots]] = {}
    for move in sorted(moves, key=lambda each: (each.overflow, each.slots)):
        found.setdefault((move.overflow, move.source, move.target), []).append(move.slots)
    return tuple(Leg(source, target, tuple(slots), overflow) for (overflow, source, target), slots in found.items())


def _map(tenant: TenantFacts, *, overflow: bool) -> tuple[SlotRange, ...]:
    if overflow and not tenant.placement.overflow:
        problem = f"tenant {tenant.name!r} has no overflow: no key of it was ever hot"
        raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("overflow", problem),))
    return tenant.placement.overflow if overflow else tenant.placement.slots


def _to_one(
    tenant: TenantFacts, target: ShardId, ranges: Sequence[SlotRange], within: Slots, reason: str, *, overflow: bool
) -> list[PlannedMove]:
    sources = [shard for shard in dict.fromkeys(piece.shard for piece in ranges) if shard != target]
    return [
        planned(tenant, slots, source, target, reason, overflow=overflow)
        for source in sources
        for slots in slots_on(ranges, source, within)
    ]


def planned(
    tenant: TenantFacts, slots: Slots, source: ShardId, target: ShardId, reason: str, *, overflow: bool
) -> PlannedMove:
    """With rows and bytes, about."""
    share = (slots[1] - slots[0] + 1) / max(1, slots_held(tenant.placement, source))
    rows, size = tenant.rows.get(source, 0), tenant.bytes.get(source, 0)
    return PlannedMove(tenant.name, slots, source, target, overflow, int(rows * share), int(size * share), reason)


def slots_held(placement: Placement, shard: ShardId) -> int:
    """By a shard, of both maps: its rows are taken to be spread evenly over them."""
    ranges = (*placement.slots, *placement.overflow)
    return sum(piece.last - piece.first + 1 for piece in ranges if piece.shard == shard)


def _joined(moves: Sequence[PlannedMove]) -> list[PlannedMove]:
    """Runs that touch and go the same way are one."""
    found: list[PlannedMove] = []
    for move in sorted(moves, key=lambda each: (each.source, each.target, each.slots)):
        last = found[-1] if found else None
        same = last is not None and (last.source, last.target) == (move.source, move.target)
        if last is not None and same and last.slots[1] + 1 == move.slots[0]:
            found[-1] = PlannedMove(
                move.tenant,
                (last.slots[0], move.slots[1]),
                move.source,
                move.target,
                move.overflow,
                last.rows + move.rows,
                last.bytes + move.bytes,
                move.reason,
            )
        else:
            found.append(move)
    return sorted(found, key=lambda each: each.slots)


def _plan(moves: Sequence[PlannedMove], shards: Shards) -> Plan:
    return Plan(tuple(moves), *loads(moves, shards))


def loads(moves: Iterable[PlannedMove], shards: Shards) -> tuple[dict[ShardId, int], dict[ShardId, int]]:
    """Rows of each shard that is up and not being emptied, before and after."""
    before = {name: facts.rows for name, facts in sorted(shards.all.items()) if facts.is_up}
    after = dict(before)
    for move in moves:
        for shard, rows in ((move.source, -move.rows), (move.target, move.rows)):
            if shard in after:
                after[shard] += rows
    kept = {name for name in before if shards.all[name].use != "draining"}
    return {name: before[name] for name in before if name in kept}, {
        name: after[name] for name in after if name in kept
    }
