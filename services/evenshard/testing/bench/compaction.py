"""Indexing and deduplication of one shard, in this process: processor time an event, so that a core is what is priced.

``compaction``: rows that wait are indexed at once, in sorted runs as the shard keeps them. ``compaction_steady``: as
many as make a tenant due at a time, what was indexed before being rewritten as the plan says. ``late_duplicates``:
appends in which 2 % are copies of events indexed before. ``reimport``: everything is sent again.
"""

import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evenshard.client.batches import encode_record
from evenshard.storage.compaction import settle as settle_module
from evenshard.storage.segment import writer as writer_module
from evenshard.storage.segment import written_keys as written_keys_module
from evenshard.storage.segment.filter import PREFIX_BYTES, IdentityFilter, from_bytes, identity_bytes
from evenshard.storage.settings import StorageSettings
from evenshard.storage.tail import runs as runs_module
from evenshard.testing.bench.dataset import BATCH_ROWS, COPIES_SHARE, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import sessions_of
from evenshard.testing.bench.one_shard import TENANT_ID, OneShard, Spent, prepared, timed
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.sending import SEED

EVENTS_DEFAULT: Final = 2_000_000
ROUNDS_DEFAULT: Final = 3
PROBES: Final = 20_000_000
_PROBE_ROWS: Final = 1_000_000
DEDUPE_PARTS: Final = ((settle_module, "check_originals"), (runs_module, "identities_of"),
                       (runs_module, "identities_among"), (writer_module, "identity_of"),
                       (writer_module, "build_filter"), (writer_module, "to_bytes"),
                       (written_keys_module, "LaterColumns"))  # fmt: skip
"""Functions a compaction would do without if nothing were deduplicated."""


@contextmanager
def _dataset(options: Options, copies_share: float = COPIES_SHARE) -> Iterator[tuple[Path, Dataset]]:
    """A place, and events in it."""
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    events = options.events or EVENTS_DEFAULT
    try:
        yield place, write_dataset(
            place / "data", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=copies_share,
        )  # fmt: skip
    finally:
        shutil.rmtree(place)


def compaction(options: Options) -> list[Figure]:
    with _dataset(options) as (place, data):
        rounds = [_round(place / f"once-{number}", data, data.events) for number in range(_rounds(options))]
        due = StorageSettings().compact_rows
        steady = [_round(place / f"steady-{number}", data, due) for number in range(_rounds(options))]
    return [_figure("compaction", data, rounds), _figure("compaction_steady", data, steady)]


def _rounds(options: Options) -> int:
    return options.rounds or ROUNDS_DEFAULT


@dataclass(slots=True)
class _Round:
    compacting: Spent
    sorting: Spent
    parts: dict[str, Spent]
    rows_written: int = 0
    detail: dict[str, Any] | None = None

    @property
    def dedupe(self) -> Spent:
        return Spent(sum(part.cpu_s for part in self.parts.values()))


def _round(folder: Path, data: Dataset, step: int) -> _Round:
    found = _Round(Spent(), Spent(), {name: Spent() for _, name in DEDUPE_PARTS})
    with OneShard(folder) as shard, _measured_parts(found.parts):
        waiting = copies = 0
        identity_bytes = 0.0
        for path, rows in zip(data.files, data.rows, strict=True):
            copies += shard.append(prepared(path.read_bytes()))
            with found.sorting.measured():
                shard.sort_tail()
            waiting += rows
            if waiting >= step or path == data.files[-1]:
                identity_bytes = max(identity_bytes, _identity_bytes(shard) / waiting)
                before = _segments(shard)
                with found.compacting.measured():
                    done = shard.store.compact(TENANT_ID)
                if (done.rows, done.backlog_rows) != (waiting, 0):
                    raise RuntimeError(f"{done} instead of {waiting} rows")
                found.rows_written += sum(rows for number, rows in _segments(shard).items() if number not in before)
                waiting = 0
        if copies != data.copies:
            raise RuntimeError(f"{copies} duplicates found, {data.copies} sent")
        found.detail = {"identity_set_bytes": round(identity_bytes, 1), **_check(shard, data)}
    shutil.rmtree(folder)
    return found


@contextmanager
def _measured_parts(parts: dict[str, Spent]) -> Iterator[None]:
    patches = [patch.object(module, name, timed(parts[name], getattr(module, name))) for module, name in DEDUPE_PARTS]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def _identity_bytes(shard: OneShard) -> int:
    return shard.store._state.tenants[TENANT_ID].active.bytes


