"""How long a shard takes to open: a log of 1 GB none of which is indexed, and one all of which is.

Storage alone, in this process, its files in the page cache; every row is counted afterwards.
"""

import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from evenshard.events.arrow_codec import decode_arrow
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.storage.log.frame import FILE_HEADER_BYTES, Content, checksum
from evenshard.storage.log.writer import LogWriter, create_log_file
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import record_of
from evenshard.testing.bench.options import Options

LOG_BYTES: Final = 1_000_000_000
BATCH_ROWS: Final = 10_000
TENANTS: Final = tuple(TenantId(f"bench-{number}") for number in range(4))
SHARD: Final = ShardId("shard-0")
SEED: Final = 7


def recovery(options: Options) -> list[Figure]:
    """``--events``: so many instead of 1 GB of them."""
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        disk = LocalDisk(place / "shard")
        events, size = write_log(disk, options.events)
        tail = _opened("recovery", disk, events, size, in_tail=events)
        _mark_indexed(disk, events)
        indexed = _opened("recovery_indexed", disk, events, size, in_tail=0)
        disk.close()
        return [tail, indexed]
    finally:
        shutil.rmtree(place)


def write_log(disk: LocalDisk, events_max: int | None) -> tuple[int, int]:
    """A log of so many events, None: of ``LOG_BYTES``, on an empty disk; how many, and their bytes."""
    catalog = Catalog.open(disk, SHARD)
    for tenant in TENANTS:
        catalog.set_epoch(tenant, Epoch(1))
    catalog.close()
    writer = LogWriter(
        disk,
        SHARD,
        file=create_log_file(disk, SHARD, 1, 0),
        number=1,
        offset=FILE_HEADER_BYTES,
        next_row=0,
        file_bytes_max=StorageSettings().log_file_bytes,
    )
    events = size = 0
    while events < events_max if events_max is not None else size < LOG_BYTES:
        rows = BATCH_ROWS if events_max is None else min(BATCH_ROWS, events_max - events)
        sink = pa.BufferOutputStream()
        record = record_of(SEED, events, rows)
        with pa.ipc.new_stream(sink, record.schema) as stream:
            stream.write_batch(record)
        tenant = TENANTS[events // BATCH_ROWS % len(TENANTS)]
        decoded = decode_arrow(
            sink.getvalue().to_pybytes(), tenant=tenant, strict=False, now_ms=int(SystemClock().now_ms()) + (1 << 40)
        )
        payload = decoded.batches[0].batch.to_ipc()
        writer.append([Content(tenant, Epoch(1), rows, bytes((rows + 7) // 8), payload, checksum(payload))])
        events, size = events + rows, size + len(payload)
    writer.close()
    return events, size


def _mark_indexed(disk: LocalDisk, events: int) -> None:
    catalog = Catalog.open(disk, SHARD)
    for tenant in TENANTS:
        catalog.commit(tenant, [], [], mark=events)
    catalog.close()


def _opened(name: str, disk: LocalDisk, events: int, size: int, *, in_tail: int) -> Figure:
    started_s, cpu_s = time.perf_counter(), time.process_time()
    store = Store.open(disk, SystemClock(), SHARD, StorageSettings(), lambda _: None)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    found = sum(each.log_rows for each in store.storage())
    store.close()
    if found != in_tail:
        raise RuntimeError(f"{found} rows in the tail, expected {in_tail}")
    detail: dict[str, Any] = {
        "log_bytes": size,
        "cpu_seconds": round(cpu_s, 3),
        "mb_per_second": round(size / seconds / 1e6),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    return Figure(name, round(seconds, 3), "s", events, detail=detail)
