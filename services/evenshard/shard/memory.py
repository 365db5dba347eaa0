"""What a shard holds in memory, part by part, as ``admin storage`` and the metrics show it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from evenshard.ids import ShardId
from evenshard.runtime.process_info import peak_rss_bytes, rss_bytes
from evenshard.shard.compacting import Compactor
from evenshard.shard.scan_room import ScanRoom
from evenshard.storage.fair_queue import FairShare
from evenshard.storage.memory import MemoryBudget, MemoryPart
from evenshard.storage.store import Store


@dataclass(frozen=True, slots=True)
class ShardMemory:
    """Its parts add up to what is resident, since *base* is all that no other part accounts for."""

    shard: ShardId
    bytes_max: int
    resident_bytes: int
    resident_bytes_peak: int
    parts: Sequence[MemoryPart]


@dataclass(frozen=True, slots=True)
class MemoryView:
    """Asks the parts."""

    shard: ShardId
    bytes_max: int
    budget: MemoryBudget
    store: Store
    room: FairShare
    compactor: Compactor
    scans: ScanRoom

    def now(self) -> ShardMemory:
        parts = [
            *self.store.memory(),
            MemoryPart("compaction", self.budget.compaction if self.compactor.at_work else 0, self.budget.compaction),
            MemoryPart("queue", self.room.bytes, self.room.bytes_max),
            MemoryPart("scans", self.scans.bytes, self.budget.scans),
        ]
        resident = rss_bytes(os.getpid()) or 0
        base = max(0, resident - sum(part.bytes for part in parts))
        return ShardMemory(
            self.shard,
            self.bytes_max,
            resident,
            max(resident, peak_rss_bytes()),  # counted by two clocks
            [MemoryPart("base", base, self.budget.base), *parts],
        )
