"""Writes what became of an operation: by compare-and-swap on its record and on the leader's key."""

from collections.abc import Sequence
from typing import Final

from evenshard.directory.keys import operation_key
from evenshard.directory.move_table import MoveSignal
from evenshard.directory.operations import Signal, after
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.runtime.election import Term
from evenshard.runtime.operations import OperationView, StoredOperation

DIRECTORY_TIMEOUT_S: Final = 5.0


class OperationWriter:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, operations: OperationView, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._operations = operations
        self._clock = clock
        self._rng = rng

    async def write(
        self,
        stored: StoredOperation,
        signal: Signal | MoveSignal,
        term: Term,
        changes: Sequence[Put | Delete] = (),
        conditions: Sequence[Unchanged] = (),
        *,
        timeout_s: float = DIRECTORY_TIMEOUT_S,
    ) -> StoredOperation | None:
        """The operation after ``signal``; None: it, or something that ``conditions`` name, has changed, or the term is
        over. Raises ``OPERATION_STATE`` where its state does not allow the signal."""
        wanted = after(stored.operation, signal, self._clock.now_ms(), self._rng.token_hex(8))
        key = operation_key(wanted.id)
        result = await self._directory.swap(
            [term.condition, Unchanged(key, stored.revision), *conditions],
            [Put(key, wanted.to_json()), *changes],
            timeout_s=timeout_s,
        )
        if not result.swapped:
            return None
        written = StoredOperation(wanted, result.revision)
        self._operations.learn(written)
        return written