def _segments(shard: OneShard) -> dict[int, int]:
    with shard.store.snapshot(TENANT_ID) as snapshot:
        return {segment.id: segment.rows for segment in snapshot.segments}


def _check(shard: OneShard, data: Dataset) -> dict[str, Any]:
    """Whether every event is there, once but for its copies; what deduplication takes on disk."""
    (stored,) = shard.store.storage()
    found = (stored.log_rows, stored.segment_rows, stored.duplicate_rows)
    if found != (0, data.events, data.copies):
        raise RuntimeError(f"in the log, indexed, duplicates: {found}, expected {(0, data.events, data.copies)}")
    filter_bytes = value_bytes = bit_bytes = 0
    filters: list[IdentityFilter] = []
    with shard.store.snapshot(TENANT_ID) as snapshot:
        for segment in snapshot.segments:
            written = (shard.folder / segment.filter).read_bytes()
            filters.append(from_bytes(written, segment.filter))
            identities = identity_bytes(written[:PREFIX_BYTES], len(written))
            filter_bytes += identities
            value_bytes += len(written) - identities
            bit_bytes += _column_bytes(shard.folder / segment.parquet, "duplicate")
    return {
        "segments": stored.segments,
        "bytes": round(stored.bytes / data.events, 2),
        "filter_bytes": round(filter_bytes / data.events, 3),
        "value_filter_bytes": round(value_bytes / data.events, 3),
        "duplicate_column_bytes": round(bit_bytes / data.events, 4),
        "false_positives": _false_positives(filters),
    }


def _column_bytes(path: Path, name: str) -> int:
    metadata = pq.read_metadata(path)
    number = metadata.schema.names.index(name)
    groups = range(metadata.num_row_groups)
    return sum(int(metadata.row_group(group).column(number).total_compressed_size) for group in groups)


