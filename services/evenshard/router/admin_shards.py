"""Asks shards to compact, and what they store; adds up what they answer."""

import asyncio
import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.changes import tenant_not_found
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import ShardId
from evenshard.ports.peers import Peers, Rpc
from evenshard.runtime.call import current_call
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import COMPACT, GET_SHARD_STORAGE, SET_SHARD_COMPACTION

Request = TypeVar("Request")
Response = TypeVar("Response")

PLANS_MAX: Final = 3
"""How often the placement is read again because a shard knows a newer one."""
_NO_ANSWER: Final = frozenset({"UNREACHABLE", "DEADLINE_EXCEEDED", "SHARD_UNAVAILABLE"})


class ShardAdmin:
    """Fans out over ``peers``; a shard that does not answer fails the call, by name."""

    def __init__(self, tenants: TenantView, services: ServiceView, peers: Peers) -> None:
        self._tenants = tenants
        self._services = services
        self._peers = peers

    async def compact(self, request: admin_pb2.CompactTenantRequest) -> admin_pb2.CompactTenantResponse:
        """Every shard of the tenant compacts. Raises ``TENANT_NOT_FOUND``, ``RANGE_INVALID``, ``SHARD_UNAVAILABLE``."""
        _check_day(request.day)
        tenant = await self._tenant(request.tenant)
        answers: dict[ShardId, shard_pb2.CompactResponse] = {}
        for plans_left in reversed(range(PLANS_MAX)):
            asked = shard_pb2.CompactRequest(
                tenant=tenant.name, epoch=tenant.placement.epoch, day=request.day, wait=request.wait
            )
            shards = [shard for shard in tenant.placement.shards if shard not in answers]
            answered, failed = await self._ask_all(shards, COMPACT, asked)
            answers |= answered
            if not failed:
                break
            if not plans_left or any(error.code != "STALE_EPOCH" for error in failed.values()):
                raise first_failure(failed)
            tenant = await self._fetch(tenant.name)
        return sum_compactions(answers.values())

    async def storage(self, request: admin_pb2.GetStorageRequest) -> admin_pb2.GetStorageResponse:
        """Of one tenant, or of everybody who stores something. Raises ``TENANT_NOT_FOUND``, ``SHARD_UNAVAILABLE``."""
        asked = shard_pb2.GetShardStorageRequest(tenant=request.tenant)
        answered, failed = await self._ask_all(await self._shards_of(request.tenant), GET_SHARD_STORAGE, asked)
        if failed:
            raise first_failure(failed)
        return sum_storage(answered.values(), [request.tenant] if request.tenant else [])

    async def set_compaction(self, request: admin_pb2.SetCompactionRequest) -> admin_pb2.SetCompactionResponse:
        """Pauses or resumes on every shard of a tenant, or on all. Raises ``TENANT_NOT_FOUND``,
        ``SHARD_UNAVAILABLE``: those that answered have done it, and it may be asked again."""
        asked = shard_pb2.SetShardCompactionRequest(tenant=request.tenant, paused=request.paused)
        answered, failed = await self._ask_all(await self._shards_of(request.tenant), SET_SHARD_COMPACTION, asked)
        if failed:
            raise first_failure(failed)
        return admin_pb2.SetCompactionResponse(shards=[answered[shard].state for shard in sorted(answered)])

    async def _shards_of(self, tenant: str) -> Sequence[ShardId]:
        """A tenant's, or all (no tenant)."""
        if tenant:
            return (await self._tenant(tenant)).placement.shards
        return sorted(self._services.shards())

    async def _tenant(self, name: str) -> Tenant:
        return self._tenants.get(tenant_id(name)) or await self._fetch(name)

    async def _fetch(self, name: str) -> Tenant:
        tenant = await self._tenants.fetch(name, timeout_s=max(0.05, 0.5 * current_call().remaining_s()))
        if tenant is None:
            raise tenant_not_found(name)
        return tenant

    async def _ask_all(
        self, shards: Sequence[ShardId], rpc: Rpc[Request, Response], request: Request
    ) -> tuple[dict[ShardId, Response], dict[ShardId, EvenshardError]]:
        """What each shard answered, or why it did not; all at once, in less time than the caller has."""
        timeout_s = max(0.05, 0.8 * current_call().remaining_s())
        answered: dict[ShardId, Response] = {}
        failed: dict[ShardId, EvenshardError] = {}

        async def ask(shard: ShardId) -> None:
            record = self._services.get(shard)
            if record is None:
                failed[shard] = EvenshardError("SHARD_UNAVAILABLE", "it is not listed in the directory")
                return
            try:
                answered[shard] = await self._peers.call(record.address, rpc, request, timeout_s=timeout_s)
            except EvenshardError as error:
                failed[shard] = error

        async with asyncio.TaskGroup() as group:
            for shard in shards:
                group.create_task(ask(shard))
        return answered, failed


def first_failure(failed: Mapping[ShardId, EvenshardError]) -> EvenshardError:
    """The failure a caller must act on: one that waiting does not cure, else all silent shards by name."""
    for shard, error in sorted(failed.items()):
        if error.code not in _NO_ANSWER:
            return replace(error, message=f"{shard}: {error.message}", details={**error.details, "shard": shard})
    names = ", ".join(sorted(failed))
    reasons = "; ".join(f"{shard}: {error.message}" for shard, error in sorted(failed.items()))
    return EvenshardError("SHARD_UNAVAILABLE", f"no answer from {names} ({reasons})", details={"shards": names})


def sum_compactions(answers: Iterable[shard_pb2.CompactResponse]) -> admin_pb2.CompactTenantResponse:
    total = admin_pb2.CompactTenantResponse()
    for answer in answers:
        total.segments_written += answer.segments_written
        total.rows += answer.rows
        total.duplicates_marked += answer.duplicates_marked
        total.backlog_rows += answer.backlog_rows
    return total


def sum_storage(
    answers: Collection[shard_pb2.GetShardStorageResponse], named: Sequence[str]
) -> admin_pb2.GetStorageResponse:
    """By tenant, in the order of names; those ``named`` even where they store nothing."""
    totals = {name: admin_pb2.TenantStorage(tenant=name) for name in named}
    for answer in answers:
        for part in answer.tenants:
            total = totals.setdefault(part.tenant, admin_pb2.TenantStorage(tenant=part.tenant))
            total.log_rows += part.log_rows
            total.segment_rows += part.segment_rows
            total.duplicate_rows += part.duplicate_rows
            total.segments += part.segments
            total.files += part.files
            total.bytes += part.bytes
    compaction = sorted((answer.compaction for answer in answers), key=lambda state: state.shard)
    return admin_pb2.GetStorageResponse(tenants=[totals[name] for name in sorted(totals)], compaction=compaction)


def _check_day(day: str) -> None:
    if not day:
        return
    try:
        valid = datetime.date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        fault = FieldFault("day", "not a date YYYY-MM-DD")
        raise EvenshardError("RANGE_INVALID", f"{day!r} is not a date", fields=(fault,))
