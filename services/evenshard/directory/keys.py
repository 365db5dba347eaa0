"""The directory's keys: every one is made here."""

from datetime import date, timedelta
from urllib.parse import quote, unquote

from evenshard.ids import OperationId, ShardId, TenantId

ROOT = "/evenshard/"
TENANTS = ROOT + "tenants/"
"""One key a tenant: ``Tenant.to_json``."""
SERVICES = ROOT + "services/"
"""One key a service process: ``ServiceRecord.to_json``."""
REQUESTS = ROOT + "requests/"
"""One key an admin request_id, with a lease: the tenant it changed."""
MARKS = ROOT + "marks/"
"""One key a hot key: ``Mark.to_json``."""
OPERATIONS = ROOT + "operations/"
"""One key an operation: ``Operation.to_json``."""
USERS = ROOT + "operation-users/"
"""One key an operation that deletes users, until it has ended: ``Users.to_json``."""
REPAIRS = ROOT + "repairs/"
"""One key an operation that repairs a hot key, or undoes that: ``Repair.to_json``; as long as its operation."""
REPAIRING = ROOT + "repairing/"
"""One key a distinct_id that is being repaired: the operation."""
MOVING = ROOT + "moving/"
"""One key a tenant whose slots are being moved, until that has ended: the operation."""
GROUPS = ROOT + "groups/"
"""One key an operation that moves slots of several tenants: ``Group.to_json``; as long as its operation."""
SHARD_STATES = ROOT + "shard-states/"
"""One key a shard of which somebody has said how it is to be used: ``ShardState.to_json``."""
DELETED = ROOT + "deleted-tenants/"
"""One key a tenant that was deleted and can still be had back: ``DeletedTenant.to_json``."""
EPOCHS = ROOT + "epochs/"
"""One key a tenant that is gone for good: the last epoch of its placement, so that a new one begins beyond it."""
AUDIT = ROOT + "audit/"
"""One key a change that an operator made, by time: ``Audited.to_json``."""
FORGOTTEN = ROOT + "forgotten/"
"""One key an operation whose users are hidden everywhere, with a lease: ``Users.to_json``."""
BLOCKED = ROOT + "blocked/"
"""One key an id of which no events are taken: ``Block.to_json``."""
COHORTS = ROOT + "cohorts/"
"""One key a saved cohort: ``CohortRecord.to_json``."""
REPORTS = ROOT + "reports/"
"""One key a tenant's report of a week: ``ReportRecord.to_json``."""
REPORT_CLAIMS = ROOT + "report-claims/"
"""One key a report that somebody is sending, with a lease: who that is."""
LEADER = ROOT + "leader"
"""The router that drives operations; with a lease."""
_EPOCH_DAY = date(1970, 1, 1)


def tenant_key(tenant: TenantId) -> str:
    return TENANTS + tenant


def service_key(name: str) -> str:
    return SERVICES + name


def request_key(request_id: str) -> str:
    return REQUESTS + request_id


def operation_key(operation: OperationId) -> str:
    return OPERATIONS + operation


def users_key(operation: OperationId) -> str:
    return USERS + operation


def repair_key(operation: OperationId) -> str:
    return REPAIRS + operation


def repairing_key(tenant: TenantId, distinct_id: str) -> str:
    return f"{REPAIRING}{tenant}/{quote(distinct_id, safe='')}"


def moving_key(tenant: TenantId) -> str:
    return MOVING + tenant


def group_key(operation: OperationId) -> str:
    return GROUPS + operation


def shard_state_key(shard: ShardId) -> str:
    return SHARD_STATES + shard


def deleted_key(tenant: TenantId) -> str:
    return DELETED + tenant


def epoch_key(tenant: TenantId) -> str:
    return EPOCHS + tenant


def audit_key(name: str) -> str:
    return AUDIT + name


def forgotten_key(operation: OperationId) -> str:
    return FORGOTTEN + operation


def blocked_key(tenant: TenantId, distinct_id: str) -> str:
    return f"{BLOCKED}{tenant}/{quote(distinct_id, safe='')}"


def blocked_name(name: str) -> tuple[TenantId, str]:
    """Tenant and distinct_id of a block, by its key without ``BLOCKED``. Raises ``ValueError``."""
    tenant, distinct_id = name.split("/")
    return TenantId(tenant), unquote(distinct_id)


def cohorts_of(tenant: TenantId) -> str:
    """What the keys of a tenant's cohorts begin with."""
    return f"{COHORTS}{tenant}/"


def cohort_key(tenant: TenantId, name: str) -> str:
    return cohorts_of(tenant) + quote(name, safe="")


def report_key(tenant: TenantId, week: str) -> str:
    return f"{REPORTS}{tenant}/{week}"


def reports_of(tenant: TenantId) -> str:
    """What the keys of a tenant's reports begin with; they are in the order of their weeks."""
    return f"{REPORTS}{tenant}/"


def report_claim_key(tenant: TenantId, week: str) -> str:
    return f"{REPORT_CLAIMS}{tenant}/{week}"


def marks_of(tenant: TenantId) -> str:
    """What the keys of a tenant's marks begin with."""
    return f"{MARKS}{tenant}/"


def mark_key(tenant: TenantId, distinct_id: str, day: int) -> str:
    """``day``: UTC, days since the epoch."""
    return f"{MARKS}{tenant}/{(_EPOCH_DAY + timedelta(days=day)).isoformat()}/{quote(distinct_id, safe='')}"


def marked_key(name: str) -> tuple[TenantId, str, int]:
    """Tenant, distinct_id and day of a mark, by its key without ``MARKS``. Raises ``ValueError``."""
    tenant, day, distinct_id = name.split("/")
    return TenantId(tenant), unquote(distinct_id), (date.fromisoformat(day) - _EPOCH_DAY).days
