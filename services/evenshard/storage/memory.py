"""How a shard's memory is dealt out, and what each part holds: no part grows beyond its own. Pure.

What the process takes before it holds a single event, with its libraries, is a part too. The rest is dealt out in fixed
shares, so that what one part may take never depends on what another does.
"""

import threading
from dataclasses import dataclass
from typing import Final

from evenshard.storage.segment.value_keys import KEY_BYTES, KEYS_MAX

BASE_BYTES: Final = 384 << 20
"""Interpreter, libraries, kernels and gRPC of a shard that has nothing to do, 220 to 300 MB, and what allocators hold
that is free."""
BACKLOG_FULL: Final = 32.0
"""The backlog at which a tenant's rows are refused; as a multiple of what makes it due for compaction."""
MEMORY_BYTES_DEFAULT: Final = 1 << 30
MEMORY_BYTES_MIN: Final = 512 << 20

# Shares of what is dealt out, in 64ths. A merge holds its window several times: read, joined, sorted, encoded; and the
# keys of all values of the segment it writes.
_TAIL, _COMPACTION, _QUEUE, _CACHE, _COLUMNS, _SCANS = 27, 14, 5, 5, 8, 5
_WHOLE: Final = 64
_WINDOW_COPIES: Final = 8
_VALUE_KEYS_SHARE: Final = 4
"""This part of a merge's room is for keys."""
_EARLY_TENANTS: Final = 6
"""A tenant whose unindexed rows take this part of the tail's room is due for compaction."""


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Bytes for each part of a shard."""

    base: int
    tail: int
    """Unindexed rows and their identities, of all tenants."""
    compaction: int
    """What a merge reads, sorts and writes at a time, beside the tail it indexes."""
    queue: int
    """Batches that are read, checked, or wait for the log."""
    cache: int
    """Filters, footers and identities of segments, by which duplicates are found."""
    columns: int
    """Decoded columns and numbered users, kept for the next query."""
    scans: int
    """Rows decoded for queries and exports that run."""

    @staticmethod
    def of(memory_bytes: int) -> "MemoryBudget":
        dealt = max(memory_bytes, MEMORY_BYTES_MIN) - BASE_BYTES
        return MemoryBudget(
            BASE_BYTES,
            *(dealt * share // _WHOLE for share in (_TAIL, _COMPACTION, _QUEUE, _CACHE, _COLUMNS, _SCANS)),
        )

    @property
    def compact_bytes_max(self) -> int:
        """Unindexed rows of a tenant that make it due, at most."""
        return self.tail // _EARLY_TENANTS

    @property
    def window_bytes(self) -> int:
        """Rows that a merge holds at a time."""
        return (self.compaction - self.value_keys_bytes) // _WINDOW_COPIES

    @property
    def value_keys_bytes(self) -> int:
        """Keys of values that a merge holds."""
        return min(KEYS_MAX * KEY_BYTES, self.compaction // _VALUE_KEYS_SHARE)


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """What a part holds now, and its bound."""

    part: str
    bytes: int
    bytes_max: int


class TailAccount:
    """Memory of unindexed rows and their identities, by tenant. Safe to use from several threads."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """Of all tenants."""
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, tenant: str, held: int) -> None:
        """The tenant holds so much from now on."""
        with self._lock:
            self.bytes += held - self._held.pop(tenant, 0)
            if held:
                self._held[tenant] = held

    def held_by(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def pressure(self, tenant: str) -> float:
        """1 or more: the tenant holds as much as is free, and may hold no more; so there is room for the next."""
        return self._held.get(tenant, 0) / max(1, self.bytes_max - self.bytes)

    def largest(self) -> set[str]:
        """Tenants to compact early: where more than half of the room is taken, the largest ones, so many that the
        others leave three quarters free."""
        with self._lock:
            rest = self.bytes
            chosen: set[str] = set()
            if rest * 2 <= self.bytes_max:
                return chosen
            for tenant, held in sorted(self._held.items(), key=lambda item: (-item[1], item[0])):
                if rest * 4 <= self.bytes_max:
                    break
                chosen.add(tenant)
                rest -= held
            return chosen
