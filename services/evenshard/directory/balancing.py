"""Plans that make shards even: empties one, or takes from those that have too much. Decides, does no IO.

What is balanced is rows stored. No move makes a shard larger than the one it takes from was, so skew never rises; a
cluster that is even enough gets an empty plan, so planning twice changes nothing.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from evenshard.directory.moves import Slots, slots_on
from evenshard.directory.planning import Plan, PlannedMove, Shards, TenantFacts, loads, slots_held
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import ShardId

Policy = Literal["even", "promote"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)
EVEN_ENOUGH: Final = 1.05
"""Max ÷ mean from which on a shard gives something away."""
HEAVY_SHARE: Final = 0.5
"""Of the mean shard's rows: a tenant that has more on one shard is heavy, and promoted to more shards."""
MOVES_MAX: Final = 1000
"""In one plan; the next one goes on from there."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of slots that a shard has of a tenant."""

    tenant: TenantFacts
    slots: Slots
    overflow: bool
    rows: int
    bytes: int

    @property
    def count(self) -> int:
        return self.slots[1] - self.slots[0] + 1

    def cut(self, count: int) -> tuple["_Piece", "_Piece"]:
        """Its last ``count`` slots, and what is left of it."""
        first, last = self.slots
        share = count / self.count
        taken = replace(
            self, slots=(last - count + 1, last), rows=int(self.rows * share), bytes=int(self.bytes * share)
        )
        left = replace(self, slots=(first, last - count), rows=self.rows - taken.rows, bytes=self.bytes - taken.bytes)
        return taken, left

    def to(self, source: ShardId, target: ShardId, reason: str) -> PlannedMove:
        return PlannedMove(self.tenant.name, self.slots, source, target, self.overflow, self.rows, self.bytes, reason)


def policy_named(text: str) -> Policy:
    """Raises ``QUERY_INVALID``."""
    for policy in POLICIES:
        if text == policy:
            return policy
    problem = f"{text!r} is none of {', '.join(POLICIES)}"
    raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("policy", problem),))


def drain_plan(source: ShardId, tenants: Iterable[TenantFacts], shards: Shards) -> Plan:
    """Everything that ``source`` has goes to the others, the largest pieces first, each to the emptiest that may take
    it; pieces larger than what that shard is short of are cut.

    Raises ``SHARD_NOT_FOUND``; ``PLACEMENT_UNSATISFIABLE`` where something could go nowhere.
    """
    if source not in shards.all:
        raise EvenshardError(
            "SHARD_NOT_FOUND", f"there is no shard {source!r}", hint="see them: evenshard admin shards"
        )
    room = Shards(replace(facts, use="draining") if name == source else facts for name, facts in shards.all.items())
    pieces = sorted(_pieces(source, tenants), key=lambda piece: (-piece.rows, piece.tenant.name, piece.slots))
    targets = _Targets(room)
    moves: list[PlannedMove] = []
    total = sum(piece.rows for piece in pieces)
    even = (sum(targets.rows.values()) + total) / max(1, len(targets.rows))
    for piece in pieces:
        waiting = [piece]
        while waiting:
            one = waiting.pop()
            target = targets.emptiest(one)
            if target is None:
                raise EvenshardError(
                    "PLACEMENT_UNSATISFIABLE",
                    f"no other shard may take slots {one.slots[0]}-{one.slots[1]} of tenant {one.tenant.name!r}",
                    hint="add a shard, or uncordon one: evenshard admin shards",
                )
            count = _fitting(one, even - targets.rows[target])
            if 0 < count < one.count and len(targets.rows) > 1:
                one, rest = one.cut(count)
                waiting.append(rest)
            targets.take(target, one)
            moves.append(one.to(source, target, "drain"))
    return Plan(tuple(moves), *loads(moves, room))


