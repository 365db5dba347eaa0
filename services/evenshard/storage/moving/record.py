"""What a shard knows of one move, as the catalog stores it. Pure.

A move has two shards, which change their roles when it is switched or rolled back. What each knows: the revision of
the operation that it has heard of; as a follower, how far it is; as a source, where it was fenced, and what its
follower has not taken yet.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.moving.slots import MovedSlots, Span

FIRST_DAY: Final = -(1 << 31)
"""Before every day."""
LAST_DAY: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Strip:
    """Days, both inclusive, whose rows were copied as they were at a position of the source's log."""

    first_day: int
    last_day: int
    position: int


@dataclass(frozen=True, slots=True)
class Follow:
    """How far a follower is."""

    source: ShardId
    address: str
    since: int
    """The revision with which it began: whoever follows this shard by an older one has been overtaken."""
    bytes_per_second: int = 0
    is_cleared: bool = False
    """Nothing is left of what was here of the slots before."""
    next_day: int | None = FIRST_DAY
    """Days before it were copied; None: all were."""
    strips: tuple[Strip, ...] = ()
    """Those copied at a position that ``position`` has not reached."""
    position: int = 0
    """Of the source's log: what came before is here, of the days that were copied."""
    deletions_seen: int = 0
    """The seq of the source's last deletion that was taken; -1: the source knows."""
    rows_done: int = 0
    rows_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    strips_taken: int = 0
    copies: int = 0
    """Which copy this is: with a higher number asked for, it is begun anew."""

    @property
    def is_copied(self) -> bool:
        return self.next_day is None

    def reached(self, position: int) -> "Follow":
        """Everything before a position of the source's log is here; it never falls."""
        if position <= self.position:
            return self
        strips = tuple(strip for strip in self.strips if strip.position > position)
        return replace(self, position=position, strips=strips)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a source keeps for its follower: its log from a position on, and deletions after a seq."""

    position: int
    deletions_seen: int


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """One move of a tenant on this shard."""

    operation: str
    overflow: bool
    slots: tuple[Span, ...]
    revision: int
    """The highest heard of."""
    follow: Follow | None = None
    fenced_at: int | None = None
    """Position of this shard's log from which on nothing comes into the slots; None: it is not fenced."""
    kept: Kept | None = None
    is_over: bool = False
    """Nothing is left to do; only the revision is remembered."""

    @property
    def name(self) -> str:
        return move_name(self.operation, overflow=self.overflow)

    def moved(self, tenant: TenantId) -> MovedSlots:
        return MovedSlots(tenant, self.slots, self.overflow)

    def heard(self, revision: int, slots: tuple[Span, ...]) -> "MoveRecord":
        """A call came with this revision. Raises ``OPERATION_CONFLICT`` for one that was overtaken."""
        if revision < self.revision:
            raise EvenshardError(
                "OPERATION_CONFLICT",
                f"operation {self.operation} is at revision {self.revision}, not {revision}",
            )
        if slots != self.slots:
            raise EvenshardError("OPERATION_CONFLICT", f"operation {self.operation} moves other slots")
        return self if revision == self.revision else replace(self, revision=revision)


def move_name(operation: str, *, overflow: bool) -> str:
    """Under which the catalog has a move of a tenant."""
    return f"{operation}+overflow" if overflow else operation


def to_json(record: MoveRecord) -> bytes:
    """As the catalog stores it."""
    return json.dumps(asdict(record), separators=(",", ":"), sort_keys=True).encode()


def from_json(data: bytes) -> MoveRecord:
    """What ``to_json`` wrote."""
    record: dict[str, Any] = json.loads(data)
    follow, kept = record["follow"], record["kept"]
    if follow is not None:
        follow["strips"] = tuple(Strip(**strip) for strip in follow["strips"])
        record["follow"] = Follow(**follow)
    record["kept"] = None if kept is None else Kept(**kept)
    record["slots"] = tuple((first, last) for first, last in record["slots"])
    return MoveRecord(**record)
