"""Drives what moves slots of several tenants: begins a few moves at a time, and completes those that have switched.

Each tenant's move is an operation of its own; what comes to a shard that is drained meanwhile is moved too. Where all
of it is to go back, moves under way are ended and those that have switched rolled back; then whatever was completed is
moved back in the same way.
"""

from dataclasses import replace
from typing import Final

from evenshard.directory.balancing import drain_plan
from evenshard.directory.groups import AT_ONCE, Group
from evenshard.directory.keys import OPERATIONS, group_key, moving_key, operation_key, tenant_key
from evenshard.directory.move_table import CancelAsked, CompleteAsked, MoveSignal, RollbackAsked
from evenshard.directory.moves import placement_moved
from evenshard.directory.operations import (
    Cancelled,
    Done,
    Dropped,
    Failed,
    Noted,
    Operation,
    Signal,
    Started,
    Undone,
    operation_id,
)
from evenshard.directory.planning import PlannedMove, TenantFacts, legs_of
from evenshard.directory.tenant import Tenant
from evenshard.directory.way_back import stayed, way_back
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.cluster_facts import ClusterFacts, Facts
from evenshard.router.moves_admin import moving
from evenshard.router.operation_writing import DIRECTORY_TIMEOUT_S, OperationWriter
from evenshard.runtime.election import Term
from evenshard.runtime.operations import OperationView, StoredOperation

LOOK_EVERY_MS: Final = 500.0
ENDS: Final = "what has begun is being ended"
GOES_BACK: Final = "what has moved goes back"
_REFUSALS: Final = frozenset(
    ["SHARD_NOT_FOUND", "SHARD_NOT_ELIGIBLE", "PLACEMENT_UNSATISFIABLE", "OPERATION_CONFLICT", "PLAN_STALE"]
)


