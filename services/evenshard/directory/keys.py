"""The directory's keys: every one is made here."""

from datetime import date, timedelta
from urllib.parse import quote, unquote

from evenshard.ids import TenantId

ROOT = "/evenshard/"
TENANTS = ROOT + "tenants/"
"""One key a tenant: ``Tenant.to_json``."""
SERVICES = ROOT + "services/"
"""One key a service process: ``ServiceRecord.to_json``."""
REQUESTS = ROOT + "requests/"
"""One key an admin request_id, with a lease: the tenant it changed."""
MARKS = ROOT + "marks/"
"""One key a hot key: ``Mark.to_json``."""
_EPOCH_DAY = date(1970, 1, 1)


def tenant_key(tenant: TenantId) -> str:
    return TENANTS + tenant


def service_key(name: str) -> str:
    return SERVICES + name


def request_key(request_id: str) -> str:
    return REQUESTS + request_id


def mark_key(tenant: TenantId, distinct_id: str, day: int) -> str:
    """``day``: UTC, days since the epoch."""
    return f"{MARKS}{tenant}/{(_EPOCH_DAY + timedelta(days=day)).isoformat()}/{quote(distinct_id, safe='')}"


def marked_key(name: str) -> tuple[TenantId, str, int]:
    """Tenant, distinct_id and day of a mark, by its key without ``MARKS``. Raises ``ValueError``."""
    tenant, day, distinct_id = name.split("/")
    return TenantId(tenant), unquote(distinct_id), (date.fromisoformat(day) - _EPOCH_DAY).days
