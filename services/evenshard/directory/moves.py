"""A move: which slots of a tenant go from which shards to which, and how far that is. Decides, does no IO.

All legs of a move are copied at the same time, fenced together and switched in one change of the tenant's placement.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from evenshard.directory.placement import Placement, SlotRange
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, OperationId, ShardId

Slots = tuple[int, int]
"""First and last, both inclusive."""
Wish = Literal["", "cancel", "rollback", "complete"]
"""What somebody asked of a move that is under way; it is never taken back."""
COPIES_MAX: Final = 3
"""How often a move is copied anew because both sides are not the same; then they are only compared again."""
FENCES_WITHOUT_SWITCH_MAX: Final = 40
"""Fences in a row that came to nothing; then the move is paused, and somebody must look."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Slots that go from one shard to another."""

    source: ShardId
    target: ShardId
    slots: tuple[Slots, ...]
    """In order, without gaps of their own; at least one."""
    overflow: bool = False
    """Of the overflow's map, not the main one."""

    @property
    def slot_count(self) -> int:
        return sum(last - first + 1 for first, last in self.slots)


@dataclass(frozen=True, slots=True)
class Move:
    """What an operation that moves slots has besides what every operation has."""

    legs: tuple[Leg, ...]
    bytes_per_second: int = 0
    """Copied of each leg, at most; 0: as fast as ordinary traffic lets it."""
    wish: Wish = ""
    back: bool = False
    """Writes are held for the way back: the slots' owners of before take over again."""
    bytes_done: int = 0
    lag_rows: int = 0
    """How many rows the followers are behind."""
    eta_seconds: float | None = None
    """Until all is copied; None: not known, or it is."""
    fences: int = 0
    """In a row that came to nothing."""
    fenced_ms: float | None = None
    """How long writes were held at the switch; None: there was none yet."""
    differences: tuple[str, ...] | None = None
    """What comparing both sides found at the last fence; None: they were not compared yet."""
    group: OperationId | None = None
    """The operation that it is a part of."""
    positions: tuple[int, ...] = ()
    """Of each leg, in the target's log: from there on its source follows it. Empty: it has not switched."""
    copies: int = 0
    """How often it was copied anew because both sides were not the same."""

    @property
    def sources(self) -> tuple[ShardId, ...]:
        return tuple(dict.fromkeys(leg.source for leg in self.legs))

    @property
    def targets(self) -> tuple[ShardId, ...]:
        return tuple(dict.fromkeys(leg.target for leg in self.legs))

    @property
    def shards(self) -> tuple[ShardId, ...]:
        return tuple(dict.fromkeys((*self.sources, *self.targets)))

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "Move":
        legs = tuple(
            Leg(
                ShardId(leg["source"]),
                ShardId(leg["target"]),
                tuple((first, last) for first, last in leg["slots"]),
                leg["overflow"],
            )
            for leg in record["legs"]
        )
        found = record["differences"]
        return Move(
            **{
                **record,
                "legs": legs,
                "differences": None if found is None else tuple(found),
                "positions": tuple(record["positions"]),
            }
        )


def leg_name(operation: OperationId, move: Move, number: int) -> str:
    """By which shards know a leg: each is copied, fenced and dropped by itself."""
    return operation if len(move.legs) == 1 else f"{operation}.{number}"


def placement_moved(placement: Placement, legs: Sequence[Leg], *, back: bool = False) -> Placement:
    """The next placement: the legs' slots are their targets', or with ``back`` their sources' again.

    Raises ``PLAN_STALE`` where a slot is not where it would come from.
    """
    tables = {False: _table(placement.slots), True: _table(placement.overflow)}
    names = list(dict.fromkeys((*placement.shards, *(shard for leg in legs for shard in (leg.source, leg.target)))))
    number = {shard: index for index, shard in enumerate(names)}
    coded = {
        overflow: np.array([number[shard] for shard in table], np.int64)
        for overflow, table in tables.items()
        if table is not None
    }
    for leg in legs:
        before, after = (leg.target, leg.source) if back else (leg.source, leg.target)
        table = coded.get(leg.overflow)
        for first, last in leg.slots:
            if table is None or not (table[first : last + 1] == number[before]).all():
                kind = "overflow slots" if leg.overflow else "slots"
                raise EvenshardError("PLAN_STALE", f"{kind} {first}-{last} are not all on {before} any more")
            table[first : last + 1] = number[after]
    return Placement(
        Epoch(placement.epoch + 1),
        _ranges(coded[False], names),
        _ranges(coded[True], names) if True in coded else (),
        placement.key,
    )


def slots_on(ranges: Iterable[SlotRange], shard: ShardId, within: Slots = (0, SLOT_COUNT - 1)) -> tuple[Slots, ...]:
    """The runs of slots that ``shard`` has, cut to ``within``; those that touch are one."""
    found: list[Slots] = []
    for piece in ranges:
        first, last = max(piece.first, within[0]), min(piece.last, within[1])
        if piece.shard != shard or first > last:
            continue
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return tuple(found)


def _table(ranges: Sequence[SlotRange]) -> list[ShardId] | None:
    if not ranges:
        return None
    return [piece.shard for piece in ranges for _ in range(piece.first, piece.last + 1)]


def _ranges(table: npt.NDArray[np.int64], names: Sequence[ShardId]) -> tuple[SlotRange, ...]:
    starts = [0, *(np.flatnonzero(np.diff(table)) + 1).tolist()]
    ends = [*(start - 1 for start in starts[1:]), SLOT_COUNT - 1]
    return tuple(SlotRange(first, last, names[table[first]]) for first, last in zip(starts, ends, strict=True))
