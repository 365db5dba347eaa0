"""Before a shard says that it is ready it finds out whose the rows are that it has: an index in memory, as the tail is.

The first question of each tenant would wait for that otherwise, longer than for all else. Nothing that was asked is
kept over a restart, nor are columns decoded that only a question would look at. Bounded by rows and by room, the
largest tenants first: beyond, whoever asks first waits as before.
"""

from collections.abc import Callable, Iterable
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.store import Store
from evenshard.storage.tenant import TenantStorage

PREPARED_ROWS_MAX: Final = 20_000_000
"""Of all tenants: some 50 to 100 ns each."""
_BYTES_A_ROW: Final = 32
"""Of the cache of columns: twice what users take who have some events each, with the times of their events."""


def to_prepare(stored: Iterable[TenantStorage], cache_bytes_max: int) -> list[TenantId]:
    """The tenants whose users are numbered at the start."""
    left = min(PREPARED_ROWS_MAX, cache_bytes_max // _BYTES_A_ROW)
    chosen = []
    for each in sorted(stored, key=lambda one: (-(one.log_rows + one.segment_rows), one.tenant)):
        rows = each.log_rows + each.segment_rows
        if 0 < rows <= left:
            left -= rows
            chosen.append(each.tenant)
    return chosen


def number_users(store: Store, tenant: TenantId, report: Callable[[str], None]) -> None:
    """Of one tenant. Blocks. What cannot be read is reported; whoever asks for it is told by an error."""
    try:
        with store.snapshot(tenant) as snapshot:
            snapshot.number_users()
    except EvenshardError as error:
        report(f"whose the rows of {tenant} are is not known before it is asked: {error.code} {error.message}")
