"""What operators ask of moves: plan one, begin it. Writes records; the elected router acts on them.

Everything is checked before anything is written, and a plan is begun only where nothing it is about has changed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from evenshard.directory.audit import Audited
from evenshard.directory.balancing import MOVES_MAX, drain_plan, policy_named, rebalance_plan
from evenshard.directory.begun import OperationBegun
from evenshard.directory.changes import REQUEST_TTL_S, check_request_id
from evenshard.directory.groups import Group
from evenshard.directory.keys import group_key, moving_key, operation_key, request_key, shard_state_key
from evenshard.directory.moves import Move, Slots
from evenshard.directory.operations import ALL_TENANTS, GroupKind, MoveKind, Operation, check_room, operation_id
from evenshard.directory.planning import (
    Plan,
    PlannedMove,
    isolate_plan,
    legs_of,
    merge_plan,
    move_plan,
    split_plan,
)
from evenshard.directory.shard_state import ShardState
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import OperationId, Revision, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import NOT_THERE, RETRY_PAUSE_MS_MAX, TRIES_MAX, ChangeOptions, budget_s
from evenshard.router.cluster_facts import ClusterFacts, Facts
from evenshard.router.moving import check_not_moving
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.runtime.tenants import TenantView

RATE_MIN: Final = 1 << 20
"""Bytes a second: a slower copy would fall behind what comes in."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the operation that was begun with it; None: it is only a plan."""

    plan: Plan
    revision: Revision
    stored: StoredOperation | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A plan with what else is written when it is begun."""

    plan: Plan
    facts: Facts
    state: ShardState | None = None
    """How a shard is to be used from then on."""


class MoveAdmin:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        tenants: TenantView,
        operations: OperationView,
        facts: ClusterFacts,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._tenants = tenants
        self._operations = operations
        self._facts = facts
        self._clock = clock
        self._rng = rng

    async def move(
        self, tenant: str, to: str, slots: Slots | None, rate: int, options: ChangeOptions, *, overflow: bool
    ) -> Planned:
        """Raises ``TENANT_NOT_FOUND``, ``SHARD_NOT_FOUND``, ``SHARD_NOT_ELIGIBLE``, ``PLACEMENT_UNSATISFIABLE``,
        ``QUERY_INVALID``, ``PLAN_STALE``, ``OPERATION_CONFLICT``, ``LIMIT_EXCEEDED``."""

        def plan(facts: Facts) -> Plan:
            return move_plan(_only(facts), ShardId(to), facts.shards, slots, overflow=overflow)

        return await self._one("move", tenant, [to, slots, rate, overflow], rate, options, plan)

    async def split(self, tenant: str, to: Sequence[str], rate: int, options: ChangeOptions) -> Planned:
        """Raises as ``move``."""

        def plan(facts: Facts) -> Plan:
            return split_plan(_only(facts), [ShardId(name) for name in to], facts.shards)

        return await self._one("split", tenant, [list(to), rate], rate, options, plan)

    async def merge(self, tenant: str, to: str, rate: int, options: ChangeOptions) -> Planned:
        """Raises as ``move``."""

        def plan(facts: Facts) -> Plan:
            return merge_plan(_only(facts), ShardId(to), facts.shards)

        return await self._one("merge", tenant, [to, rate], rate, options, plan)

    async def isolate(self, tenant: str, to: str, rate: int, options: ChangeOptions) -> Planned:
        """The shard is cordoned with the first change. Raises as ``move``."""

        def plan(facts: Facts) -> tuple[Plan, ShardState]:
            others: dict[ShardId, int] = {}
            for other in self._tenants.all():
                for shard in other.placement.shards if other.name != tenant else ():
                    others[shard] = others.get(shard, 0) + 1
            target, found = isolate_plan(_only(facts), ShardId(to) if to else None, facts.shards, others)
            return found, ShardState(target, "cordoned", current_call().principal.name, self._rng.token_hex(8))

        return await self._one("isolate", tenant, [to, rate], rate, options, plan)

    async def drain(self, shard: str, rate: int, options: ChangeOptions) -> Planned:
        """Raises as ``move``."""
        name = ShardId(shard)
        wanted = self._operation("drain", ALL_TENANTS)
        begun = OperationBegun.of("drain", wanted.id, TenantId(shard), [rate])

        async def plan() -> _Wanted:
            facts = await self._facts.of_all(budget_s())
            found = drain_plan(name, facts.tenants.values(), facts.shards)
            state = ShardState(name, "draining", current_call().principal.name, self._rng.token_hex(8))
            return _Wanted(found, facts, state)

        return await self._group(wanted, begun, plan, rate, options, name)

    async def rebalance(self, policy: str, rate: int, options: ChangeOptions) -> Planned:
        """Raises as ``move``."""
        chosen = policy_named(policy or "even")
        wanted = self._operation("rebalance", ALL_TENANTS)
        begun = OperationBegun.of("rebalance", wanted.id, ALL_TENANTS, [chosen, rate])

        async def plan() -> _Wanted:
            facts = await self._facts.of_all(budget_s())
            return _Wanted(rebalance_plan(list(facts.tenants.values()), facts.shards, chosen), facts)

        return await self._group(wanted, begun, plan, rate, options, None)

    # One tenant

    async def _one(
        self,
        kind: MoveKind,
        name: str,
        asked: Any,
        rate: int,
        options: ChangeOptions,
        plan: Callable[[Facts], Plan | tuple[Plan, ShardState]],
    ) -> Planned:
        tenant = tenant_id(name)
        check_request_id(options.request_id)
        check_rate(rate)
        wanted = self._operation(kind, tenant)
        begun = OperationBegun.of(kind, wanted.id, tenant, asked)
        for _ in range(TRIES_MAX):
            before = await self._done(begun, options)
            if before is not None:
                return before
            facts = await self._facts.of_tenant(name, budget_s())
            found = plan(facts)
            made, state = (found, None) if isinstance(found, Plan) else found
            planned = _Wanted(made, facts, state)
            self._check_pinned(planned, options)
            await check_not_moving(self._directory, tenant, budget_s())
            check_room(tenant, (stored.operation for stored in self._operations.all()))
            if options.dry_run:
                return Planned(made, facts.revision, None)
            stored = await self._begin(moving(wanted, made.moves, rate), planned, begun, options)
            if stored is not None:
                return Planned(made, facts.revision, stored)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {name!r}: gave up after {TRIES_MAX}")

    async def _begin(
        self, operation: Operation, planned: _Wanted, begun: OperationBegun, options: ChangeOptions
    ) -> StoredOperation | None:
        """None: something that the plan is about changed meanwhile."""
        tenant, moves = operation.tenant, planned.plan.moves
        conditions = planned.facts.conditions(tenant, (move.target for move in moves))
        conditions += [Unchanged(operation_key(operation.id), NOT_THERE), Unchanged(moving_key(tenant), NOT_THERE)]
        changes: list[Put | Delete] = [
            Put(operation_key(operation.id), operation.to_json()),
            Put(moving_key(tenant), operation.id.encode()),
        ]
        return await self._swap(operation, planned, begun, options, conditions, changes)

    # Several tenants

    async def _group(
        self,
        wanted: Operation,
        begun: OperationBegun,
        plan: "Callable[[], Any]",
        rate: int,
        options: ChangeOptions,
        drained: ShardId | None,
    ) -> Planned:
        check_request_id(options.request_id)
        check_rate(rate)
        for _ in range(TRIES_MAX):
            before = await self._done(begun, options)
            if before is not None:
                return before
            planned: _Wanted = await plan()
            self._check_pinned(planned, options)
            self._check_only_group()
            check_room(ALL_TENANTS, (stored.operation for stored in self._operations.all()))
            if options.dry_run:
                return Planned(planned.plan, planned.facts.revision, None)
            pending = _of_whole_tenants(planned.plan.moves)
            known = None if drained is None else planned.facts.states.get(drained)
            group = Group(wanted.id, pending, drained, rate, use_before="active" if known is None else known.use)
            rows, size = sum(move.rows for move in pending), sum(move.bytes for move in pending)
            operation = replace(wanted, rows_total=rows, bytes_total=size)
            conditions = [Unchanged(operation_key(operation.id), NOT_THERE)]
            changes: list[Put | Delete] = [
                Put(operation_key(operation.id), operation.to_json()),
                Put(group_key(operation.id), group.to_json()),
            ]
            stored = await self._swap(operation, planned, begun, options, conditions, changes)
            if stored is not None:
                return Planned(planned.plan, planned.facts.revision, stored)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing shards: gave up after {TRIES_MAX}")

    def _check_only_group(self) -> None:
        """Two plans over all shards would undo each other. Raises ``OPERATION_CONFLICT``."""
        for stored in self._operations.all():
            operation = stored.operation
            if operation.kind in ("drain", "rebalance") and not operation.ended:
                raise EvenshardError(
                    "OPERATION_CONFLICT",
                    f"operation {operation.id}, a {operation.kind}, goes on",
                    hint=f"wait for its end, or end it: evenshard admin cancel {operation.id}",
                    details={"operation": operation.id},
                )

    # Of both

    async def _swap(
        self,
        operation: Operation,
        planned: _Wanted,
        begun: OperationBegun,
        options: ChangeOptions,
        conditions: list[Unchanged],
        changes: list[Put | Delete],
    ) -> StoredOperation | None:
        state = planned.state
        if state is not None:
            key, known = shard_state_key(state.shard), planned.facts.states.get(state.shard)
            if all(condition.key != key for condition in conditions):
                conditions.append(Unchanged(key, known.revision if known else NOT_THERE))
            changes.append(Put(key, replace(state, nonce=operation.id).to_json()))  # by it it is found and given back
        if options.request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            conditions.append(Unchanged(request_key(options.request_id), NOT_THERE))
            changes.append(Put(request_key(options.request_id), begun.to_json(), lease))
        changes.append(_audited(operation, planned.plan).put(operation.nonce))
        result = await self._directory.swap(conditions, changes, timeout_s=budget_s())
        if not result.swapped:
            return None
        stored = StoredOperation(operation, result.revision)
        self._operations.learn(stored)
        return stored

    async def _done(self, begun: OperationBegun, options: ChangeOptions) -> Planned | None:
        """What the same request began before."""
        if not options.request_id or options.dry_run:
            return None
        entry = await self._directory.get(request_key(options.request_id), timeout_s=budget_s())
        if entry is None:
            return None
        name = begun.check_same(options.request_id, entry.value)
        stored = await self._operations.fetch(name, timeout_s=budget_s())
        if stored is None:
            raise EvenshardError("OPERATION_NOT_FOUND", f"operation {name} was removed since")
        return Planned(Plan((), {}, {}), entry.revision, stored)

    def _check_pinned(self, planned: _Wanted, options: ChangeOptions) -> None:
        moves = planned.plan.moves
        shards = {shard for move in moves for shard in (move.source, move.target)}
        planned.facts.check_pinned(options.expected_revision, {move.tenant for move in moves}, sorted(shards))

    def _operation(self, kind: MoveKind | GroupKind, tenant: TenantId) -> Operation:
        now_ms = self._clock.now_ms()
        name = operation_id(now_ms, self._rng.token_hex(8))
        return Operation(name, kind, tenant, 0, current_call().principal.name, now_ms, now_ms, self._rng.token_hex(8))


def moving(
    operation: Operation, moves: Iterable[PlannedMove], bytes_per_second: int, group: OperationId | None = None
) -> Operation:
    """The first record of an operation that makes these moves of one tenant."""
    planned = tuple(moves)
    move = Move(legs_of(planned), bytes_per_second, group=group)
    rows, size = sum(each.rows for each in planned), sum(each.bytes for each in planned)
    return replace(operation, move=move, rows_total=rows, bytes_total=size)


def check_rate(bytes_per_second: int) -> None:
    """Raises ``QUERY_INVALID``."""
    if bytes_per_second and bytes_per_second < RATE_MIN:
        problem = f"{bytes_per_second:,} bytes a second are less than {RATE_MIN:,}"
        raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("bytes_per_second", problem),))


def _only(facts: Facts) -> Any:
    """The one tenant there is."""
    (tenant,) = facts.tenants.values()
    return tenant


def _of_whole_tenants(moves: Sequence[PlannedMove]) -> tuple[PlannedMove, ...]:
    """By tenant, each whole, until there are enough."""
    by_tenant: dict[TenantId, list[PlannedMove]] = {}
    for move in moves:
        by_tenant.setdefault(move.tenant, []).append(move)
    found: list[PlannedMove] = []
    for some in by_tenant.values():
        if found and len(found) + len(some) > MOVES_MAX:
            break
        found += some
    return tuple(found)


def _audited(operation: Operation, plan: Plan) -> Audited:
    moves = [
        {"tenant": move.tenant, "slots": move.slots, "overflow": move.overflow, "from": move.source, "to": move.target}
        for move in plan.moves[:100]
    ]
    before = [{**each, "to": each["from"]} for each in moves]
    return Audited(
        operation.created_ms,
        operation.requested_by,
        operation.kind,
        operation.id,
        {"moves": before, "count": len(plan.moves)},
        {"moves": moves, "count": len(plan.moves)},
    )
