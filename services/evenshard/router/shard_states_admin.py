"""Cordons shards, and uncordons them: new tenants and overflows avoid those that are not active."""

import json

from evenshard.directory.audit import Audited
from evenshard.directory.changes import REQUEST_TTL_S, check_request_id, subject_of, used_otherwise
from evenshard.directory.keys import OPERATIONS, request_key, service_key, shard_state_key
from evenshard.directory.planning import no_such_shard
from evenshard.directory.service import ServiceRecord
from evenshard.directory.shard_state import ShardState, Use
from evenshard.errors import EvenshardError
from evenshard.ids import Revision, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import NOT_THERE, RETRY_PAUSE_MS_MAX, TRIES_MAX, ChangeOptions, budget_s
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import StoredOperation


class ShardStateAdmin:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._clock = clock
        self._rng = rng

    async def cordon(self, shard: str, options: ChangeOptions) -> tuple[ServiceRecord, Use]:
        """One that is being drained stays so. Raises ``SHARD_NOT_FOUND``, ``OPERATION_CONFLICT``."""
        return await self._change("cordon", ShardId(shard), "cordoned", options)

    async def uncordon(self, shard: str, options: ChangeOptions) -> tuple[ServiceRecord, Use]:
        """Raises ``SHARD_NOT_FOUND``; ``OPERATION_CONFLICT`` while it is being drained."""
        return await self._change("uncordon", ShardId(shard), "active", options)

    async def _change(
        self, verb: str, shard: ShardId, wanted: Use, options: ChangeOptions
    ) -> tuple[ServiceRecord, Use]:
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            service = await self._directory.get(service_key(shard), timeout_s=budget_s())
            record = None if service is None else ServiceRecord.from_json(service.value)
            if record is None or record.kind != "shard":
                raise no_such_shard(shard)
            key = shard_state_key(shard)
            entry = await self._directory.get(key, timeout_s=budget_s())
            use: Use = "active" if entry is None else ShardState.from_json(entry.value).use
            revision = NOT_THERE if entry is None else entry.revision
            if options.request_id and not options.dry_run and await self._was_done(verb, shard, options.request_id):
                return record, use
            if options.expected_revision and options.expected_revision != revision:
                raise EvenshardError(
                    "OPERATION_CONFLICT", f"{shard} was last changed at revision {revision}, not"
                    f" {options.expected_revision}",
                )  # fmt: skip
            if wanted == "active":
                await self._check_not_drained(shard)
            then: Use = use if wanted == "cordoned" and use == "draining" else wanted
            if options.dry_run:
                return record, then
            if await self._swap(verb, shard, (use, then), revision, options.request_id):
                return record, then
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing shard {shard!r}: gave up")

    async def _swap(
        self, verb: str, shard: ShardId, uses: tuple[Use, Use], revision: Revision, request_id: str
    ) -> bool:
        key, who, nonce = shard_state_key(shard), current_call().principal.name, self._rng.token_hex(8)
        before, then = uses
        conditions = [Unchanged(key, revision)]
        state = ShardState(shard, then, who, nonce)
        changes: list[Put | Delete] = [Delete(key) if then == "active" else Put(key, state.to_json())]
        audited = Audited(self._clock.now_ms(), who, verb, shard, {"state": before}, {"state": then})
        changes.append(audited.put(nonce))
        if request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            conditions.append(Unchanged(request_key(request_id), NOT_THERE))
            done = json.dumps({"verb": verb, "tenant": shard, "nonce": nonce}).encode()
            changes.append(Put(request_key(request_id), done, lease))
        return (await self._directory.swap(conditions, changes, timeout_s=budget_s())).swapped

    async def _was_done(self, verb: str, shard: ShardId, request_id: str) -> bool:
        entry = await self._directory.get(request_key(request_id), timeout_s=budget_s())
        if entry is None:
            return False
        record = json.loads(entry.value)
        if (record["verb"], record["tenant"]) != (verb, shard):
            raise used_otherwise(request_id, record["verb"], subject_of(record))
        return True

    async def _check_not_drained(self, shard: ShardId) -> None:
        snapshot = await self._directory.range(OPERATIONS, timeout_s=budget_s())
        for entry in snapshot.entries:
            operation = StoredOperation.of(entry).operation
            if operation.kind == "drain" and not operation.ended:
                raise EvenshardError(
                    "OPERATION_CONFLICT",
                    f"operation {operation.id} is draining a shard",
                    hint=f"wait for its end, or end it: evenshard admin cancel {operation.id}",
                    details={"operation": operation.id},
                )
