"""What is kept of repairs that have ended: until nobody can undo them, and no longer than their user."""

from dataclasses import replace
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.deletion import Users
from evenshard.directory.keys import REPAIRS
from evenshard.directory.repair import Repair, is_removable
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.router.repairs_copying import STEP_TIMEOUT_S
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.operations import OperationView
from evenshard.wire.rpcs import DROP_LAYERS

DIRECTORY_TIMEOUT_S: Final = 5.0
REMOVALS_AT_ONCE: Final = 10


class EndedRepairs:
    """Belongs to one event loop; each act may be done again."""

    def __init__(self, directory: Directory, operations: OperationView, shards: TenantShards, clock: Clock) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._clock = clock

    async def remove_old(self, term: Term) -> None:
        """What was deleted so long ago that it cannot be undone any more goes; some at a time."""
        snapshot = await self._directory.range(REPAIRS, timeout_s=DIRECTORY_TIMEOUT_S)
        repairs = {entry.key: (Repair.from_json(entry.value), entry) for entry in snapshot.entries}
        complete = {repair.operation for repair, _ in repairs.values() if repair.ended_ms is not None}
        old = [
            (repair, entry)
            for repair, entry in repairs.values()
            if is_removable(repair, self._clock.now_ms(), complete)
        ]
        for repair, entry in old[:REMOVALS_AT_ONCE]:
            _, failed = await self._shards.each(
                repair.tenant,
                DROP_LAYERS,
                lambda epoch, repair=repair: shard_pb2.DropLayersRequest(  # type: ignore[misc]
                    tenant=repair.tenant, epoch=epoch, layers=[repair.taken_layer], operation=repair.operation
                ),
                lambda: STEP_TIMEOUT_S,
            )
            if not failed:
                await self._directory.swap(
                    [term.condition, Unchanged(entry.key, entry.revision)],
                    [Put(entry.key, replace(repair, removed=True).to_json())],
                    timeout_s=DIRECTORY_TIMEOUT_S,
                )

    async def forget(self, users: Users, since_ms: int, term: Term) -> OperationId | None:
        """Records of repairs of users who were deleted at ``since_ms`` name them no more. One that has not ended yet:
        it names its key until then."""
        snapshot = await self._directory.range(REPAIRS, timeout_s=DIRECTORY_TIMEOUT_S)
        chosen = frozenset(users.distinct_ids)
        for entry in snapshot.entries:
            repair = Repair.from_json(entry.value)
            if repair.tenant != users.tenant or repair.distinct_id not in chosen:
                continue
            stored = await self._operations.fetch(repair.operation, timeout_s=DIRECTORY_TIMEOUT_S)
            if stored is not None and stored.operation.created_ms > since_ms:
                continue  # of whoever came under that id since
            if stored is not None and not stored.operation.ended:
                return repair.operation
            result = await self._directory.swap(
                [term.condition, Unchanged(entry.key, entry.revision)],
                [Put(entry.key, repair.of_nobody().to_json())],
                timeout_s=DIRECTORY_TIMEOUT_S,
            )
            if not result.swapped:
                raise EvenshardError("OPERATION_CONFLICT", f"the record of {repair.operation} changed meanwhile")
        return None
