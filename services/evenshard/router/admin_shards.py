"""Asks shards to compact, and what they store; adds up what they answer."""

import datetime
from collections.abc import Collection, Iterable, Sequence

from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import Epoch, ShardId
from evenshard.router.tenant_shards import TenantShards, first_failure
from evenshard.runtime.call import current_call
from evenshard.runtime.services import ServiceView
from evenshard.wire.rpcs import COMPACT, GET_SHARD_STORAGE, SET_SHARD_COMPACTION


class ShardAdmin:
    """A shard that does not answer fails the call, by name."""

    def __init__(self, shards: TenantShards, services: ServiceView) -> None:
        self._shards = shards
        self._services = services

    async def compact(self, request: admin_pb2.CompactTenantRequest) -> admin_pb2.CompactTenantResponse:
        """Every shard of the tenant compacts. Raises ``TENANT_NOT_FOUND``, ``RANGE_INVALID``, ``SHARD_UNAVAILABLE``."""
        _check_day(request.day)

        def asked(epoch: Epoch) -> shard_pb2.CompactRequest:
            return shard_pb2.CompactRequest(tenant=request.tenant, epoch=epoch, day=request.day, wait=request.wait)

        answered, failed = await self._shards.each(request.tenant, COMPACT, asked, _budget_s)
        if failed:
            raise first_failure(failed)
        return sum_compactions(answered.values())

    async def storage(self, request: admin_pb2.GetStorageRequest) -> admin_pb2.GetStorageResponse:
        """Of one tenant, or of everybody who stores something. Raises ``TENANT_NOT_FOUND``, ``SHARD_UNAVAILABLE``."""
        asked = shard_pb2.GetShardStorageRequest(tenant=request.tenant)
        shards = await self._shards_of(request.tenant)
        answered, failed = await self._shards.ask(shards, GET_SHARD_STORAGE, asked, _budget_s())
        if failed:
            raise first_failure(failed)
        return sum_storage(answered.values(), [request.tenant] if request.tenant else [])

    async def set_compaction(self, request: admin_pb2.SetCompactionRequest) -> admin_pb2.SetCompactionResponse:
        """Pauses or resumes on every shard of a tenant, or on all. Raises ``TENANT_NOT_FOUND``,
        ``SHARD_UNAVAILABLE``: those that answered have done it, and it may be asked again."""
        asked = shard_pb2.SetShardCompactionRequest(tenant=request.tenant, paused=request.paused)
        shards = await self._shards_of(request.tenant)
        answered, failed = await self._shards.ask(shards, SET_SHARD_COMPACTION, asked, _budget_s())
        if failed:
            raise first_failure(failed)
        return admin_pb2.SetCompactionResponse(shards=[answered[shard].state for shard in sorted(answered)])

    async def _shards_of(self, tenant: str) -> Sequence[ShardId]:
        """A tenant's, or all (no tenant)."""
        if tenant:
            return (await self._shards.tenant(tenant, _budget_s())).placement.shards
        return sorted(self._services.shards())


def _budget_s() -> float:
    """Less than the caller has."""
    return max(0.05, 0.8 * current_call().remaining_s())


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
