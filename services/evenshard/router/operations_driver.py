"""Drives every operation that has not ended, while this router leads; what each does next is decided by its record.

Every effect may be repeated, and every write is conditional on the record and on the leader's key: a router that leads
no more, or another that does, at most does again what was done.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from evenshard.directory.audit import surplus_keys
from evenshard.directory.deletion import Users
from evenshard.directory.keys import (
    AUDIT,
    MARKS,
    forgotten_key,
    group_key,
    marked_key,
    marks_of,
    moving_key,
    operation_key,
    repair_key,
    users_key,
)
from evenshard.directory.operations import (
    Effect,
    Failed,
    Hidden,
    Noted,
    Operation,
    Purged,
    Signal,
    Started,
    next_effect,
    prunable,
)
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.forgetting import Forgetting
from evenshard.router.groups_driver import GroupDriver
from evenshard.router.moves_driver import MoveDriver
from evenshard.router.moving import moving_operation
from evenshard.router.operation_writing import OperationWriter
from evenshard.router.repairs_driver import RepairDriver
from evenshard.router.repairs_ended import EndedRepairs
from evenshard.router.tenant_removal import TenantRemoval
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.runtime.marks import MarkView
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.wire.operations import hide_request, purge_progress, purge_request, rows_hidden
from evenshard.wire.rpcs import HIDE_USERS, PURGE

HIDING_AT_ONCE: Final = 16
"""Operations; others wait their turn."""
PURGING_AT_ONCE: Final = 4
REPAIRING_AT_ONCE: Final = 2
HIDE_TIMEOUT_S: Final = 10.0
PURGE_TIMEOUT_S: Final = 5.0
DIRECTORY_TIMEOUT_S: Final = 5.0
MARKS_SEEN_TIMEOUT_S: Final = 1.0
PAUSE_MS_MIN: Final = 100.0
PAUSE_MS_MAX: Final = 5_000.0
FORGOTTEN_TTL_S: Final = 60
"""How long other routers can see whom to forget; one that was away longer counts on until it is restarted."""
PRUNE_EVERY_MS: Final = 600_000
FORMER_MS: Final = 8 * 86_400_000
"""How long a shard may have trash of a tenant after a move, and a day."""
CHANGES_AT_ONCE: Final = 100
"""In one swap; etcd takes 128."""


class OperationDriver:
    """``lead`` it while this router is the elected one; belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        shards: TenantShards,
        forgetting: Forgetting,
        repairs: RepairDriver,
        ended_repairs: EndedRepairs,
        moves: MoveDriver,
        groups: GroupDriver,
        marks: MarkView,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._forgetting = forgetting
        self._repairs = repairs
        self._ended_repairs = ended_repairs
        self._moves = moves
        self._groups = groups
        self._marks = marks
        self._clock = clock
        self._rng = rng
        self._removal = TenantRemoval(directory, shards, clock)
        self._writer = OperationWriter(directory, operations, clock, rng)
        self._hiding = asyncio.Semaphore(HIDING_AT_ONCE)
        self._purging = asyncio.Semaphore(PURGING_AT_ONCE)
        self._repairing = asyncio.Semaphore(REPAIRING_AT_ONCE)

    async def lead(self, term: Term) -> None:
        """Until it is cancelled."""
        tasks: dict[str, asyncio.Task[None]] = {"": asyncio.create_task(self._prune_for_ever(term), name="pruning")}
        try:
            while True:
                version = self._operations.version
                for stored in self._operations.all():
                    operation = stored.operation
                    if next_effect(operation) is not None and operation.id not in tasks:
                        task = asyncio.create_task(self._drive(operation.id, term), name=f"operation {operation.id}")
                        tasks[operation.id] = task
                        task.add_done_callback(_ended)
                for name in [name for name, task in tasks.items() if task.done() and not task.exception()]:
                    del tasks[name]
                await self._operations.wait_beyond(version)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _drive(self, name: OperationId, term: Term) -> None:
        """Until it has ended; pauses between two tries grow while nothing comes of them."""
        pause_ms = PAUSE_MS_MIN
        while True:
            try:
                stored = await self._operations.fetch(name, timeout_s=DIRECTORY_TIMEOUT_S)
                effect = None if stored is None else next_effect(stored.operation)
                if stored is None or effect is None:
                    return
                advanced = await self._carry_out(effect, stored, term)
            except EvenshardError as error:
                logger().warning("an operation waits", operation=name, code=error.code, message=error.message)
                advanced = False
            if advanced:
                pause_ms = PAUSE_MS_MIN
                continue
            await self._clock.sleep(pause_ms * (0.5 + self._rng.random() / 2))
            pause_ms = min(PAUSE_MS_MAX, 2 * pause_ms)

    async def _carry_out(self, effect: Effect, stored: StoredOperation, term: Term) -> bool:
        """False: nothing came of it, try again later."""
        try:
            match effect:
                case "start" if stored.operation.move is None:
                    return await self._write(stored, Started(), term)
                case "hide":
                    async with self._hiding:
                        return await self._hide(stored, term)
                case "purge":
                    async with self._purging:
                        return await self._purge(stored, term)
                case "repair":
                    async with self._repairing:
                        return await self._repair(stored, term)
                case "start" | "move":
                    return await self._moves.carry_out(stored, term)
                case "group":
                    return await self._groups.carry_out(stored, term)
        except EvenshardError as error:
            if error.code != "TENANT_NOT_FOUND":
                raise
            gone = _besides(stored.operation)
            if stored.operation.move is not None:
                gone.append(Delete(moving_key(stored.operation.tenant)))
            return await self._write(stored, Failed("its tenant does not exist any more"), term, gone)
        assert_never(effect)

    async def _hide(self, stored: StoredOperation, term: Term) -> bool:
        operation = stored.operation
        entry = await self._directory.get(users_key(operation.id), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            return await self._write(stored, Failed("nobody knows any more whom it deletes"), term)
        users = Users.from_json(entry.value)
        # Marks go before rows are hidden: a shard lets go of a hot key, and takes or refuses its rows as any other's,
        # where it hides a user whose mark is gone.
        await self._forgetting.marks_end(users)
        await self._end_marks(stored, users, term)
        await self._forgetting.counts_end(operation.id, users)
        answered, failed = await self._shards.each(
            operation.tenant,
            HIDE_USERS,
            lambda epoch: hide_request(operation.tenant, epoch, operation.id, users.distinct_ids),
            lambda: HIDE_TIMEOUT_S,
        )
        if failed:
            await self._note(stored, _troubles(failed.items()), tuple(sorted(failed)), (0, 0), term)
            return False
        if await self._marks_of(users):  # a key became hot meanwhile: its mark goes too, with what was stored since
            return False
        await self._forgetting.counts_end(operation.id, users)
        lease = await self._directory.grant(FORGOTTEN_TTL_S, timeout_s=DIRECTORY_TIMEOUT_S)
        told = [Put(forgotten_key(operation.id), users.to_json(), lease)]
        return await self._write(stored, Hidden(rows_hidden(answered.values())), term, told)

    async def _end_marks(self, stored: StoredOperation, users: Users, term: Term) -> None:
        """Removes the users' marks of all days; waits until this router has seen it, as it is to be exact."""
        operation = stored.operation
        keys = await self._marks_of(users)
        conditions = [term.condition, Unchanged(operation_key(operation.id), stored.revision)]
        for first in range(0, len(keys), CHANGES_AT_ONCE):
            gone = [Delete(key) for key in keys[first : first + CHANGES_AT_ONCE]]
            result = await self._directory.swap(conditions, gone, timeout_s=DIRECTORY_TIMEOUT_S)
            if not result.swapped:
                raise EvenshardError("OPERATION_CONFLICT", "somebody else drives it by now")
            await self._marks.wait_revision(result.revision, MARKS_SEEN_TIMEOUT_S)

    async def _marks_of(self, users: Users) -> list[str]:
        """The keys of their marks."""
        chosen = frozenset(users.distinct_ids)
        snapshot = await self._directory.range(marks_of(users.tenant), timeout_s=DIRECTORY_TIMEOUT_S)
        return [entry.key for entry in snapshot.entries if _id_of_mark(entry.key) in chosen]

    async def _purge(self, stored: StoredOperation, term: Term) -> bool:
        operation = stored.operation
        answered, failed = await self._shards.each(
            operation.tenant,
            PURGE,
            lambda epoch: purge_request(operation.tenant, epoch, operation.id),
            lambda: PURGE_TIMEOUT_S,
            (*await self._move_shards(operation.tenant), *self._former_shards(operation.tenant)),
        )
        progress = purge_progress(answered)
        if not failed and not progress.shards_left:
            return await self._purged(stored, progress.rows_done, term)
        waits = "; ".join(each for each in (_troubles(failed.items()), progress.waits_for) if each)
        rows = (progress.rows_done, progress.rows_done + progress.rows_left)
        if failed:  # what these have done is not known now
            rows = (operation.rows_done, operation.rows_total)
        left = tuple(sorted({*failed, *progress.shards_left}))
        await self._note(stored, waits, left, rows, term)
        return False

    async def _purged(self, stored: StoredOperation, rows: int, term: Term) -> bool:
        """No file of a shard names the users any more; now the directory does not either."""
        operation = stored.operation
        entry = await self._directory.get(users_key(operation.id), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is not None:
            assert operation.hidden_ms is not None
            going_on = await self._ended_repairs.forget(Users.from_json(entry.value), operation.hidden_ms, term)
            if going_on is not None:
                await self._note(stored, f"operation {going_on} is repairing one of them", (), (rows, rows), term)
                return False
        return await self._write(stored, Purged(rows), term, [Delete(users_key(operation.id))])

    async def _move_shards(self, tenant: TenantId) -> tuple[ShardId, ...]:
        """Those that may hold rows of a tenant that is being moved, whoever owns its slots by now."""
        name = await moving_operation(self._directory, tenant, DIRECTORY_TIMEOUT_S)
        stored = None if name is None else await self._operations.fetch(name, timeout_s=DIRECTORY_TIMEOUT_S)
        return stored.operation.move.shards if stored is not None and stored.operation.move is not None else ()

    def _former_shards(self, tenant: TenantId) -> list[ShardId]:
        """Those that moves of the tenant took slots from, or brought some to, not long ago: trash may be left there."""
        since_ms = self._clock.now_ms() - FORMER_MS
        ended = [stored.operation for stored in self._operations.all()]
        moved = [each.move for each in ended if each.tenant == tenant and each.ended and each.changed_ms >= since_ms]
        shards = dict.fromkeys(shard for move in moved if move is not None for shard in move.shards)
        return [shard for shard in shards if self._shards.is_listed(shard)]

    async def _repair(self, stored: StoredOperation, term: Term) -> bool:
        advance = await self._repairs.carry_out(stored)
        if advance is None:
            return False
        written = await self._write(stored, advance.signal, term, advance.changes, advance.conditions)
        return written and advance.advanced

    async def _note(
        self, stored: StoredOperation, error: str, shards_left: Sequence[ShardId], rows: tuple[int, int], term: Term
    ) -> None:
        """Writes down what it waits for, where that is news."""
        operation = stored.operation
        noted = Noted(error, tuple(shards_left), *rows)
        if (operation.error, operation.shards_left, operation.rows_done, operation.rows_total) != (
            error, noted.shards_left, noted.rows_done, noted.rows_total,
        ):  # fmt: skip
            await self._write(stored, noted, term)

    async def _write(
        self,
        stored: StoredOperation,
        signal: Signal,
        term: Term,
        changes: Sequence[Put | Delete] = (),
        conditions: Sequence[Unchanged] = (),
    ) -> bool:
        """False: the record has changed, or this router leads no more."""
        return await self._writer.write(stored, signal, term, changes, conditions) is not None

    async def _prune_for_ever(self, term: Term) -> None:
        while True:
            try:
                await self._prune(term)
                await self._ended_repairs.remove_old(term)
                await self._prune_audit(term)
                await self._removal.remove_old(term)
            except EvenshardError as error:
                logger().warning("old operations were not removed", code=error.code, message=error.message)
            await self._clock.sleep(PRUNE_EVERY_MS)

    async def _prune(self, term: Term) -> None:
        revisions = {stored.operation.id: stored.revision for stored in self._operations.all()}
        old = prunable((stored.operation for stored in self._operations.all()), self._clock.now_ms())
        for operation in old:
            key = operation_key(operation.id)
            conditions = [term.condition, Unchanged(key, revisions[operation.id])]
            gone = [Delete(key), *_besides(operation)]
            await self._directory.swap(conditions, gone, timeout_s=DIRECTORY_TIMEOUT_S)

    async def _prune_audit(self, term: Term) -> None:
        snapshot = await self._directory.range(AUDIT, timeout_s=DIRECTORY_TIMEOUT_S)
        old = surplus_keys(snapshot.entries)
        for first in range(0, len(old), CHANGES_AT_ONCE):
            gone = [Delete(key) for key in old[first : first + CHANGES_AT_ONCE]]
            await self._directory.swap([term.condition], gone, timeout_s=DIRECTORY_TIMEOUT_S)


def _troubles(failed: Iterable[tuple[ShardId, EvenshardError]]) -> str:
    return "; ".join(f"{shard}: {error.code}: {error.message}" for shard, error in sorted(failed))


def _besides(operation: Operation) -> list[Delete]:
    """What stands beside its record."""
    return [Delete(users_key(operation.id)), Delete(repair_key(operation.id)), Delete(group_key(operation.id))]


def _id_of_mark(key: str) -> str | None:
    """None: it cannot be read, which is said by whoever shows marks."""
    try:
        return marked_key(key.removeprefix(MARKS))[1]
    except ValueError:
        return None


def _ended(task: "asyncio.Task[None]") -> None:
    """Only a defect ends the driving of an operation before it has ended; it must not do so in silence."""
    if not task.cancelled() and task.exception() is not None:
        logger().critical("an operation is driven no more", name=task.get_name(), exc_info=task.exception())
