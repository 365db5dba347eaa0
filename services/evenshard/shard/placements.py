"""Checks what callers planned with against the placements this shard knows, and learns newer ones."""

from collections.abc import Awaitable, Callable

from evenshard.directory.placement import Placement
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.tenants import TenantView
from evenshard.storage.ownership import NO_SLOTS, Ownership

LEARN_TIMEOUT_S = 1.0
"""For asking the directory about a tenant or an epoch that is not known here yet."""


class Placements:
    """The fence before every append and scan."""

    def __init__(
        self,
        tenants: TenantView,
        passed: Callable[[Tenant], Awaitable[None]],
        seen: Callable[[TenantId], Epoch] = lambda _: Epoch(0),
    ) -> None:
        """``passed``: a gate that what is planned with a tenant's record goes through; ``seen``: the highest epoch of a
        tenant that is on record here, 0: none."""
        self._tenants = tenants
        self._passed = passed
        self._seen = seen

    async def at(self, name: str, epoch: Epoch, *, anew: bool = False) -> Tenant:
        """The tenant, whose placement is at ``epoch``; ``anew``: as the directory has it now.

        Raises ``TENANT_NOT_FOUND``; ``STALE_EPOCH`` where ``epoch`` is not the newest; ``DIRECTORY_UNAVAILABLE`` where
        it is newer than what is known here and the directory does not answer; ``DIRECTORY_UNSUITABLE`` where that was
        set back: slots that are others' by now might be taken for this shard's.
        """
        tenant = self._tenants.get(name)
        if anew or tenant is None or tenant.placement.epoch < epoch:
            tenant = await self._tenants.fetch(name, timeout_s=LEARN_TIMEOUT_S)
        if tenant is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")
        seen = self._seen(tenant.name)
        if tenant.placement.epoch < seen and epoch < seen:
            tenant = await self._tenants.fetch(name, timeout_s=LEARN_TIMEOUT_S) or tenant
            if tenant.placement.epoch < seen:
                raise EvenshardError(
                    "DIRECTORY_UNSUITABLE",
                    f"the directory has tenant {name!r} at epoch {tenant.placement.epoch}, and this shard has seen"
                    f" {seen}: it was set back to an older state, or made anew",
                    hint="bring the newest state of etcd back; nothing was changed",
                )
        if tenant.placement.epoch != epoch:
            raise EvenshardError(
                "STALE_EPOCH", f"the placement of {name!r} is at epoch {tenant.placement.epoch}, not {epoch}"
            )
        await self._passed(tenant)
        return tenant

    async def is_known(self, name: str) -> bool:
        """Whether the directory has such a tenant now. Raises ``DIRECTORY_UNAVAILABLE``."""
        return await self._tenants.fetch(name, timeout_s=LEARN_TIMEOUT_S) is not None


def ownership(placement: Placement, shard: ShardId) -> Ownership:
    """What a shard owns of a tenant's rows; where rows find their slot by more than their user, all that it holds."""
    if placement.key != "user":
        return Ownership(placement.taken_by(shard), None)
    overflow = placement.overflow_of(shard)
    return Ownership(placement.owned_by(shard), NO_SLOTS if overflow is None else overflow)


def owned_slots(tenant: Tenant, shard: ShardId) -> Ownership:
    """What a scan of this shard answers for. Raises ``STALE_EPOCH`` where that is nothing."""
    if shard not in tenant.placement.shards:
        raise EvenshardError("STALE_EPOCH", f"{shard} owns no slot of {tenant.name!r}")
    return ownership(tenant.placement, shard)
