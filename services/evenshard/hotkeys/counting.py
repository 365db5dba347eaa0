"""Exact counts of keys (tenant, distinct_id, UTC day) in bounded memory. Pure, for one thread at a time.

Two generations, each of at most half the keys: a key counted goes into the young one (taking along what the old one
has of it); when the young one is full, the old one is forgotten and the young one takes its place. So a key that is
forgotten has not been counted since at least half of ``keys_max`` other keys were.

Counts begin with nothing, at a known time. Those of days that begin later are exact until something was forgotten, and
none is ever too high. A forgotten key that comes again starts anew, so its count may then be too low, by at most
``forgotten_count_max``; how many events of earlier days are missing is not known (``missing_max``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import hash_strings, string_buffers
from evenshard.events.limits import TIME_AHEAD_MAX_MS
from evenshard.hotkeys.table import Int64, Keys, KeyTable
from evenshard.ids import TenantId

_EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class KeyCount:
    """A key and how many of its events were new."""

    tenant: TenantId
    distinct_id: str
    day: date
    """UTC."""
    count: int


class Counts:
    """What a counter knows."""

    def __init__(self, keys_max: int, start_ms: int) -> None:
        """``start_ms``: what was stored before is not counted here."""
        self.start_ms = start_ms
        self._half = max(1, keys_max // 2)
        self._young = KeyTable()
        self._old = KeyTable()
        self._tenants: list[TenantId] = []
        self._tenant_numbers: dict[TenantId, int] = {}
        self.forgotten_count_max = 0
        """The largest count that was forgotten; 0: none was."""

    def missing_max(self, keys: Sequence[KeyCount]) -> int | None:
        """How much too low the count of any of ``keys`` may be; None: nobody knows, as some are of a day that had begun
        when counting did, or there are none. Events come on their day or later, or an hour before it at most: that hour
        is of the day too."""
        first_whole_day = _EPOCH_DAY + timedelta(milliseconds=self.start_ms + TIME_AHEAD_MAX_MS, days=1)
        if not keys or min(key.day for key in keys) < first_whole_day:
            return None
        return self.forgotten_count_max

    @property
    def keys(self) -> int:
        """Entries kept (a key that stands in both generations counts twice); at most ``keys_max``."""
        return self._young.used + self._old.used

    def add(self, tenant: TenantId, record: pa.RecordBatch) -> None:
        """Adds counted keys of the schema ``aggregate.KEY_SCHEMA``; a key may occur several times."""
        keys = self._keys_of(tenant, record)
        for start in range(0, keys.size, self._half):
            self._add(keys.slice(start, min(start + self._half, keys.size)))

    def counts_of(self, tenant: TenantId, record: pa.RecordBatch) -> Int64:
        """The count of each key of ``record`` (which has distinct_id and day), 0: not known; int64."""
        keys = self._keys_of(tenant, record)
        young, old = self._young.find(keys), self._old.find(keys)
        return np.where(young >= 0, self._young.counts_at(young), self._old.counts_at(old))

    def top(self, tenant: TenantId | None, limit: int) -> Sequence[KeyCount]:
        """The keys counted most, of one tenant or of all: by count descending, then tenant, distinct_id, day. Which of
        the keys that share the last count are shown is not promised."""
        found: list[KeyCount] = []
        young, old = self._young.keys(), self._old.keys()
        superseded = self._young.find(old) >= 0
        for keys, counts in ((young, young.counts), (old, np.where(superseded, 0, old.counts))):
            if tenant is not None:
                counts = np.where(keys.tenants == self._tenant_numbers.get(tenant, -1), counts, 0)
            found += self._largest(keys, counts, limit)
        found.sort(key=lambda key: (-key.count, key.tenant, key.distinct_id, key.day))
        return found[:limit]

    def near(self, tenant: TenantId | None, count_min: int, hash_from: int, limit: int) -> tuple[list[KeyCount], int]:
        """Keys counted ``count_min`` times or more, of one tenant or of all, by the hashes of their distinct_ids from
        ``hash_from`` on: some ``limit``, keys of one hash together; and the hash that is next, 0: there is none.

        Who goes on from there meets every key that has so many all the while, however counts grow between the calls.
        """
        parts = [
            (keys, self._near(keys, tenant, count_min, hash_from)) for keys in (self._old.keys(), self._young.keys())
        ]
        hashes = np.sort(np.concatenate([keys.hashes[chosen] for keys, chosen in parts]))
        hash_end = int(hashes[limit]) if hashes.size > limit else 0
        if hash_end and hash_end == int(hashes[0]):
            behind = hashes[hashes > hashes[0]]
            hash_end = int(behind[0]) if behind.size else 0
        found: dict[tuple[TenantId, str, date], KeyCount] = {}
        for keys, chosen in parts:  # the young generation last: what it has of a key includes what the old one has
            if hash_end:
                chosen = chosen[keys.hashes[chosen] < np.uint64(hash_end)]
            for key in self._shown(keys, keys.counts, chosen):
                found[key.tenant, key.distinct_id, key.day] = key
        return list(found.values()), hash_end

    def _near(self, keys: Keys, tenant: TenantId | None, count_min: int, hash_from: int) -> Int64:
        near = (keys.counts >= count_min) & (keys.hashes >= np.uint64(hash_from))
        if tenant is not None:
            near &= keys.tenants == self._tenant_numbers.get(tenant, -1)
        return np.flatnonzero(near)

    def forget(self, tenant: TenantId, distinct_ids: Sequence[str]) -> None:
        """Some users are deleted: their keys, of all days, are not known any more."""
        number = self._tenant_numbers.get(tenant)
        if number is None or not distinct_ids:
            return
        hashes = np.empty(len(distinct_ids), np.uint64)
        ids = string_buffers(pa.array(distinct_ids, pa.utf8()))
        hash_strings(ids.offsets, ids.data, hashes)
        hashes.sort()
        for table in (self._young, self._old):
            table.forget(number, hashes, frozenset(distinct_ids))

    def _largest(self, keys: Keys, counts: Int64, limit: int) -> list[KeyCount]:
        chosen = np.argpartition(-counts, limit)[:limit] if keys.size > limit else np.arange(keys.size)
        return self._shown(keys, counts, chosen)

    def _shown(self, keys: Keys, counts: Int64, chosen: Int64) -> list[KeyCount]:
        return [
            KeyCount(
                self._tenants[int(keys.tenants[key])],
                keys.id_of(int(key)),
                _EPOCH_DAY + timedelta(days=int(keys.days[key])),
                int(counts[key]),
            )
            for key in chosen
            if counts[key] > 0
        ]

    def _add(self, keys: Keys) -> None:
        if self._young.used + keys.size > self._half:
            self._forget()
        first_new = self._young.used
        self._young.add(keys)
        entered = self._young.keys().slice(first_new, self._young.used)
        self._young.raise_counts(first_new, self._old.counts_at(self._old.find(entered)))

    def _forget(self) -> None:
        old = self._old.keys()
        gone = old.counts[self._young.find(old) < 0]
        if gone.size:
            self.forgotten_count_max = max(self.forgotten_count_max, int(gone.max()))
        self._old, self._young = self._young, KeyTable()

    def _keys_of(self, tenant: TenantId, record: pa.RecordBatch) -> Keys:
        if tenant not in self._tenant_numbers:
            self._tenant_numbers[tenant] = len(self._tenants)
            self._tenants.append(tenant)
        ids = string_buffers(record.column("distinct_id"))
        hashes = np.empty(record.num_rows, np.uint64)
        hash_strings(ids.offsets, ids.data, hashes)
        counted = "count" in record.schema.names
        return Keys(
            hashes,
            np.full(record.num_rows, self._tenant_numbers[tenant], np.int32),
            record.column("day").to_numpy(),
            record.column("count").to_numpy() if counted else np.zeros(record.num_rows, np.int64),
            ids.offsets.astype(np.int64),
            ids.data,
        )
