"""What the duplicate bit costs a scan: events a day over one indexed file set, with its duplicates skipped, against the
same files read as if they had none, and against counting all there is.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow.compute as pc

from evenshard.events.scan import DUPLICATE, ScannedRows
from evenshard.queries.answer import plan_segmentation
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import ScanStats
from evenshard.queries.scans import run
from evenshard.queries.segmentation import OVERALL
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.segment.reader import none_set
from evenshard.testing.bench.dataset import COPIES_SHARE, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE, sessions_of
from evenshard.testing.bench.one_shard import TENANT_ID, OneShard
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.sending import SEED
from evenshard.testing.events import FOR_EVER

EVENTS_DEFAULT: Final = 2_000_000
ROUNDS_DEFAULT: Final = 25


def scan_duplicate_bit(options: Options) -> list[Figure]:
    """Differences of the medians of interleaved rounds, processor time; columns are in the cache."""
    events, rounds = options.events or EVENTS_DEFAULT, options.rounds or ROUNDS_DEFAULT
    with _indexed(options, events) as (shard, data), shard.store.snapshot(TENANT_ID) as snapshot:
        found = snapshot.parts(Wanted(("time",), (), *FOR_EVER, users=False))
        real = [part.read() for part in found.parts]
        clean = [_as_if_clean(some) for some in real]
        variants = {
            "skipping": (real, True, data.copies, data.originals),
            "none_there": (clean, True, 0, data.events),
            "counting_all": (clean, False, 0, data.events),
        }
        spent: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, (parts, dedupe, skipped, counted) in variants.items():
                began_s = time.process_time()
                stats, total = _count(parts, dedupe)
                spent[name].append(time.process_time() - began_s)
                if (stats.duplicates_skipped_segment, total) != (skipped, counted):
                    raise RuntimeError(f"{name}: {stats.duplicates_skipped_segment} skipped, {total} counted")
    ns = {name: 1e9 * statistics.median(times) / events for name, times in spent.items()}
    detail = {"copies": data.copies, "seed": SEED, "rounds": rounds, **{name: round(v, 3) for name, v in ns.items()}}
    return [
        Figure(name, round(ns[more] - ns[less], 3), "ns", events, detail=detail)
        for name, more, less in (
            ("scan_duplicate_bit", "skipping", "none_there"),
            ("scan_duplicate_bit_clean", "none_there", "counting_all"),
        )
    ]


@contextmanager
def _indexed(options: Options, events: int) -> Iterator[tuple[OneShard, Dataset]]:
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        data = write_dataset(
            place / "data", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=COPIES_SHARE,
        )  # fmt: skip
        with OneShard(place / "shard") as shard:
            if shard.append_all(data.files) != data.copies:
                raise RuntimeError(f"not {data.copies} duplicates were found")
            shard.store.compact(TENANT_ID)
            yield shard, data
    finally:
        shutil.rmtree(place)


def _as_if_clean(some: ScannedRows) -> ScannedRows:
    """The rows of a file that says it has no duplicates."""
    bits = none_set(some.record.num_rows)
    return replace(some, record=some.record.set_column(some.record.schema.get_field_index(DUPLICATE), DUPLICATE, bits))


def _count(rows: list[ScannedRows], dedupe: bool) -> tuple[ScanStats, int]:
    """The account of a scan for events a day, and how many it counted."""
    query = segmentation_query(from_date=FROM_DATE, to_date=TO_DATE)
    scan = plan_segmentation(query, ZoneInfo("UTC"), dedupe=dedupe).scan.to_json()
    partial, stats = run(scan, rows)
    return stats, _total(partial)


def _total(partial: bytes) -> int:
    table = read_partial(partial)
    overall = pc.equal(table.column("bucket"), OVERALL)
    return int(pc.sum(table.filter(overall).column("events")).as_py())