class GroupDriver:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        facts: ClusterFacts,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._facts = facts
        self._clock = clock
        self._rng = rng
        self._writer = OperationWriter(directory, operations, clock, rng)

    async def carry_out(self, stored: StoredOperation, term: Term) -> bool:
        """One round. False: nothing came of it, try again later."""
        if stored.operation.state == "planned":
            return await self._writer.write(stored, Started(), term) is not None
        key = group_key(stored.operation.id)
        entry = await self._directory.get(key, timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            return await self._writer.write(stored, Failed("nobody knows any more what it moves"), term) is not None
        before = Group.from_json(entry.value)
        group = await self._looked_after(before, term)
        try:
            if group.is_cancelled:
                return await self._cancelled(stored, group, entry.revision, term)
            if group.is_taken_back and not group.is_turned and not group.running:
                return await self._write(stored, await self._turned(group), entry.revision, None, term, GOES_BACK)
            if group.next_tenant is not None and len(group.running) < AT_ONCE:
                return await self._begun(stored, group, entry.revision, term)
            if not group.running and group.shard is not None and not group.is_taken_back:
                group = await self._planned_anew(group)
        except EvenshardError as error:
            if error.code not in _REFUSALS:
                raise
            await self._note(stored, before, group, entry.revision, term, f"{error.code}: {error.message}")
            return False
        if not group.running and not group.pending:
            troubles = "; ".join(group.troubles)
            ended = Undone(troubles) if group.is_taken_back else Done(group.rows_done, troubles)
            return await self._write(stored, group, entry.revision, ended, term)
        await self._note(stored, before, group, entry.revision, term, self._waits_for(group))
        await self._clock.sleep(LOOK_EVERY_MS)
        return True

    async def _looked_after(self, group: Group, term: Term) -> Group:
        """What has ended is taken off; what has switched is completed, or rolled back."""
        for name in group.running:
            stored = await self._operations.fetch(name, timeout_s=DIRECTORY_TIMEOUT_S)
            running = tuple(each for each in group.running if each != name)
            if stored is None:
                group = replace(group, running=running).troubled(f"operation {name} is gone")
                continue
            operation = stored.operation
            assert operation.move is not None
            if operation.ended:
                group = replace(group, running=running)
                if operation.state == "complete":
                    group = replace(group, rows_done=group.rows_done + operation.rows_done)
                elif operation.state == "failed" or not group.ends_what_it_began:
                    group = group.troubled(f"{operation.id}, of {operation.tenant}: {operation.state}")
            elif operation.state == "switched" and not operation.move.wish:
                goes_back = group.is_taken_back and not group.is_turned
                await self._asked(stored, RollbackAsked() if goes_back else CompleteAsked(), term)
            elif group.ends_what_it_began and operation.state in ("copying", "catching_up") and not operation.move.wish:
                await self._asked(stored, CancelAsked(), term)
            elif group.ends_what_it_began and operation.state == "planned":
                await self._writer.write(stored, Cancelled(), term, [Delete(moving_key(operation.tenant))])
        return group

    async def _turned(self, group: Group) -> Group:
        """Nothing of it is under way: what it has moved for good is to be moved back."""
        snapshot = await self._directory.range(OPERATIONS, timeout_s=DIRECTORY_TIMEOUT_S)
        operations = [StoredOperation.of(entry).operation for entry in snapshot.entries]
        moved = [each for each in operations if each.move is not None and each.move.group == group.operation]
        moved = [each for each in moved if each.state == "complete"]
        facts = await self._facts.of_all(DIRECTORY_TIMEOUT_S)
        tenants = {}
        for name in dict.fromkeys(each.tenant for each in moved):
            entry = await self._directory.get(tenant_key(name), timeout_s=DIRECTORY_TIMEOUT_S)
            if entry is not None:  # as it is now: what is seen here may lag behind
                placement = Tenant.from_json(entry.value).placement
                tenants[name] = replace(facts.tenants.get(name, TenantFacts(name, placement)), placement=placement)
        for told in stayed(moved, tenants):
            group = group.troubled(told)
        return group.turned(way_back(moved, tenants))

    def _waits_for(self, group: Group) -> str:
        """What its moves wait for."""
        running = [self._operations.get(name) for name in group.running]
        return "; ".join(f"{each.tenant}: {each.error}" for each in running if each is not None and each.error)

    async def _asked(self, stored: StoredOperation, signal: Signal | MoveSignal, term: Term) -> None:
        await self._writer.write(stored, signal, term)

    async def _begun(self, stored: StoredOperation, group: Group, revision: Revision, term: Term) -> bool:
        """The next tenant's move, if it may be moved now; else the others come first."""
        name = group.next_tenant
        assert name is not None
        moves = group.of(name)
        try:
            facts = await self._facts.of_tenant(name, DIRECTORY_TIMEOUT_S)
        except EvenshardError as error:
            if error.code != "TENANT_NOT_FOUND":
                raise
            return await self._write(stored, group.without(name), revision, None, term)
        moving_now = await self._directory.get(moving_key(name), timeout_s=DIRECTORY_TIMEOUT_S)
        if moving_now is not None:
            other = moving_now.value.decode()
            await self._write(stored, group.later(name), revision, None, term, f"waits for operation {other}")
            await self._clock.sleep(LOOK_EVERY_MS)
            return True
        try:
            self._check(moves, facts, back=group.is_turned)
        except EvenshardError as error:
            if error.code not in _REFUSALS:
                raise
            # It was planned for other shards than there are now: a drain plans it anew, a rebalancing leaves it.
            told = group.without(name).troubled(f"{name}: {error.code}: {error.message}")
            return await self._write(stored, told, revision, None, term)
        child = self._child(stored.operation, name, moves, group.bytes_per_second)
        begun = replace(group.without(name), running=(*group.running, child.id))
        conditions = facts.conditions(name, (move.target for move in moves))
        conditions += [Unchanged(moving_key(name), Revision(0)), Unchanged(operation_key(child.id), Revision(0))]
        changes = [Put(operation_key(child.id), child.to_json()), Put(moving_key(name), child.id.encode())]
        signal = Noted("", (), group.rows_done, stored.operation.rows_total)
        key = group_key(stored.operation.id)
        written = await self._writer.write(
            stored,
            signal,
            term,
            [Put(key, begun.to_json()), *changes],
            [Unchanged(key, revision), *conditions],
        )
        return written is not None

    def _check(self, moves: tuple[PlannedMove, ...], facts: Facts, *, back: bool) -> None:
        (tenant,) = facts.tenants.values()
        placement_moved(tenant.placement, legs_of(moves))
        check = facts.shards.check_return if back else facts.shards.check_target
        for target in {move.target for move in moves}:
            check(target, tenant, sum(move.bytes for move in moves if move.target == target))

    def _child(
        self, group: Operation, tenant: TenantId, moves: tuple[PlannedMove, ...], bytes_per_second: int
    ) -> Operation:
        now_ms = self._clock.now_ms()
        name = operation_id(now_ms, self._rng.token_hex(8))
        operation = Operation(name, "move", tenant, 0, group.requested_by, now_ms, now_ms, self._rng.token_hex(8))
        return moving(operation, moves, bytes_per_second, OperationId(group.id))

    async def _planned_anew(self, group: Group) -> Group:
        """What the drained shard still has."""
        assert group.shard is not None
        facts = await self._facts.of_all(DIRECTORY_TIMEOUT_S)
        held = [tenant for tenant in facts.tenants.values() if group.shard in tenant.placement.shards]
        if not held:
            return group
        return replace(group, pending=drain_plan(group.shard, held, facts.shards).moves[:1000])

    async def _cancelled(self, stored: StoredOperation, group: Group, revision: Revision, term: Term) -> bool:
        if not group.running:
            return await self._write(stored, group, revision, Dropped(), term)
        await self._write(stored, group, revision, None, term, ENDS)
        await self._clock.sleep(LOOK_EVERY_MS)
        return True

    async def _note(
        self, stored: StoredOperation, before: Group, group: Group, revision: Revision, term: Term, error: str
    ) -> None:
        """Where it is news."""
        told = error or "; ".join(group.troubles) or (GOES_BACK if group.is_taken_back else "")
        if group != before or told != stored.operation.error:
            await self._write(stored, group, revision, None, term, told)

    async def _write(
        self,
        stored: StoredOperation,
        group: Group,
        revision: Revision,
        signal: Signal | None,
        term: Term,
        error: str = "",
    ) -> bool:
        key = group_key(stored.operation.id)
        told = signal or Noted(error, (), group.rows_done, stored.operation.rows_total)
        written = await self._writer.write(stored, told, term, [Put(key, group.to_json())], [Unchanged(key, revision)])
        return written is not None
