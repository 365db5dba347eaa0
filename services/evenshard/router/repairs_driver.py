"""Drives repairs, step by step as their records say; called by whoever drives operations, while this router leads.

Every step may be done again, and every write is conditional on the records and on the leader's key. Rows are copied
source by source; a source that was not copied whole is copied anew, in the place of what came of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from evenshard.api.v1 import shard_pb2
from evenshard.directory.keys import (
    mark_key,
    repair_key,
    repairing_key,
    tenant_key,
)
from evenshard.directory.operations import Done, Dropped, Failed, Noted, Operation, Signal
from evenshard.directory.placement import Placement
from evenshard.directory.repair import (
    Counted,
    Repair,
    summed,
)
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.ids import Epoch, OperationId, Revision, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.key_marks import KeyMarks
from evenshard.router.repairs_compared import differences_of
from evenshard.router.repairs_copying import STEP_TIMEOUT_S, Copying
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.logs import logger
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.storage.choosing import key_rows
from evenshard.storage.layers import Change
from evenshard.wire.repairs import change_messages, key_rows_message
from evenshard.wire.rpcs import (
    DROP_LAYERS,
    PREPARE_REPAIR,
    SETTLE_REPAIRS,
    TAKE_LAYER,
)

DIRECTORY_TIMEOUT_S: Final = 5.0
SETTLE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Stored:
    """An operation, its repair, and the revision of that."""

    operation: StoredOperation
    repair: Repair
    revision: Revision


class RepairDriver:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        shards: TenantShards,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._marks = KeyMarks(directory)
        self._clock = clock
        self._rng = rng

    async def carry_out(self, stored: StoredOperation) -> "Advance | None":
        """Does the next step. What to write down then; None: nothing came of it, try again later."""
        operation = stored.operation
        entry = await self._directory.get(repair_key(operation.id), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            return Advance(Failed("nobody knows any more what it repairs"))
        this = _Stored(stored, Repair.from_json(entry.value), entry.revision)
        match this.repair.step:
            case "mark":
                return await self._mark(this)
            case "take":
                return await self._take(this)
            case "copy":
                return await self._copy(this)
            case "prepare":
                return await self._prepare(this)
            case "switch":
                return await self._switch(this)
            case "settle":
                return await self._settle(this)
            case "drop":
                return await self._drop(this, Dropped())
            case "end":
                return await self._end(this)
        assert_never(this.repair.step)

    # Steps

    async def _mark(self, this: _Stored) -> "Advance | None":
        """All marks of the key at once."""
        repair, before = this.repair, dict(this.repair.shown_before or {})
        conditions, puts = [], []
        for day in repair.days:
            key = mark_key(repair.tenant, repair.distinct_id, day)
            entry = await self._directory.get(key, timeout_s=DIRECTORY_TIMEOUT_S)
            if entry is None:
                continue
            mark = Mark.from_json(entry.value)
            if repair.undoes is None:
                before[str(day)] = mark.mode
            wanted = "salt" if repair.undoes is None else before.get(str(day), mark.mode)
            if mark.has_hot_rows and wanted in ("rewrite", "salt") and mark.mode != wanted:
                conditions.append(Unchanged(key, entry.revision))
                puts.append(Put(key, mark.shown_as("salt" if wanted == "salt" else "rewrite").to_json()))
        changed = replace(repair.next(), shown_before=before)
        return self._advance(this, changed, conditions=conditions, changes=puts)

    async def _take(self, this: _Stored) -> "Advance | None":
        repair = this.repair
        tenant = await self._shards.tenant(repair.tenant, DIRECTORY_TIMEOUT_S)
        refused = frozenset[str]()
        if repair.action == "reassign":
            refused = await self._marks.refused(repair.tenant, repair.days, DIRECTORY_TIMEOUT_S)
        rows = key_rows(
            repair.distinct_id,
            repair.days,
            rewritten_only=repair.action == "reassign" and not repair.include_earlier,
            distinct_id_from=repair.distinct_id_from,
            refused=refused,
            strict=tenant.settings.strict,
        )
        message = key_rows_message(rows)
        answered, failed = await self._shards.each(
            repair.tenant,
            TAKE_LAYER,
            lambda epoch: shard_pb2.TakeLayerRequest(
                tenant=repair.tenant,
                epoch=epoch,
                layer=repair.taken_layer,
                rows=message,
                foreign_layer=repair.foreign_layer if repair.action == "delete" else "",
            ),
            lambda: STEP_TIMEOUT_S,
        )
        if failed:
            return await self._waits(this, failed)
        taken = {str(shard): Counted(each.tally.rows, each.tally.digest) for shard, each in sorted(answered.items())}
        changed = replace(repair.next(), taken=taken)
        return self._advance(this, changed, Noted("", (), 0, summed(taken.values()).rows))

    async def _copy(self, this: _Stored) -> "Advance | None":
        """One source more."""
        repair = this.repair
        tenant = await self._shards.tenant(repair.tenant, DIRECTORY_TIMEOUT_S)
        sources = sorted(set(tenant.placement.shards) | {ShardId(shard) for shard in repair.taken or {}})
        left = [shard for shard in sources if shard not in repair.copied]
        if not left:
            return self._advance(this, repair.next())
        source = left[0]
        try:
            sent = await self._copying(repair, tenant, source, await self._spread_days(repair)).run()
        except EvenshardError as error:
            return await self._waits(this, {source: error})
        if sent is None:
            return None
        copied = replace(repair, copied=(*repair.copied, source), sent=summed([repair.sent, sent]))
        done = copied.sent.rows
        return self._advance(this, copied, Noted("", (), done, max(done, this.operation.operation.rows_total)))

    def _copying(self, repair: Repair, tenant: Tenant, source: ShardId, spread: frozenset[int]) -> Copying:
        return Copying(self._shards, self.paused, repair, tenant, source, spread)

    async def _spread_days(self, repair: Repair) -> frozenset[int]:
        """The days on which the key's rows go by their identity: what comes back goes where its copies would."""
        marks = await self._marks.of(repair.tenant, repair.distinct_id, repair.days, DIRECTORY_TIMEOUT_S)
        return frozenset(day for day, mark in marks.items() if mark.is_spread)

    async def _prepare(self, this: _Stored) -> "Advance | None":
        repair = this.repair
        changes = change_messages(_changes(repair))
        answered, failed = await self._shards.each(
            repair.tenant,
            PREPARE_REPAIR,
            lambda epoch: shard_pb2.PrepareRepairRequest(
                tenant=repair.tenant, epoch=epoch, operation=repair.operation, changes=changes
            ),
            lambda: STEP_TIMEOUT_S,
        )
        if failed:
            return await self._waits(this, failed)
        brought = {
            str(shard): Counted(each.rows, each.digest)
            for shard, answer in sorted(answered.items())
            for each in answer.tallies
            if each.layer == repair.brought_layer
        }
        total = summed(brought.values())
        if repair.action == "reassign" and repair.undoes is not None:  # what others sent too was not sent by it
            return self._advance(this, replace(repair.next(), brought=brought))
        if total.rows > repair.sent.rows or (total.rows == repair.sent.rows and total.digest != repair.sent.digest):
            return await self._drop(this, Failed("what came is not what was sent"))
        return self._advance(this, replace(repair.next(), brought=brought))

    async def _switch(self, this: _Stored) -> "Advance | None":
        """The one moment at which answers change: a new epoch, whose record names the operation."""
        repair = this.repair
        try:
            changed = await differences_of(self._shards, repair)
        except EvenshardError as error:
            return await self._waits(this, {ShardId("a shard"): error})
        if changed:
            return await self._drop(this, Failed("its events changed meanwhile: " + "; ".join(changed)))
        key = tenant_key(repair.tenant)
        entry = await self._directory.get(key, timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {repair.tenant!r}")
        tenant = Tenant.from_json(entry.value)
        placement: Placement = replace(tenant.placement, epoch=Epoch(tenant.placement.epoch + 1))
        switched = replace(
            tenant,
            placement=placement,
            nonce=self._rng.token_hex(8),
            repairs=tuple(dict.fromkeys((*tenant.repairs, str(repair.operation)))),
        )
        return self._advance(
            this,
            repair.next(),
            conditions=[Unchanged(key, entry.revision)],
            changes=[Put(key, switched.to_json())],
        )

    async def _settle(self, this: _Stored) -> "Advance | None":
        """Every shard has let it come true; then the tenant's record need not name it any more."""
        repair = this.repair
        key = tenant_key(repair.tenant)
        entry = await self._directory.get(key, timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {repair.tenant!r}")
        tenant = Tenant.from_json(entry.value)
        _, failed = await self._shards.each(
            repair.tenant,
            SETTLE_REPAIRS,
            lambda epoch: shard_pb2.SettleRepairsRequest(
                tenant=repair.tenant, epoch=max(epoch, tenant.placement.epoch)
            ),
            lambda: SETTLE_TIMEOUT_S,
        )
        if failed:
            return await self._waits(this, failed)
        left = tuple(each for each in tenant.repairs if each != repair.operation)
        settled = replace(tenant, repairs=left, nonce=self._rng.token_hex(8))
        return self._advance(
            this,
            repair.next(),
            conditions=[Unchanged(key, entry.revision)],
            changes=[Put(key, settled.to_json())],
        )

    async def _end(self, this: _Stored) -> "Advance | None":
        repair = this.repair
        rows = summed((repair.taken or {}).values()).rows
        ended = replace(repair, ended_ms=self._clock.now_ms())
        free = [Delete(repairing_key(repair.tenant, repair.distinct_id))]
        return self._advance(this, ended, Done(rows), changes=free)

    async def _drop(self, this: _Stored, signal: Signal) -> "Advance | None":
        """Nothing was changed by it; what waits to come goes, and who was to be undone can be so again."""
        repair = this.repair
        _, failed = await self._shards.each(
            repair.tenant,
            DROP_LAYERS,
            lambda epoch: shard_pb2.DropLayersRequest(
                tenant=repair.tenant, epoch=epoch, layers=[repair.brought_layer], operation=repair.operation
            ),
            lambda: STEP_TIMEOUT_S,
        )
        if failed:
            return await self._waits(this, failed)
        conditions, changes = [], [Delete(repairing_key(repair.tenant, repair.distinct_id))]
        puts: list[Put | Delete] = list(changes)
        if repair.undoes is not None:
            key = repair_key(repair.undoes)
            entry = await self._directory.get(key, timeout_s=DIRECTORY_TIMEOUT_S)
            if entry is not None:
                conditions.append(Unchanged(key, entry.revision))
                puts.append(Put(key, replace(Repair.from_json(entry.value), undone_by=None).to_json()))
        return self._advance(this, replace(repair, step="drop"), signal, conditions=conditions, changes=puts)

    # Of several steps

    def paused(self, operation: OperationId) -> bool:
        """As last seen: work that takes long stops."""
        found = self._operations.get(operation)
        return found is None or found.paused or found.ended

    async def _waits(self, this: _Stored, failed: Mapping[ShardId, EvenshardError]) -> "Advance | None":
        """Writes down what it waits for, where that is news."""
        operation = this.operation.operation
        error = "; ".join(f"{shard}: {each.code}: {each.message}" for shard, each in sorted(failed.items()))
        logger().warning("a repair waits", operation=operation.id, why=error)
        noted = Noted(error, tuple(sorted(failed)), operation.rows_done, operation.rows_total)
        if (operation.error, operation.shards_left) == (noted.error, noted.shards_left):
            return None
        return Advance(noted, advanced=False)

    def _advance(
        self,
        this: _Stored,
        changed: Repair,
        signal: Signal | None = None,
        *,
        conditions: Sequence[Unchanged] = (),
        changes: Sequence[Put | Delete] = (),
    ) -> "Advance":
        operation: Operation = this.operation.operation
        key = repair_key(operation.id)
        noted = signal or Noted("", (), operation.rows_done, operation.rows_total)
        return Advance(
            noted,
            (Unchanged(key, this.revision), *conditions),
            (Put(key, changed.to_json()), *changes),
        )


@dataclass(frozen=True, slots=True)
class Advance:
    """What to write down, all or nothing."""

    signal: Signal
    conditions: tuple[Unchanged, ...] = ()
    changes: tuple[Put | Delete, ...] = ()
    advanced: bool = True
    """False: it only says what it waits for."""


def _changes(repair: Repair) -> Iterable[Change]:
    """What comes true at the switch."""
    match repair.action, repair.undoes:
        case "reassign", None:
            return (
                Change(repair.taken_layer, shown=False, counts=True),
                Change(repair.brought_layer, shown=True, counts=True),
            )
        case "delete", None:
            return (
                Change(repair.taken_layer, shown=False, counts=False),
                Change(repair.foreign_layer, shown=False, counts=False),
            )
        case "reassign", undone:
            return (
                Change(f"{undone}.taken", shown=True, counts=True),
                Change(f"{undone}.brought", shown=False, counts=False, frees=repair.brought_layer),
                Change(repair.brought_layer, shown=True, counts=True),
            )
        case "delete", _:
            return (Change(repair.brought_layer, shown=True, counts=True),)
        case _:
            return ()