def _false_positives(filters: Sequence[IdentityFilter]) -> float:
    """The share of hashes that are in no segment and yet may be, of the largest filter."""
    chance = np.random.default_rng([SEED, 4])
    largest = max(filters, key=lambda each: each.bytes)
    found = 0
    for _ in range(PROBES // _PROBE_ROWS):
        probes = chance.integers(1, 1 << 64, _PROBE_ROWS, dtype=np.uint64)
        found += int(np.count_nonzero(largest.may_contain(probes)))
    return found / PROBES


def _figure(name: str, data: Dataset, rounds: Sequence[_Round]) -> Figure:
    rates = [data.events / each.compacting.cpu_s for each in rounds]
    middle = sorted(rounds, key=lambda each: each.compacting.cpu_s)[len(rounds) // 2]
    shares = [each.dedupe.cpu_s / (each.compacting.cpu_s - each.dedupe.cpu_s) for each in rounds]
    return Figure(name, round(statistics.median(rates), 1), "events/s", data.events, detail={
        "ns": middle.compacting.ns(data.events),
        "ns_a_row_written": middle.compacting.ns(middle.rows_written),
        "written": round(middle.rows_written / data.events, 2),
        "wall_ns": round(1e9 * middle.compacting.wall_s / data.events, 1),
        "sorting_the_tail_ns": middle.sorting.ns(data.events),
        "dedupe_share": round(statistics.median(shares), 4),
        "dedupe_ns": {part: spent.ns(middle.rows_written) for part, spent in middle.parts.items()},
        **(middle.detail or {}),
        "copies": data.copies,
        "seed": SEED,
        "rounds": [round(rate) for rate in rates],
    })  # fmt: skip


def late_duplicates(options: Options) -> list[Figure]:
    """The first half is indexed; the second half is appended, once as it is and once with copies of the first."""
    with _dataset(options, 0.0) as (place, data):
        half = len(data.files) // 2
        appends = [prepared(path.read_bytes()) for path in data.files[half:]]
        late = [prepared(payload) for payload in _with_late_copies(data.files[:half], data.files[half:])]
        copies = sum(int(BATCH_ROWS * COPIES_SHARE) for _ in late)
        rounds, cold = [], []
        for number in range(_rounds(options)):
            ordinary = _appended(place / f"ordinary-{number}", data.files[:half], appends, 0)
            rounds.append((_appended(place / f"late-{number}", data.files[:half], late, copies), ordinary))
            cold.append(_appended(place / f"cold-{number}", data.files[:half], late, copies, restarted=True)[0])
    events = sum(append.batch.rows for append in late)
    ours = statistics.median(spent.ns(events) for (spent, _), _ in rounds)
    ordinary_ns = statistics.median(spent.ns(events) for _, (spent, _) in rounds)
    cold_ns = statistics.median(spent.ns(events) for spent in cold)
    return [Figure("late_duplicates", ours, "ns", events, detail={
        "ordinary_ns": ordinary_ns,
        "times_ordinary": round(ours / ordinary_ns, 2),
        "after_a_restart_ns": cold_ns,
        "after_a_restart_times_ordinary": round(cold_ns / ordinary_ns, 2),
        "middle_batch_ns": statistics.median(middle for (_, middle), _ in rounds),
        "ordinary_middle_batch_ns": statistics.median(middle for _, (_, middle) in rounds),
        "wall_ns": [round(1e9 * spent.wall_s / events) for (spent, _), _ in rounds],
        "ordinary_wall_ns": [round(1e9 * spent.wall_s / events) for _, (spent, _) in rounds],
        "copies": copies,
        "indexed_before": sum(data.rows[:half]),
        "seed": SEED,
        "rounds": [spent.ns(events) for (spent, _), _ in rounds],
    })]  # fmt: skip


def _with_late_copies(earlier: Sequence[Path], files: Sequence[Path]) -> Iterator[bytes]:
    """Each batch with its last 2 % replaced by copies of events of any batch of ``earlier``."""
    chance = np.random.default_rng([SEED, 5])
    count = int(BATCH_ROWS * COPIES_SHARE)
    each = -(-count * len(files) // len(earlier))
    known = [pa.ipc.open_stream(path.read_bytes()).read_all().combine_chunks() for path in earlier]
    pool = pa.concat_tables([table.take(pa.array(chance.integers(0, table.num_rows, each))) for table in known])
    order = chance.permutation(pool.num_rows)
    for number, path in enumerate(files):
        table = pa.ipc.open_stream(path.read_bytes()).read_all()
        copies = pool.take(pa.array(order[number * count : (number + 1) * count]))
        whole = pa.concat_tables([table.slice(0, table.num_rows - count), copies]).unify_dictionaries()
        (record,) = whole.combine_chunks().to_batches()
        yield encode_record(record)


def _appended(
    folder: Path, indexed: Sequence[Path], appends: Sequence[Any], copies: int, *, restarted: bool = False
) -> tuple[Spent, float]:
    """What appending costs a shard in which ``indexed`` are indexed, and of the middle batch the ns an event: most
    come when what they need of the segments is in the cache. ``restarted``: nothing of what was indexed is in memory
    at first."""
    spent = Spent()
    batches: list[float] = []
    with OneShard(folder) as shard:
        shard.append_all(indexed)
        shard.sort_tail()
        shard.store.compact(TENANT_ID)
        if restarted:
            shard.open_again()
        found = 0
        for append in appends:
            before_s = spent.cpu_s
            with spent.measured():
                found += shard.append(replace(append))
            batches.append(1e9 * (spent.cpu_s - before_s) / append.batch.rows)
        if found != copies:
            raise RuntimeError(f"{found} duplicates found, {copies} sent")
    shutil.rmtree(folder)
    return spent, round(statistics.median(batches), 1)


def reimport(options: Options) -> list[Figure]:
    """Everything is indexed, then appended again: hashes and checksums counted too."""
    with _dataset(options, 0.0) as (place, data):
        rates = [_reimported(place / f"round-{number}", data) for number in range(_rounds(options))]
    return [Figure("reimport", round(statistics.median(rates), 1), "events/s", data.events, detail={
        "batch_rows": BATCH_ROWS,
        "seed": SEED,
        "rounds": [round(rate) for rate in rates],
    })]  # fmt: skip


def _reimported(folder: Path, data: Dataset) -> float:
    spent = Spent()
    with OneShard(folder) as shard:
        shard.append_all(data.files)
        shard.sort_tail()
        shard.store.compact(TENANT_ID)
        for path in data.files:
            append = replace(prepared(path.read_bytes()), hashes=None, payload_checksum=None)
            with spent.measured():
                found = shard.append(append)
            if found != append.batch.rows:
                raise RuntimeError(f"{found} of {append.batch.rows} copies were found")
    shutil.rmtree(folder)
    return data.events / max(spent.wall_s, spent.cpu_s)
