"""Counts of keys (tenant, distinct_id, UTC day) in bounded memory: of all keys by hash, of the heavy by name too. Pure,
for one thread at a time.

Two generations, each of at most half the keys: a key counted goes into the young one, taking along what the old one has
of it; when the young one is full, what is left in the old one is forgotten, and the young one takes its place. So a key
rolls off when it has not been counted while half of ``keys_max`` other keys were, however old its day is.

A generation has its keys' counts in a ``CountTable``, where their ids are not; and the ids of those with
``listed_from`` events or more in a ``KeyTable``, which counts on where a slot cannot. That is 1 at first, and
doubles when too many have so many.

Counts begin with nothing, at a known time. Those of days that begin later are exact until something was forgotten, and
never too high but where two keys have the same hashes (``count_table``). A forgotten key that comes again starts anew:
each time something was forgotten since its day began, its count may have lost as much as the largest that was forgotten
then (``missing_max``). How many events of days before the start are missing is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import hash_strings, string_buffers
from evenshard.events.limits import TIME_AHEAD_MAX_MS
from evenshard.hotkeys.count_table import COUNT_MAX, CountTable
from evenshard.hotkeys.saved_counts import Loss, SavedCounts, SavedGeneration
from evenshard.hotkeys.table import Int64, Keys, KeyTable
from evenshard.ids import TenantId

HEAVY_KEYS_MAX: Final = 200_000
"""Keys of a generation whose ids are kept, some 60 bytes and the id each. Entering one costs what counting some events
does, and where hardly any key comes again so many are entered each time that ``listed_from`` doubles."""
LISTED_FROM_MAX: Final = (COUNT_MAX + 1) // 2
"""Keys with so many events are kept by name however many there are: a slot cannot count further."""
LOSSES_MAX: Final = 1000
"""Times of forgetting that are kept apart; of more, the oldest two are taken for one."""
_CHUNK_KEYS: Final = 1 << 16
_EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class KeyCount:
    """A key and how many of its events were new."""

    tenant: TenantId
    distinct_id: str
    day: date
    """UTC."""
    count: int


@dataclass(slots=True, eq=False)
class Generation:
    """Keys counted at about the same time."""

    counts: CountTable
    heavy: KeyTable
    """Those with ``listed_from`` events or more. Their counts here are those of when they came to be listed, and exact
    beyond what a slot counts."""
    listed_from: int = 1

    def listed(self) -> Keys:
        """Those that are known by name, with their exact counts; views, but for those."""
        keys = self.heavy.keys()
        counted = self.counts.counts(keys.hashes, keys.tenants, keys.days)
        return replace(keys, counts=np.where(counted == COUNT_MAX, np.maximum(keys.counts, counted), counted))


class Counts:
    """What a counter knows."""

    def __init__(self, keys_max: int, start_ms: int, heavy_keys_max: int = HEAVY_KEYS_MAX) -> None:
        """``start_ms``: what was stored before is not counted here."""
        self.start_ms = start_ms
        self._half = max(1, keys_max // 2)
        self._heavy_max = min(self._half, heavy_keys_max)
        self._young = self._generation()
        self._old: Generation | None = None
        self._tenants: list[TenantId] = []
        self._tenant_numbers: dict[TenantId, int] = {}
        self._losses: list[Loss] = []

    @property
    def listed_from(self) -> int:
        """Keys counted at least so often are known by name; of others only a count is."""
        return max(generation.listed_from for generation in self._generations())

    @property
    def keys(self) -> int:
        """Slots taken (a key that stands in both generations has two); at most ``keys_max``."""
        return sum(generation.counts.used for generation in self._generations())

    def missing_max(self, keys: Sequence[KeyCount]) -> int | None:
        """How much too low the count of any of ``keys`` may be; None: nobody knows, as some are of a day that had begun
        when counting did, or there are none. Events come on their day or later, or an hour before it at most: that hour
        is of the day too."""
        if not keys:
            return None
        day = min(key.day for key in keys)
        begins_ms = (day - _EPOCH_DAY) // timedelta(milliseconds=1) - TIME_AHEAD_MAX_MS
        if begins_ms <= self.start_ms:
            return None
        return sum(loss.count_max for loss in self._losses if loss.now_ms >= begins_ms)

    def add(self, tenant: TenantId, record: pa.RecordBatch, now_ms: int) -> Int64:
        """Adds counted keys of the schema ``aggregate.KEY_SCHEMA``, or events, a row each, of ``NAME_SCHEMA``. Returns
        the count of each, int64; of a key that occurs several times that up to and including its row."""
        keys = self._keys_of(tenant, record)
        step = min(self._half, _CHUNK_KEYS)
        totals = [
            self._add(keys.slice(start, min(start + step, keys.size)), now_ms) for start in range(0, keys.size, step)
        ]
        return np.concatenate(totals) if totals else np.empty(0, np.int64)

    def counts_of(self, tenant: TenantId, record: pa.RecordBatch) -> Int64:
        """The count of each key of ``record`` (which has distinct_id and day), 0: not known; int64."""
        keys = self._keys_of(tenant, record)
        counts = np.zeros(keys.size, np.int64)
        for generation in self._generations():
            counted = generation.counts.counts(keys.hashes, keys.tenants, keys.days)
            beyond = np.flatnonzero(counted == COUNT_MAX)
            exact = generation.heavy.counts_at(generation.heavy.find(keys, beyond))
            counted[beyond] = np.maximum(exact, COUNT_MAX)
            counts = np.where(counted > 0, counted, counts)
        return counts

    def top(self, tenant: TenantId | None, limit: int) -> Sequence[KeyCount]:
        """The keys counted most, of one tenant or of all: by count descending, then tenant, distinct_id, day; of those
        that have ``listed_from`` or more. Which of the keys that share the last count are shown is not promised."""
        found: list[KeyCount] = []
        for keys, chosen in self._listed(tenant, 1):
            if chosen.size > limit:
                chosen = chosen[np.argpartition(-keys.counts[chosen], limit)[:limit]]
            found += self._shown(keys, chosen)
        found.sort(key=lambda key: (-key.count, key.tenant, key.distinct_id, key.day))
        return found[:limit]

    def near(self, tenant: TenantId | None, count_min: int, hash_from: int, limit: int) -> tuple[list[KeyCount], int]:
        """Keys counted ``count_min`` times or more (and ``listed_from``), of one tenant or of all, by the hashes of
        their distinct_ids from ``hash_from`` on: some ``limit``, keys of one hash together; and the hash that is next,
        0: there is none.

        Who goes on from there meets every key that has so many all the while, however counts grow between the calls.
        """
        parts = [
            (keys, chosen[keys.hashes[chosen] >= np.uint64(hash_from)])
            for keys, chosen in self._listed(tenant, count_min)
        ]
        hashes = np.sort(np.concatenate([keys.hashes[chosen] for keys, chosen in parts]))
        hash_end = int(hashes[limit]) if hashes.size > limit else 0
        if hash_end and hash_end == int(hashes[0]):
            behind = hashes[hashes > hashes[0]]
            hash_end = int(behind[0]) if behind.size else 0
        found: list[KeyCount] = []
        for keys, chosen in parts:
            if hash_end:
                chosen = chosen[keys.hashes[chosen] < np.uint64(hash_end)]
            found += self._shown(keys, chosen)
        return found, hash_end

    def forget(self, tenant: TenantId, distinct_ids: Sequence[str]) -> None:
        """Some users are deleted: their keys, of all days, are not known any more."""
        number = self._tenant_numbers.get(tenant)
        if number is None or not distinct_ids:
            return
        hashes = np.empty(len(distinct_ids), np.uint64)
        ids = string_buffers(pa.array(distinct_ids, pa.utf8()))
        hash_strings(ids.offsets, ids.data, hashes)
        hashes.sort()
        for generation in self._generations():
            generation.counts.forget(number, hashes)
            generation.heavy.forget(number, hashes, frozenset(distinct_ids))

    def save(self) -> SavedCounts:
        """A copy of everything, for ``restore``."""
        return SavedCounts(
            self.start_ms,
            2 * self._half,
            tuple(self._tenants),
            tuple(self._losses),
            tuple(
                SavedGeneration(each.listed_from, each.counts.save(), each.heavy.save()) for each in self._generations()
            ),
        )

    @staticmethod
    def restore(saved: SavedCounts, start_ms: int, heavy_keys_max: int = HEAVY_KEYS_MAX) -> "Counts":
        """What was saved. ``start_ms``: what was stored since it was saved and before then is not counted; that of the
        saved counts if there was nothing."""
        counts = Counts(saved.keys_max, start_ms, heavy_keys_max)
        counts._tenants = list(saved.tenants)
        counts._tenant_numbers = {tenant: number for number, tenant in enumerate(saved.tenants)}
        counts._losses = list(saved.losses)
        generations = [
            Generation(CountTable.restore(counts._half, each.counts), KeyTable.restore(each.heavy), each.listed_from)
            for each in saved.generations
        ]
        counts._old, counts._young = (generations[0] if len(generations) == 2 else None), generations[-1]
        return counts

    def _generations(self) -> Sequence[Generation]:
        """The old one, if there is one, and the young one."""
        return [self._young] if self._old is None else [self._old, self._young]

    def _generation(self, listed_from: int = 1) -> Generation:
        return Generation(CountTable(self._half), KeyTable(), listed_from)

    def _listed(self, tenant: TenantId | None, count_min: int) -> list[tuple[Keys, Int64]]:
        """All that are known by name, and which of them have so many. Each key is in one generation only: the young one
        takes along what it meets, or that is below what both list."""
        count_min = max(count_min, self.listed_from)
        listed = []
        for generation in self._generations():
            keys = generation.listed()
            chosen = keys.counts >= count_min
            if tenant is not None:
                chosen &= keys.tenants == self._tenant_numbers.get(tenant, -1)
            listed.append((keys, np.flatnonzero(chosen)))
        return listed

    def _shown(self, keys: Keys, chosen: Int64) -> list[KeyCount]:
        return [
            KeyCount(
                self._tenants[int(keys.tenants[key])],
                keys.id_of(int(key)),
                _EPOCH_DAY + timedelta(days=int(keys.days[key])),
                int(keys.counts[key]),
            )
            for key in chosen
        ]

    def _add(self, keys: Keys, now_ms: int) -> Int64:
        if self._young.counts.used + keys.size > self._half:
            self._forget(now_ms)
        young, old = self._young, self._old
        added = young.counts.add(
            None if old is None else old.counts, keys.hashes, keys.tenants, keys.days, keys.counts, young.listed_from
        )
        heavy = np.flatnonzero(added.listed)
        if heavy.size:
            self._add_heavy(keys, heavy, added.totals)
        return added.totals

    def _add_heavy(self, keys: Keys, heavy: Int64, totals: Int64) -> None:
        """Counts the keys at ``heavy`` by name too, and corrects ``totals``."""
        young, old = self._young, self._old
        first_new = young.heavy.used
        young.heavy.add(keys, heavy, totals, COUNT_MAX)
        if old is not None and young.heavy.used > first_new:
            entered = np.arange(first_new, young.heavy.used)
            before = old.heavy.find(young.heavy.keys(), entered)
            # What a slot could not count further is missing in what was taken along.
            young.heavy.raise_counts(entered, np.maximum(old.heavy.counts_at(before) - COUNT_MAX, 0))
            old.heavy.clear(before[before >= 0].astype(np.int64))
            beyond = heavy[totals[heavy] >= COUNT_MAX]
            totals[beyond] = young.heavy.counts_at(young.heavy.find(keys, beyond))
        while young.heavy.used > self._heavy_max and young.listed_from < LISTED_FROM_MAX:
            young.listed_from *= 2
            young.heavy = young.heavy.take(np.flatnonzero(young.listed().counts >= young.listed_from))

    def _forget(self, now_ms: int) -> None:
        """What is left in the old generation is not known any more, the young one is the old one now."""
        if self._old is not None:
            count_max = self._old.counts.largest()
            if count_max == COUNT_MAX:
                count_max = int(self._old.heavy.keys().counts.max(initial=count_max))
            if count_max:
                self._losses.append(Loss(now_ms, count_max))
        if len(self._losses) > LOSSES_MAX:
            first, second, *later = self._losses
            self._losses = [Loss(second.now_ms, first.count_max + second.count_max), *later]
        self._old, self._young = self._young, self._generation(max(1, self._young.listed_from // 4))

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
            record.column("count").to_numpy() if counted else np.ones(record.num_rows, np.int64),
            ids.offsets.astype(np.int64),
            ids.data,
        )
