"""What a counter does to count keys, in this process: batches as routers send them, ids and all; processor time.

``hotkey_count``: 50 million increments of ten million keys, each key as likely as the other, which is the worst case
for a cache; ``hotkey_count_skewed``: by a power law. ``hotkey_count_memory``: ten times as many keys once each, and
what they take; then half as many again, so that the oldest are forgotten. No figure is given before counts were
compared with exact ones, all of them or a million, and found within what the counter says they may lack.
"""

import gc
import resource
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.hotkeys.aggregate import DAY_MS, KEY_SCHEMA
from evenshard.hotkeys.counting import Counts, KeyCount
from evenshard.ids import TenantId
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.one_shard import Spent
from evenshard.testing.bench.options import Options

EVENTS_DEFAULT: Final = 50_000_000
INCREMENTS_PER_KEY: Final = 5
BATCH_KEYS: Final = 100_000
SEED: Final = 7
SKEW: Final = 1.2
_SAMPLE: Final = 1_000_000
_TENANT: Final = TenantId("bench")
_DAY: Final = 20_000
_NOW_MS: Final = _DAY * DAY_MS
_DIGITS: Final = 12

Int64 = npt.NDArray[np.int64]


def hotkey_count(options: Options) -> list[Figure]:
    """``--events``: increments."""
    increments = options.events or EVENTS_DEFAULT
    keys = max(1, increments // INCREMENTS_PER_KEY)
    rng = np.random.default_rng(SEED)
    return [
        _speed("hotkey_count", keys, (rng.integers(0, keys, rows) for rows in _batches(increments))),
        _speed("hotkey_count_skewed", keys, (_skewed(rng, keys, rows) for rows in _batches(increments))),
        _memory(10 * keys),
    ]


def _speed(name: str, keys: int, batches: Iterator[Int64]) -> Figure:
    counts, spent, exact = _empty(2 * keys), Spent(), np.zeros(keys, np.int64)
    for numbers in batches:
        record = _record(numbers)
        with spent.measured():
            counts.add(_TENANT, record, _NOW_MS)
        exact += np.bincount(numbers, minlength=keys)
    _compare(counts, np.arange(keys), exact)
    increments = int(exact.sum())
    detail: dict[str, Any] = {"keys": keys, "ns": spent.ns(increments), "listed_from": counts.listed_from, "seed": SEED}
    return Figure(name, round(increments / spent.cpu_s), "events/s", increments, detail=detail)


def _memory(keys: int) -> Figure:
    gc.collect()
    before = _resident_bytes()
    counts, first = _empty(keys), 0
    for rows in _batches(keys):
        counts.add(_TENANT, _record(np.arange(first, first + rows)), _NOW_MS)
        first += rows
    held = _resident_bytes() - before
    sample = np.random.default_rng(SEED).integers(0, keys, min(keys, _SAMPLE))
    _compare(counts, sample, np.ones(sample.size, np.int64))
    for rows in _batches(keys // 2):
        counts.add(_TENANT, _record(np.arange(first, first + rows)), _NOW_MS)
        first += rows
    _compare(counts, sample, np.ones(sample.size, np.int64))
    detail = {"bytes_per_key": round(held / keys, 1), "peak_rss_mb": _peak_mb(), "missing_max": _missing_max(counts)}
    return Figure("hotkey_count_memory", held, "bytes", keys, detail=detail)


def _empty(keys_max: int) -> Counts:
    return Counts(keys_max, _NOW_MS - 10 * DAY_MS)


def _compare(counts: Counts, numbers: Int64, exact: Int64) -> None:
    missing_max = _missing_max(counts)
    for start in range(0, numbers.size, BATCH_KEYS):
        part = slice(start, start + BATCH_KEYS)
        known = counts.counts_of(_TENANT, _record(numbers[part]))
        if (known > exact[part]).any() or (known < exact[part] - missing_max).any():
            raise RuntimeError(
                f"counts of keys from {numbers[start]} on are not within {missing_max} of the exact ones"
            )


def _missing_max(counts: Counts) -> int:
    missing_max = counts.missing_max([KeyCount(_TENANT, "", np.datetime64(_DAY, "D").item(), 0)])
    if missing_max is None:
        raise RuntimeError("what is missing must be known: counting began days before")
    return missing_max


def _skewed(rng: np.random.Generator, keys: int, rows: int) -> Int64:
    """Ranks of a power law, beyond the last key from the first on again."""
    ranks: Int64 = (rng.zipf(SKEW, rows) - 1) % keys
    return ranks


def _batches(rows: int) -> Iterator[int]:
    for start in range(0, rows, BATCH_KEYS):
        yield min(BATCH_KEYS, rows - start)


def _record(numbers: Int64) -> pa.RecordBatch:
    """An increment of the key of each number, whose id is a dozen digits."""
    powers = 10 ** np.arange(_DIGITS - 1, -1, -1, dtype=np.int64)
    digits = (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)
    offsets = np.arange(0, _DIGITS * (numbers.size + 1), _DIGITS, dtype=np.int32)
    ids = pa.StringArray.from_buffers(numbers.size, pa.py_buffer(offsets), pa.py_buffer(digits.tobytes()))
    days, ones = np.full(numbers.size, _DAY, np.int32), np.ones(numbers.size, np.int64)
    return pa.RecordBatch.from_arrays([ids, pa.array(days), pa.array(ones)], schema=KEY_SCHEMA)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
