"""Every metric of every service: what it counts, in which unit, and who tells it. Whatever is measured is looked up
here; the dashboard, the alerts and the runbook are held to it by a test.

No metric has a label of a tenant, a user or a request: their number has no bound. Who is slow, hot or large is told by
``evenshard top``, ``slow-queries`` and ``traces``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from evenshard.directory.service import Kind

Form = Literal["total", "gauge", "histogram"]
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of durations."""
LONG_SECONDS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
ALL: Final[tuple[Kind, ...]] = ("router", "gateway", "counter", "shard")
_UNITS: Final = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": "", "By/s": "bytes_per_second"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    form: Form
    unit: str
    """As UCUM writes it; in braces: what is counted."""
    description: str
    told_by: tuple[Kind, ...]
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram: the upper bounds of its buckets."""


_CALL = ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type")
_SHARD: Final[tuple[Kind, ...]] = ("shard",)
_ROUTER: Final[tuple[Kind, ...]] = ("router",)
_GATEWAY: Final[tuple[Kind, ...]] = ("gateway",)
_COUNTER: Final[tuple[Kind, ...]] = ("counter",)

METRICS: Final[Mapping[str, Metric]] = {
    # Of every process.
    "rpc.server.call.duration": Metric("histogram", "s", "calls that came in", ALL, _CALL, SECONDS),
    "rpc.client.call.duration": Metric("histogram", "s", "calls to other services", ALL, _CALL, SECONDS),
    "process.cpu.time": Metric("total", "s", "processor time of the process", ALL),
    "process.memory.usage": Metric("gauge", "By", "resident memory", ALL),
    "evenshard.service.ready": Metric("gauge", "1", "1: it serves; 0: it starts, or drains", ALL),
    "evenshard.kernels.compiled": Metric(
        "total", "{kernel}", "kernels compiled because the cache did not hold them; stands still once it serves", ALL
    ),
    "evenshard.directory.lag": Metric(
        "gauge", "s", "how long the watch of the directory has been broken; 0: it stands", ALL
    ),
    "evenshard.traces.untold": Metric("total", "{span}", "spans whose peers were not told to keep their part", ALL),
    "evenshard.disk.size": Metric("gauge", "By", "of the file system with its files", ("shard", "counter")),
    "evenshard.disk.free": Metric("gauge", "By", "of that what is left to it", ("shard", "counter")),
    # Routers.
    "evenshard.import.events": Metric(
        "total", "{event}", "events by what became of them: accepted, duplicate, hot or rejected; duplicates and hot "
        "ones are accepted too", _ROUTER, ("evenshard.outcome",),
    ),
    "evenshard.import.rejected": Metric("total", "{event}", "rejected events by code", _ROUTER, ("evenshard.code",)),
    "evenshard.import.in_flight": Metric("gauge", "By", "payloads of imports being handled", _ROUTER),
    "evenshard.router.counts.dropped": Metric("total", "{event}", "new events no counter was told of", _ROUTER),
    "evenshard.router.counts.queue": Metric("gauge", "{event}", "new events that wait for the counters", _ROUTER),
    "evenshard.router.leader": Metric("gauge", "1", "1: it drives the operations", _ROUTER),
    "evenshard.hotkeys.marks": Metric("gauge", "{mark}", "marks of hot keys", _ROUTER, ("evenshard.state",)),
    "evenshard.tenants": Metric("gauge", "{tenant}", "tenants there are", _ROUTER),
    "evenshard.operations": Metric(
        "gauge", "{operation}", "operations on record", _ROUTER, ("evenshard.kind", "evenshard.state")
    ),
    "evenshard.operations.idle": Metric(
        "gauge", "s", "the longest time an operation has not come on; paused and switched ones, which wait for "
        "somebody, apart", _ROUTER,
    ),
    # Gateways.
    "evenshard.query.rows": Metric("total", "{row}", "rows that shards read for queries", _GATEWAY),
    "evenshard.query.bytes": Metric("total", "By", "bytes of columns that shards read for queries", _GATEWAY),
    "evenshard.query.duplicates": Metric(
        "total", "{row}", "duplicates that queries skipped, in logs and in segments", _GATEWAY, ("evenshard.place",)
    ),
    "evenshard.query.answers": Metric(
        "total", "{query}", "answered queries, by whether nothing had to be read", _GATEWAY, ("evenshard.cache",)
    ),
    "evenshard.gateway.cache": Metric("gauge", "By", "what is kept of answers and of shards' parts of them", _GATEWAY),
    "evenshard.gateway.queries": Metric("gauge", "{query}", "queries now", _GATEWAY, ("evenshard.state",)),
    # Counters.
    "evenshard.counter.events": Metric("total", "{event}", "events counted", _COUNTER),
    # Shards: writes.
    "evenshard.shard.events": Metric("total", "{event}", "events stored, duplicates too", _SHARD),
    "evenshard.shard.duplicates": Metric("total", "{event}", "events stored as duplicates", _SHARD),
    "evenshard.shard.sync.duration": Metric(
        "histogram", "s", "from the writing of a group of batches to the end of its sync", _SHARD, (), SECONDS
    ),
    "evenshard.shard.group.batches": Metric(
        "histogram", "{batch}", "batches that one sync made durable", _SHARD, (), SIZES
    ),
    "evenshard.shard.queue": Metric("gauge", "By", "batches that wait for the log", _SHARD),
    "evenshard.shard.refusing": Metric("gauge", "1", "1: it takes no events until it is started anew", _SHARD),
    # Shards: compaction and what is stored.
    "evenshard.shard.compaction.backlog": Metric("gauge", "{row}", "rows that are not indexed yet", _SHARD),
    "evenshard.shard.compaction.pressure": Metric(
        "gauge", "1", "of the tenant that is most behind: its unindexed rows as a multiple of what makes it due; "
        "appends are slowed down from 8 on, and refused from 16 on", _SHARD,
    ),
    "evenshard.shard.compaction.failing": Metric("gauge", "{tenant}", "tenants that cannot be compacted", _SHARD),
    "evenshard.shard.compaction.duration": Metric(
        "histogram", "s", "compactions of one tenant", _SHARD, ("error.type",), LONG_SECONDS
    ),
    "evenshard.shard.compaction.rows": Metric("total", "{row}", "rows that compaction has indexed", _SHARD),
    "evenshard.shard.log.files": Metric("gauge", "{file}", "files of the commit log", _SHARD),
    "evenshard.shard.rows": Metric("gauge", "{row}", "rows stored", _SHARD, ("evenshard.place",)),
    "evenshard.shard.segments": Metric("gauge", "{file}", "segments", _SHARD),
    "evenshard.shard.size": Metric("gauge", "By", "segment files", _SHARD),
    "evenshard.shard.quarantined": Metric("gauge", "{file}", "damaged files whose loss nobody has accepted", _SHARD),
    # Shards: memory and load.
    "evenshard.shard.memory": Metric("gauge", "By", "memory of each part", _SHARD, ("evenshard.part",)),
    "evenshard.shard.memory.limit": Metric("gauge", "By", "shard_memory_bytes", _SHARD),
    "evenshard.shard.load.events": Metric("gauge", "{event}/s", "events stored in the last 30 s", _SHARD),
    "evenshard.shard.load.queries": Metric("gauge", "{query}/s", "scans of the last 30 s", _SHARD),
    "evenshard.shard.load.query.p99": Metric("gauge", "ms", "of the scans of the last 30 s", _SHARD),
    "evenshard.shard.load.busy": Metric("gauge", "1", "time in scans as a share of a core, last 30 s", _SHARD),
    "evenshard.shard.load.pending": Metric("gauge", "By", "appends being taken", _SHARD),
    "evenshard.shard.load.cpu": Metric("gauge", "{core}", "cores in use, last 30 s", _SHARD),
    "evenshard.shard.load.disk.read": Metric("gauge", "By/s", "read from disks, last 30 s", _SHARD),
    "evenshard.shard.load.disk.written": Metric("gauge", "By/s", "written to disks, last 30 s", _SHARD),
}  # fmt: skip


def prometheus_name(name: str) -> str:
    """What Prometheus calls it, by OpenTelemetry's rules; of a histogram without ``_bucket``, ``_sum``, ``_count``."""
    metric = METRICS[name]
    base = re.sub(r"[^a-zA-Z0-9:]+", "_", name)
    unit = re.sub(r"{.*}", "", metric.unit)
    suffix = _UNITS.get(unit, "per_second" if unit == "/s" else unit)
    if suffix and not base.endswith(f"_{suffix}"):
        base += f"_{suffix}"
    return f"{base}_total" if metric.form == "total" else base
