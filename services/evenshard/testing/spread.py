"""Rows spread over shards that are lists, by hand, and asked as a gateway asks: for models that know no shards.

Users live on 1, 2, 3 or 7 shards, or rows of theirs on several: by (user, UTC day); the hottest user's on three; those
of half of all keys (user, UTC day) on shards of their own. Or slots were moved, and what moved still lies where it was,
beside what others have there. What is one event lies on one shard, as does what queries order by nothing but how it was
stored.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from evenshard.directory.placement import Placement, SlotRange, even_placement
from evenshard.events.batch import FIELD_NAMES, EventBatch
from evenshard.events.hashing import UInt64, hash_events, hash_of, slots_of, spread_hashes
from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.events.united import united
from evenshard.ids import Epoch, ShardId
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import ScanStats
from evenshard.queries.reunion import ShardAnswer, answer, reunited, split_at, untold
from evenshard.queries.scans import Rows, columns_needed
from evenshard.storage.columns.runs import own_runs
from evenshard.testing.reference import Row
from evenshard.testing.scanned import event_record, scanned_rows

SPLITTING: Final = ("by day", "hottest over three", "hot keys apart")
"""Where rows of one user lie on several shards."""
MOVED: Final = ("moved", "hot keys apart, moved")
"""Where the shard that had some slots gave them to another one, and still holds their rows."""
SPREADS: Final = (1, 2, 3, 7, *SPLITTING, *MOVED)
DAY_MS: Final = 86_400_000
SPLIT_BYTES: Final = 1 << 30


class Layout(NamedTuple):
    """How rows lie."""

    spread: int | str
    """One of ``SPREADS``; or how many shards."""
    piece_rows: int
    """The older half is of segments. Where there is an even number of rows in each, it is known whose they are."""
    rest: bool
    """Every other piece has no columns for properties."""
    dictionaries: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """Where each row is."""

    placement: Placement
    held: dict[ShardId, list[Row]]
    before: "Spread | None" = None
    """Before the last move; None: nothing was moved."""
    left: dict[ShardId, list[Row]] = field(default_factory=dict)
    """Of ``held`` what a shard has that is not its own any more."""

    @property
    def came(self) -> dict[ShardId, list[Row]]:
        """Of ``held`` what a shard has been given by the move."""
        before = self if self.before is None else self.before
        was = {shard: set(map(id, rows)) for shard, rows in before.held.items()}
        return {shard: [row for row in rows if id(row) not in was[shard]] for shard, rows in self.held.items()}

    @property
    def own(self) -> dict[ShardId, list[Row]]:
        """Of ``held`` what is a shard's own."""
        left = {shard: set(map(id, rows)) for shard, rows in self.left.items()}
        return {shard: [row for row in rows if id(row) not in left.get(shard, ())] for shard, rows in self.held.items()}


def spread(rows: Sequence[Row], how: int | str) -> Spread:
    """Rows on their shards."""
    shards = [ShardId(f"shard-{number}") for number in range(how if isinstance(how, int) else 3)]
    placement = even_placement(shards)
    apart = [ShardId(f"shard-{number}") for number in range(3, 6)]
    if isinstance(how, str) and how in MOVED:
        return _moved(spread(rows, how.removesuffix("moved").removesuffix(", ") or 3), rows)
    match how:
        case "by day":
            placement = replace(placement, key="user_day")
        case "hottest over three":
            placement = replace(placement, overflow=placement.slots)
        case "hot keys apart":
            placement = replace(placement, overflow=even_placement(apart).slots)
    hashes = _hashes(rows)
    homes = placement.shard_of_slot[slots_of(hashes[0])].tolist()
    spread_to = placement.shard_of_overflow_slot[slots_of(hashes[1])].tolist() if placement.overflow else homes
    hottest = Counter(row["distinct_id"] for row in rows if row["distinct_id"]).most_common(1)

    def shard_of(row: Row, home: int, overflow: int) -> ShardId:
        user = row["distinct_id"]
        match how:
            case "by day":
                return shards[hash_of(f"{user} {row['time'] // DAY_MS}") % len(shards)]
            case "hottest over three" if user == (hottest and hottest[0][0]):
                return placement.shards[overflow]
            case "hot keys apart" if user and hash_of(f"{user} {row['time'] // DAY_MS}") % 2 and row["time"] % 4:
                return placement.shards[overflow]
        return placement.shards[home]

    held: dict[ShardId, list[Row]] = {shard: [] for shard in placement.shards}
    for row, home, overflow in zip(rows, homes, spread_to, strict=True):
        held[shard_of(row, home, overflow)].append(row)
    return Spread(placement, held)


