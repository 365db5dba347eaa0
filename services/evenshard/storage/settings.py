"""How a shard's storage is bounded; every value has a unit."""

from dataclasses import dataclass

from evenshard.storage.identity import ALL_BITS
from evenshard.storage.memory import MEMORY_BYTES_DEFAULT, MemoryBudget

APPEND_GROUP_BYTES = 32 << 20
_BUDGET = MemoryBudget.of(MEMORY_BYTES_DEFAULT)


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Bounds of the log, the tail and the queue before them."""

    log_file_bytes: int = 64 << 20
    """A log file that has reached it is followed by a new one."""
    log_age_ms: int = 3_600_000
    """A log file is gone so long after its first frame; from half of it on nothing is written to it any more."""
    append_queue_bytes: int = _BUDGET.queue
    """Payload bytes that may wait for the log; beyond, appends are refused with ``OVERLOADED``."""
    append_group_bytes: int = APPEND_GROUP_BYTES
    """Payload bytes written with one sync, at most (one batch at least)."""
    compact_rows: int = 500_000
    """Unindexed rows of a tenant that make it due for compaction."""
    compact_bytes: int = _BUDGET.compact_bytes_max
    """Memory of a tenant's unindexed rows that makes it due for compaction."""
    compact_age_ms: int = 60_000
    """Age of a tenant's oldest unindexed row that makes it due for compaction."""
    tail_bytes: int = _BUDGET.tail
    """Memory for unindexed rows and their identities, of all tenants."""
    window_bytes: int = _BUDGET.window_bytes
    """Memory of the rows that a merge holds at a time; it needs several times as much."""
    value_keys_bytes: int = _BUDGET.value_keys_bytes
    """Memory of the keys from which filters of values are made."""
    identity_cache_bytes: int = _BUDGET.cache
    """Memory for filters, footers and identities of segments, by which duplicates of indexed events are found."""
    identity_scratch_bytes: int = 4 << 30
    """Disk for the identities of segments in which events were looked up, so that it is done again at little cost; 0:
    none. What is left of it is never less than ``FREE_BYTES_MIN`` (``key_scratch.py``)."""
    column_cache_bytes: int = _BUDGET.columns
    """Memory for decoded columns of segments and for the users of a tenant, kept for the next query."""
    identity_hash_mask: int = ALL_BITS
    """Bits of identity hashes that are used; fewer force collisions in tests."""
