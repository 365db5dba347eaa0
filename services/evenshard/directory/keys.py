"""The directory's keys: every one is made here."""

from datetime import date, timedelta
from urllib.parse import quote, unquote

from evenshard.ids import OperationId, TenantId

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
