"""What the JSON of a scan says."""

from functools import lru_cache
from typing import Final

import orjson

from evenshard.errors import EvenshardError
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_plan import CohortScans, DidScan, ReachedScan, without_cohorts
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.plan import scan_of
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.rows_that_matter import Scan

KNOWN_PLANS: Final = 64
"""Read last: each is read several times for one question."""
KNOWN_BYTES_MAX: Final = 1 << 16
"""Of a scan that is remembered."""
_AS_IT_CAME: Final = b'{"kind":"as_it_came","scan":'


def as_it_came(scan: bytes) -> bytes:
    """A scan that sees no event rewritten."""
    return _AS_IT_CAME + scan + b"}"


def sees_as_it_came(scan: bytes) -> bool:
    """Whether ``scan`` is one that sees no event rewritten."""
    return scan.startswith(_AS_IT_CAME)


def unwrapped(scan: bytes) -> tuple[bytes, list[CohortScans]]:
    """The scan itself, and those of the cohorts that came with it. Raises ``QUERY_INVALID``."""
    try:
        return without_cohorts(scan[len(_AS_IT_CAME) : -1] if sees_as_it_came(scan) else scan)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvenshardError("QUERY_INVALID", f"the scan cannot be read: {error!r}") from error


def plan_of(scan: bytes) -> Scan:
    """Whatever it asks for. Raises ``QUERY_INVALID``."""
    return _known_plan(scan) if len(scan) <= KNOWN_BYTES_MAX else _plan(scan)


@lru_cache(KNOWN_PLANS)
def _known_plan(scan: bytes) -> Scan:
    return _plan(scan)


def _plan(scan: bytes) -> Scan:
    scan, _ = unwrapped(scan)
    try:
        match orjson.loads(scan):
            case {"kind": "schema"}:
                return SchemaScan.from_json(scan)
            case {"kind": "timeline"}:
                return TimelineScan.from_json(scan)
            case {"kind": "did"}:
                return DidScan.from_json(scan)
            case {"kind": "reached"}:
                return ReachedScan.from_json(scan)
            case {"kind": "retention"}:
                return RetentionScan.from_json(scan)
            case {"kind": "flows"}:
                return FlowsScan.from_json(scan)
        return scan_of(scan)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvenshardError("QUERY_INVALID", f"the scan cannot be read: {error!r}") from error
