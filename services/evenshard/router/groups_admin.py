"""What operators ask of a drain, or a rebalancing, that goes on: to end, or to go back. Writes records; the elected
router acts on them.
"""

from typing import Literal

from evenshard.directory.audit import Audited
from evenshard.directory.groups import Group
from evenshard.directory.keys import group_key, operation_key
from evenshard.directory.operations import Noted, Operation, Resumed, after, refused
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import budget_s
from evenshard.router.shard_uses import UseGivenBack, use_given_back
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import OperationView, StoredOperation

GroupWish = Literal["cancel", "rollback"]
_ACTS = {"cancel": "cancelled", "rollback": "rolled back"}


class GroupAdmin:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, operations: OperationView, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._operations = operations
        self._clock = clock
        self._rng = rng

    async def ask(self, stored: StoredOperation, wish: GroupWish, *, dry_run: bool) -> StoredOperation | None:
        """Of one that has not ended; asked again it stays so. None: it changed meanwhile. Raises ``OPERATION_STATE``
        where the other one was asked before."""
        operation, key = stored.operation, group_key(stored.operation.id)
        entry = await self._directory.get(key, timeout_s=budget_s())
        if entry is None:
            return None
        before = Group.from_json(entry.value)
        if before.wish == wish:
            return stored
        if before.wish:
            raise refused(operation, _ACTS[wish], before.wish)
        if dry_run:
            return stored
        group = before.cancelled() if wish == "cancel" else before.taken_back()
        use = UseGivenBack() if wish == "cancel" else await self._use_given_back(operation, group)
        wanted = self._after(operation, wish)
        result = await self._directory.swap(
            [
                Unchanged(operation_key(operation.id), stored.revision),
                Unchanged(key, entry.revision),
                *use.conditions,
            ],
            [
                Put(operation_key(operation.id), wanted.to_json()),
                Put(key, group.to_json()),
                self._audited(operation, wish),
                *use.changes,
            ],
            timeout_s=budget_s(),
        )
        if not result.swapped:
            return None
        changed = StoredOperation(wanted, result.revision)
        self._operations.learn(changed)
        return changed

    def _after(self, operation: Operation, wish: GroupWish) -> Operation:
        """It goes on, if it was paused, and says what is asked of it."""
        now_ms, told = self._clock.now_ms(), f"is being {_ACTS[wish]}"
        wanted = after(operation, Resumed(), now_ms, self._rng.token_hex(8))
        if wanted.state != "running":
            return wanted
        noted = Noted(told, (), operation.rows_done, operation.rows_total)
        return after(wanted, noted, now_ms, self._rng.token_hex(8))

    async def _use_given_back(self, operation: Operation, group: Group) -> UseGivenBack:
        """A shard that is drained no more is used as before, so that what left it may come back."""
        if group.shard is None:
            return UseGivenBack()
        return await use_given_back(
            self._directory,
            group.shard,
            operation.id,
            group.use_before,
            who=current_call().principal.name,
            now_ms=self._clock.now_ms(),
            nonce=self._rng.token_hex(8),
            timeout_s=budget_s(),
        )

    def _audited(self, operation: Operation, wish: GroupWish) -> Put:
        who, before = current_call().principal.name, {"state": operation.state}
        return Audited(self._clock.now_ms(), who, wish, operation.id, before, {"asked": wish}).put(
            self._rng.token_hex(8)
        )
