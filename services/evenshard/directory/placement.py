"""A placement maps a tenant's 4,096 slots to shards, in ranges, at an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots ``first`` to ``last``, both inclusive, live on ``shard``."""

    first: int
    last: int
    shard: ShardId


@dataclass(frozen=True)
class Placement:
    """Every slot has exactly one shard; ranges are sorted and touch without gaps (checked)."""

    epoch: Epoch
    slots: tuple[SlotRange, ...]

    def __post_init__(self) -> None:
        expected = 0
        for piece in self.slots:
            if piece.first != expected or piece.last < piece.first:
                raise ValueError(f"slots {piece.first}-{piece.last} do not follow slot {expected - 1}")
            expected = piece.last + 1
        if expected != SLOT_COUNT:
            raise ValueError(f"the placement ends at slot {expected - 1}, not {SLOT_COUNT - 1}")

    @cached_property
    def shards(self) -> tuple[ShardId, ...]:
        """The shards that own slots, each once, in slot order."""
        return tuple(dict.fromkeys(piece.shard for piece in self.slots))

    @cached_property
    def shard_of_slot(self) -> npt.NDArray[np.int32]:
        """For each slot the index into ``shards``; int32[4096]."""
        index = {shard: number for number, shard in enumerate(self.shards)}
        table = np.empty(SLOT_COUNT, np.int32)
        for piece in self.slots:
            table[piece.first : piece.last + 1] = index[piece.shard]
        return table

    def owned_by(self, shard: ShardId) -> npt.NDArray[np.bool_]:
        """For each slot whether ``shard`` owns it; bool[4096]."""
        owned = np.zeros(SLOT_COUNT, np.bool_)
        for piece in self.slots:
            if piece.shard == shard:
                owned[piece.first : piece.last + 1] = True
        return owned


FIRST_EPOCH = Epoch(1)


def even_placement(shards: Sequence[ShardId], epoch: Epoch = FIRST_EPOCH) -> Placement:
    """All slots split evenly over ``shards`` in their order: what a new tenant gets."""
    if not shards:
        raise ValueError("a placement needs at least one shard")
    bounds = [SLOT_COUNT * number // len(shards) for number in range(len(shards) + 1)]
    return Placement(
        epoch,
        tuple(SlotRange(bounds[i], bounds[i + 1] - 1, shard) for i, shard in enumerate(shards)),
    )
