"""Whether a tenant is being moved: then whatever else is laid out by its placement waits."""

from evenshard.directory.keys import moving_key
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, TenantId
from evenshard.ports.directory import Directory


def being_moved(tenant: TenantId, operation: str) -> EvenshardError:
    """``OPERATION_CONFLICT``."""
    return EvenshardError(
        "OPERATION_CONFLICT",
        f"operation {operation} is moving slots of tenant {tenant!r}",
        hint=f"end it first: evenshard admin complete {operation}, or cancel, or rollback",
        details={"operation": operation},
    )


async def moving_operation(directory: Directory, tenant: TenantId, timeout_s: float) -> OperationId | None:
    """The operation that moves slots of the tenant; None: none does."""
    entry = await directory.get(moving_key(tenant), timeout_s=timeout_s)
    return None if entry is None else OperationId(entry.value.decode())


async def check_not_moving(directory: Directory, tenant: TenantId, timeout_s: float) -> None:
    """Raises ``OPERATION_CONFLICT``, naming the operation."""
    operation = await moving_operation(directory, tenant, timeout_s)
    if operation is not None:
        raise being_moved(tenant, operation)
