"""A placement maps a tenant's 4,096 slots to shards, in ranges, at an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import SLOT_COUNT, SLOT_SHIFT, hash_of
from evenshard.ids import Epoch, ShardId

Key = Literal["user", "user_day"]
"""By what a row finds its slot: its user, or its user and UTC day."""


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots ``first`` to ``last``, both inclusive, live on ``shard``."""

    first: int
    last: int
    shard: ShardId


@dataclass(frozen=True)
class Placement:
    """Every slot has exactly one shard; ranges are sorted and touch without gaps (checked).

    A user's *home* is the shard of the slot of their id. Users all of whose rows are there are whole; with an overflow,
    or a key that is not the user alone, some are *split*: rows of theirs lie elsewhere too.
    """

    epoch: Epoch
    slots: tuple[SlotRange, ...]
    overflow: tuple[SlotRange, ...] = ()
    """The second slot map, for hot events, by their identity: its shards may hold rows of any user. Empty: none do."""
    key: Key = "user"

    def __post_init__(self) -> None:
        _check_whole(self.slots)
        if self.overflow:
            _check_whole(self.overflow)

    @cached_property
    def shards(self) -> tuple[ShardId, ...]:
        """The shards that may hold rows, each once: owners of slots in slot order, then those of the overflow."""
        return tuple(dict.fromkeys(piece.shard for piece in (*self.slots, *self.overflow)))

    @cached_property
    def overflow_shards(self) -> frozenset[ShardId]:
        """Those of the overflow."""
        return frozenset(piece.shard for piece in self.overflow)

    @cached_property
    def shard_of_slot(self) -> npt.NDArray[np.int32]:
        """For each slot the index into ``shards``; int32[4096]."""
        return self._table(self.slots)

    @cached_property
    def shard_of_overflow_slot(self) -> npt.NDArray[np.int32]:
        """The same for slots of the overflow, where there is one."""
        return self._table(self.overflow)

    def _table(self, ranges: Sequence[SlotRange]) -> npt.NDArray[np.int32]:
        index = {shard: number for number, shard in enumerate(self.shards)}
        table = np.empty(SLOT_COUNT, np.int32)
        for piece in ranges:
            table[piece.first : piece.last + 1] = index[piece.shard]
        return table

    def owned_by(self, shard: ShardId) -> npt.NDArray[np.bool_]:
        """For each slot whether ``shard`` owns it; bool[4096]."""
        return _slots_of(self.slots, shard)

    def taken_by(self, shard: ShardId) -> npt.NDArray[np.bool_]:
        """For each slot whether ``shard`` takes rows in it that no hot key has: bool[4096]."""
        anywhere = self.key != "user" and shard in self.shards
        return np.ones(SLOT_COUNT, np.bool_) if anywhere else self.owned_by(shard)

    def overflow_of(self, shard: ShardId) -> npt.NDArray[np.bool_] | None:
        """For each slot of an identity whether rows of hot keys in it are at ``shard``: bool[4096]; None: none are."""
        return _slots_of(self.overflow, shard) if shard in self.overflow_shards else None

    def home_of(self, user: str) -> ShardId:
        """The shard where a user's rows are, but for those that are split off."""
        return self.shards[int(self.shard_of_slot[hash_of(user) >> SLOT_SHIFT])]

    def shards_of(self, user: str) -> tuple[ShardId, ...]:
        """All that may hold rows of a user."""
        if self.key != "user":
            return self.shards
        home = self.home_of(user)
        return (home, *(shard for shard in self.shards if shard in self.overflow_shards and shard != home))


def _slots_of(ranges: Sequence[SlotRange], shard: ShardId) -> npt.NDArray[np.bool_]:
    found = np.zeros(SLOT_COUNT, np.bool_)
    for piece in ranges:
        if piece.shard == shard:
            found[piece.first : piece.last + 1] = True
    return found


def _check_whole(slots: Sequence[SlotRange]) -> None:
    expected = 0
    for piece in slots:
        if piece.first != expected or piece.last < piece.first:
            raise ValueError(f"slots {piece.first}-{piece.last} do not follow slot {expected - 1}")
        expected = piece.last + 1
    if expected != SLOT_COUNT:
        raise ValueError(f"the placement ends at slot {expected - 1}, not {SLOT_COUNT - 1}")


FIRST_EPOCH = Epoch(1)


OVERFLOW_SHARDS_MAX = 8


def even_placement(shards: Sequence[ShardId], epoch: Epoch = FIRST_EPOCH) -> Placement:
    """All slots split evenly over ``shards`` in their order: what a new tenant gets."""
    return Placement(epoch, _even(shards))


def with_overflow(placement: Placement, tenant: str, writable: Sequence[ShardId]) -> Placement:
    """The next placement, with an overflow over the writable shards, evenly: what a tenant gets when its first key
    becomes hot. Of more than ``OVERFLOW_SHARDS_MAX`` some, others for each tenant, which do not depend on the rest."""
    chosen = sorted(writable, key=lambda shard: hash_of(f"{tenant}/{shard}"))[:OVERFLOW_SHARDS_MAX]
    return replace(placement, epoch=Epoch(placement.epoch + 1), overflow=_even(sorted(chosen)))


def _even(shards: Sequence[ShardId]) -> tuple[SlotRange, ...]:
    if not shards:
        raise ValueError("a placement needs at least one shard")
    bounds = [SLOT_COUNT * number // len(shards) for number in range(len(shards) + 1)]
    return tuple(SlotRange(bounds[i], bounds[i + 1] - 1, shard) for i, shard in enumerate(shards))
