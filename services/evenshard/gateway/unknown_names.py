"""Warns of names in a question that nothing has, with those that may have been meant.

Which they are is found, and kept, together with the answer. Only where a name was not seen by any shard a second scan
lists the names there are: of all events, and of the properties of some rows of each shard.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.events.limits import RESERVED_EVENTS
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.queries.browse_plan import SchemaScan
from evenshard.queries.names import Names, asked, proposal, seen_in
from evenshard.queries.scans import columns_needed, events_of
from evenshard.queries.schema_answer import event_counts, merge, property_names

PROPERTY_ROWS: Final = 200_000
"""Rows of each shard whose properties are proposed."""
WARNED_MAX: Final = 10
"""Names of each kind that are warned of one by one."""

Warnings = tuple[tuple[str, str], ...]
"""Codes and messages."""


def unseen_names(scan: bytes, scattered: Scattered) -> Names:
    """Those that ``scan`` asks for and no shard that answered has seen. Pure."""
    return asked(events_of(scan), columns_needed(scan).properties) - seen_in(scattered.partials)


async def unknown_names(
    scatter: Scatter,
    tenant: Tenant,
    scan: bytes,
    unknown: Names,
    scattered: Scattered,
    terms: Terms,
    where: str = "in these days",
) -> Warnings:
    """Warnings for an answer that came from ``scan``, whose ``unseen_names`` are ``unknown``; none where shards are
    missing, which may have them."""
    if scattered.missing or not unknown:
        return ()
    needed = columns_needed(scan)

    async def listed(read: Callable[[pa.Table], set[str]], *, properties: bool) -> set[str]:
        names = SchemaScan(
            ranges_ms=(needed.start_ms, needed.end_ms),
            properties=properties,
            values=False,
            rows_max=PROPERTY_ROWS if properties else 0,
            skip_duplicates=False,
        )
        try:
            found = await scatter.scan(tenant, names.to_json(), Terms(terms.deadline, spent=terms.spent))
        except EvenshardError as error:
            if not error.retryable and error.code != "QUERY_INVALID":
                raise
            return set()  # the answer is whole without proposals
        return await asyncio.to_thread(lambda: read(merge(found.partials)))

    events = await listed(lambda merged: set(event_counts(merged)), properties=False) if unknown.events else set()
    properties = await listed(property_names, properties=True) if unknown.properties else set()
    return _warnings(unknown, events - set(RESERVED_EVENTS), properties, where)


def _warnings(unknown: Names, events: set[str], properties: set[str], where: str) -> Warnings:
    found = [
        ("UNKNOWN_EVENT", f"no event {where} is named {name!r}{proposal(name, events)}")
        for name in sorted(unknown.events)[:WARNED_MAX]
    ]
    found += [
        ("UNKNOWN_PROPERTY", f"no event {where} has a property {name!r}{proposal(name, properties)}")
        for name in sorted(unknown.properties)[:WARNED_MAX]
    ]
    return tuple(found)