def rebalance_plan(tenants: Sequence[TenantFacts], shards: Shards, policy: Policy) -> Plan:
    """Slots of the fullest shards go to the emptiest. ``promote``: only those of heavy tenants, so that these get more
    shards and the others stay where they are."""
    targets = _Targets(shards)
    givers = [name for name in targets.rows if targets.rows[name]]
    mean = sum(targets.rows.values()) / max(1, len(targets.rows))
    bound = EVEN_ENOUGH * mean
    heavy = HEAVY_SHARE * mean
    moves: list[PlannedMove] = []
    held: dict[ShardId, list[_Piece]] = {name: [] for name in givers}
    over = {name for name in givers if targets.rows[name] > bound}
    for tenant in tenants:
        for shard in tenant.placement.shards:
            if shard in over and (policy == "even" or tenant.rows.get(shard, 0) > heavy):
                held[shard] += _pieces(shard, [tenant])
    for giver in sorted(over, key=lambda name: (-targets.rows[name], name)):
        pieces = sorted(held[giver], key=lambda piece: (piece.rows, piece.tenant.name, piece.slots))
        while pieces and targets.rows[giver] > bound and len(moves) < MOVES_MAX:
            one = pieces.pop()
            if one.rows == 0:
                break
            target = targets.emptiest(one, other_than=giver)
            room = 0.0 if target is None else min(targets.rows[giver] - mean, mean - targets.rows[target])
            if target is None or room <= 0:
                continue
            count = _fitting(one, room)
            if count == 0:
                continue
            if count < one.count:
                one, rest = one.cut(count)
                pieces.append(rest)
            targets.take(target, one)
            targets.give(giver, one)
            moves.append(one.to(giver, target, "hot shard" if policy == "even" else "heavy tenant"))
    return Plan(tuple(moves), *loads(moves, shards))


def _pieces(shard: ShardId, tenants: Iterable[TenantFacts]) -> list[_Piece]:
    found = []
    for tenant in tenants:
        count = slots_held(tenant.placement, shard)
        for overflow, ranges in ((False, tenant.placement.slots), (True, tenant.placement.overflow)):
            for slots in slots_on(ranges, shard):
                share = (slots[1] - slots[0] + 1) / count
                rows, size = tenant.rows.get(shard, 0), tenant.bytes.get(shard, 0)
                found.append(_Piece(tenant, slots, overflow, int(rows * share), int(size * share)))
    return found


def _fitting(piece: _Piece, room_rows: float) -> int:
    """How many of its slots fit into so many rows."""
    if piece.rows == 0:
        return piece.count
    return max(0, min(piece.count, int(room_rows * piece.count / piece.rows)))


class _Targets:
    """Shards that may take something, the emptiest first, as the plan goes on."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._incoming = dict.fromkeys(shards.all, 0)
        counted = (name for name, facts in shards.all.items() if facts.is_up and facts.use != "draining")
        self.rows = {name: shards.all[name].rows for name in sorted(counted)}
        self._heap = [(rows, name) for name, rows in self.rows.items() if not shards.refusal(name)]
        heapq.heapify(self._heap)

    def emptiest(self, piece: _Piece, other_than: ShardId | None = None) -> ShardId | None:
        """None: none may take it."""
        aside: list[tuple[int, ShardId]] = []
        found: ShardId | None = None
        while self._heap and found is None:
            rows, name = heapq.heappop(self._heap)
            if rows != self.rows[name]:  # it stands further down, or up, by now
                continue
            aside.append((rows, name))
            if name != other_than and self._may_take(name, piece):
                found = name
        for each in aside:
            heapq.heappush(self._heap, each)
        return found

    def take(self, name: ShardId, piece: _Piece) -> None:
        self._incoming[name] += piece.bytes
        self._now(name, self.rows[name] + piece.rows)

    def give(self, name: ShardId, piece: _Piece) -> None:
        self._now(name, self.rows[name] - piece.rows)

    def _may_take(self, name: ShardId, piece: _Piece) -> bool:
        full = self._shards.refusal(name, self._incoming[name] + piece.bytes)
        return not full and not self._shards.missing_label(name, piece.tenant)

    def _now(self, name: ShardId, rows: int) -> None:
        if rows != self.rows[name]:
            self.rows[name] = rows
            heapq.heappush(self._heap, (rows, name))