def _moved(before: Spread, rows: Sequence[Row]) -> Spread:
    """Most of the first home's slots now are the third one's, and half of that one's the second one's."""
    first, second, third = before.placement.slots
    middle, end = first.last * 2 // 3, third.last - (third.last - third.first) // 2
    slots = (
        SlotRange(first.first, middle, third.shard),
        SlotRange(middle + 1, first.last, first.shard),
        second,
        SlotRange(third.first, end, third.shard),
        SlotRange(end + 1, third.last, second.shard),
    )
    placement = replace(before.placement, epoch=Epoch(before.placement.epoch + 1), slots=slots)
    homes = placement.shard_of_slot[slots_of(_hashes(rows)[0])].tolist()
    home_of = {id(row): placement.shards[home] for row, home in zip(rows, homes, strict=True)}
    was = {shard: set(map(id, mine)) for shard, mine in before.held.items()}
    apart = {row for shard in placement.overflow_shards for row in was[shard]}
    held: dict[ShardId, list[Row]] = {
        shard: [row for row in rows if id(row) in was[shard] or (id(row) not in apart and home_of[id(row)] == shard)]
        for shard in placement.shards
    }
    left = {
        shard: [row for row in held[shard] if id(row) not in apart and home_of[id(row)] != shard]
        for shard in placement.shards
    }
    return Spread(placement, held, before, left)


def _hashes(rows: Sequence[Row]) -> tuple[UInt64, UInt64]:
    """Of each row's user, and of its identity."""
    if not rows:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    record = event_record([{**row, "duplicate": False, "properties": {}} for row in rows])
    batch = EventBatch(record.select(FIELD_NAMES))
    placement = hash_events(rows[0]["tenant"], batch).placement
    return placement, spread_hashes(rows[0]["tenant"], batch, placement)


def asked(rows: Sequence[Row], scan: bytes, layout: Sequence[Any]) -> tuple[list[pa.Table], list[ScanStats]]:
    """The partials and the accounts of a scan over rows that lie so (a ``Layout``)."""
    laid = Layout(*layout)
    placed = spread(rows, laid.spread)
    placement = placed.placement
    told: dict[ShardId, tuple[str, ...]] = dict.fromkeys(placement.shards, ())
    answers: dict[ShardId, ShardAnswer] = {}
    asking = told
    while asking:
        for shard, users in asking.items():
            split = split_at(placement, shard, scan, users, SPLIT_BYTES)
            answers[shard] = answer(scan, _reader(placed, shard, laid), split)
        told = told | asking
        asking = untold(placement, [user for each in answers.values() for user in each.split_users], told)
    tables = [read_partial(each.partial) for each in answers.values()]
    stats = [each.stats for each in answers.values()]
    given_back = [each.split_rows for each in answers.values() if each.split_rows]
    if given_back:
        table, of_split = reunited(scan, given_back)
        tables, stats = [*tables, table], [*stats, of_split]
    return tables, stats


def _reader(placed: Spread, shard: ShardId, laid: Layout) -> Callable[[bytes], Rows]:
    left = set(map(id, placed.left.get(shard, ())))

    def read(scan: bytes) -> Rows:
        needed = columns_needed(scan)
        mine = [row for row in placed.held[shard] if needed.start_ms <= row["time"] < needed.end_ms]
        pieces = []
        for number, at in enumerate(range(0, len(mine), laid.piece_rows)):
            piece = mine[at : at + laid.piece_rows]
            some = scanned_rows(
                piece,
                indexed=2 * at < len(mine),
                rest=laid.rest and number % 2 == 1,
                dictionaries=laid.dictionaries,
            )
            meant = np.array([id(row) not in left for row in piece])
            pieces.append(some if meant.all() else replace(some, keep=meant))
        known = needed.users and laid.piece_rows % 2 == 0
        return with_known_users(pieces, needed.fields) if known else iter(pieces)

    return read


def with_known_users(pieces: Sequence[ScannedRows], fields: Sequence[str]) -> Parts:
    """As storage gives them to scans that go through rows user by user."""
    own = [own_runs([some.record.column("distinct_id")], some.record.column("time").to_numpy()) for some in pieces]
    if not own:
        return Parts([])
    found = united(own[0].people, [each.people for each in own])
    parts = []
    for some, each, numbers in zip(pieces, own, found.numbers[1:], strict=True):
        assert numbers is not None
        later = [name for name in FIELD_NAMES if name not in fields]
        early = replace(some, record=some.record.drop_columns(later), late=partial(_late, some))
        parts.append(Part(some.record.num_rows, _giving(early), replace(each.runs, numbers=numbers[each.runs.numbers])))
    return Parts(parts, found.people)


def _late(some: ScannedRows, field: str) -> tuple[pa.Array, int]:
    return some.record.column(field), 0


def _giving(some: ScannedRows) -> Callable[[], ScannedRows]:
    return lambda: some
