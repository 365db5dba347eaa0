"""Checks what callers planned with against the placements this shard knows, and learns newer ones."""

from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt

from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.runtime.tenants import TenantView

LEARN_TIMEOUT_S = 1.0
"""For asking the directory about a tenant or an epoch that is not known here yet."""


class Placements:
    """The fence before every append and scan."""

    def __init__(self, tenants: TenantView, passed: Callable[[Tenant], Awaitable[None]]) -> None:
        """``passed``: a gate that what is planned with a tenant's record goes through."""
        self._tenants = tenants
        self._passed = passed

    async def at(self, name: str, epoch: Epoch) -> Tenant:
        """The tenant, whose placement is at ``epoch``.

        Raises ``TENANT_NOT_FOUND``; ``STALE_EPOCH`` where ``epoch`` is not the newest; ``DIRECTORY_UNAVAILABLE`` where
        it is newer than what is known here and the directory does not answer.
        """
        tenant = self._tenants.get(name)
        if tenant is None or tenant.placement.epoch < epoch:
            tenant = await self._tenants.fetch(name, timeout_s=LEARN_TIMEOUT_S)
        if tenant is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")
        if tenant.placement.epoch != epoch:
            raise EvenshardError(
                "STALE_EPOCH", f"the placement of {name!r} is at epoch {tenant.placement.epoch}, not {epoch}"
            )
        await self._passed(tenant)
        return tenant


def owned_slots(tenant: Tenant, shard: ShardId) -> npt.NDArray[np.bool_]:
    """The slots of the tenant that a scan of this shard answers for: bool[4096]. Raises ``STALE_EPOCH`` where it has
    none."""
    owned = tenant.placement.held_by(shard)
    if not owned.any():
        raise EvenshardError("STALE_EPOCH", f"{shard} owns no slot of {tenant.name!r}")
    return owned
