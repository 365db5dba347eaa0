"""Split users: a shard answers a scan without them and gives their rows back; the same scan then runs where these meet.

One protocol for every kind of question: what is put together again are rows, in front of the very code that a shard
runs, so nothing here knows what is asked. Whose rows lie elsewhere too is known by the shard that has them and is not
their home (``split``); it names them, and their home has to be told.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from evenshard.directory.placement import Placement
from evenshard.events.scan import ScannedRows
from evenshard.ids import ShardId
from evenshard.queries.partials import PARTIAL_BYTES_MAX, read_partial, write_partial
from evenshard.queries.plan import ScanStats
from evenshard.queries.scans import Rows, columns_needed, concerns_users, deciding, run_with_cohorts, scans_within
from evenshard.queries.split import Apart, Room, Split, from_elsewhere, scanned_rows, too_many_rows

DAY_MS = 86_400_000
SplitRows = Sequence[bytes]
"""Rows of split users as they travel: of each scan that a question needs, in the order in which they run; empty: there
are none. No scans: there are none at all."""


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """What a shard says to a scan."""

    partial: bytes
    """Without split users."""
    stats: ScanStats
    split_rows: SplitRows = ()
    """Those that match."""
    split_users: tuple[str, ...] = ()
    """Those among them who are not at home here: their home must leave them out as well."""
    split_bytes: int = 0
    """Memory of ``split_rows`` once they are decoded."""


def split_at(placement: Placement, shard: ShardId, scan: bytes, told: Sequence[str], bytes_max: int) -> Split | None:
    """What ``shard`` knows of split users; None: all are whole, as far as it sees."""
    if not (told or placement.key != "user" or shard in placement.overflow_shards) or not concerns_users(scan):
        return None
    if placement.key == "user":
        return Split(placement.owned_by(shard), tuple(told), bytes_max)
    # A user's rows of one day are together.
    needed = [columns_needed(one) for one in scans_within(scan)]
    first_day = min(one.start_ms for one in needed) // DAY_MS
    last_day = max(one.end_ms - 1 for one in needed) // DAY_MS
    return None if first_day == last_day else Split(None, (), bytes_max)


def answer(
    scan: bytes, read: Callable[[bytes], Rows], split: Split | None, check: Callable[[], None] = lambda: None
) -> ShardAnswer:
    """A shard's answer. ``read`` and ``check`` are those of ``run_with_cohorts``, which alone runs where nobody is
    split. Raises ``QUERY_INVALID`` for more rows of split users than are taken."""
    if split is None:
        return ShardAnswer(*run_with_cohorts(scan, read, check))
    room = Room(split.bytes_max)
    aparts: list[Apart] = []

    def without_split(one: bytes, rows: Rows) -> Rows:
        aparts.append(Apart(split, deciding(one), columns_needed(one).fields_without_users, room))
        return aparts[-1].over(rows)

    partial, stats = run_with_cohorts(scan, read, check, without_split)
    tables = [apart.taken() for apart in aparts]
    stats = replace(stats, rows_scanned=stats.rows_scanned + sum(apart.rows for apart in aparts))
    ids = [pc.unique(table.column("distinct_id")) for table in tables if table is not None]
    users = pc.unique(pa.chunked_array(ids, pa.utf8()))
    if not len(users):
        return ShardAnswer(partial, stats)
    foreign = [] if split.home is None else users.filter(pa.array(from_elsewhere(users, split.home))).to_pylist()
    rows = [b"" if table is None else write_partial(table) for table in tables]
    if len(partial) + sum(map(len, (*rows, *foreign))) > PARTIAL_BYTES_MAX:
        raise too_many_rows(users.to_pylist(), PARTIAL_BYTES_MAX)
    return ShardAnswer(partial, stats, rows, tuple(sorted(foreign)), room.bytes)


def untold(
    placement: Placement, split_users: Iterable[str], told: dict[ShardId, tuple[str, ...]]
) -> dict[ShardId, tuple[str, ...]]:
    """The homes that have not been told of all these users who are at home there, and all that they have to know."""
    at: dict[ShardId, set[str]] = {}
    for user in split_users:
        at.setdefault(placement.home_of(user), set()).add(user)
    return {
        shard: tuple(sorted(users.union(told[shard])))
        for shard, users in at.items()
        if shard in told and not users.issubset(told[shard])
    }


def reunited(
    scan: bytes, of_shards: Sequence[SplitRows], check: Callable[[], None] = lambda: None
) -> tuple[pa.Table, ScanStats]:
    """The partial of all split users, and what it left out; what was read is in the accounts of shards.

    ``of_shards``: what each shard gave back. The order of shards does not matter, nor that of rows: those of one user
    that agree in time, name and insert_id are on one shard.
    """
    turns = iter(zip(*of_shards, strict=True))

    def read(one: bytes) -> list[ScannedRows]:
        return [some for data in next(turns) if data for some in scanned_rows(read_partial(data))]

    partial, stats = run_with_cohorts(scan, read, check)
    return read_partial(partial), replace(stats, rows_scanned=0, bytes_scanned=0)
