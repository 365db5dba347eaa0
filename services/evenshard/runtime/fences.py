"""Proposes to the directory that a fence of this shard comes to nothing: by compare-and-swap on the move's record, so
that either this or the switch is true, whichever comes first.
"""

from typing import Final

from evenshard.directory.keys import operation_key
from evenshard.directory.move_table import unfencing
from evenshard.directory.moves import Move, leg_name
from evenshard.directory.operations import Operation, after
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.rng import Rng

TRIES_MAX: Final = 5
LATE: Final = "not switched within the time that a source waits"


class FenceProposals:
    """``ProposeBack`` of one shard."""

    def __init__(self, shard: ShardId, directory: Directory, clock: Clock, rng: Rng) -> None:
        self._shard = shard
        self._directory = directory
        self._clock = clock
        self._rng = rng

    async def propose_back(self, tenant: TenantId, operation: str, revision: int, timeout_s: float) -> int | None:
        """See ``ProposeBack``; ``operation`` names a leg."""
        name = OperationId(operation.partition(".")[0])
        key = operation_key(name)
        for _ in range(TRIES_MAX):
            entry = await self._directory.get(key, timeout_s=timeout_s)
            if entry is None:
                return None  # who knows who has the slots by now: the tenant's record tells
            record = Operation.from_json(entry.value)
            if record.move is None or record.tenant != tenant:
                return None
            if record.state != "fenced":
                return None if self._switched(record, record.move, operation) else entry.revision
            if self._switched(record, record.move, operation) or entry.revision != revision:
                return None
            wanted = after(record, unfencing(record.move, LATE), self._clock.now_ms(), self._rng.token_hex(8))
            result = await self._directory.swap(
                [Unchanged(key, entry.revision)], [Put(key, wanted.to_json())], timeout_s=timeout_s
            )
            if result.swapped:
                return result.revision
        raise EvenshardError("DIRECTORY_UNAVAILABLE", f"operation {name} kept changing")

    def _switched(self, operation: Operation, move: Move, leg: str) -> bool:
        """Whether the slots are, or were meanwhile, the other shard's of the leg."""
        numbers = [number for number in range(len(move.legs)) if leg_name(operation.id, move, number) == leg]
        is_source = bool(numbers) and move.legs[numbers[0]].source == self._shard
        match operation.state:
            case "switched" | "complete":
                return is_source
            case "fenced":
                return is_source == move.back
        return not is_source
