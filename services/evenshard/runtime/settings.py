"""Every setting of every service: value from ``EVENSHARD_*`` or ``up --set``, default, unit and effect."""

from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def setting(default: Any, unit: str, effect: str, **bounds: Any) -> Any:
    """A field with its unit and effect, which ``evenshard config`` shows."""
    return Field(default, description=effect, json_schema_extra={"unit": unit}, **bounds)


class Settings(BaseSettings):
    """All settings. Unknown ``--set`` names are refused by ``up``."""

    model_config = SettingsConfigDict(env_prefix="EVENSHARD_", frozen=True)

    compact_rows: int = setting(500_000, "rows", "a tenant's unindexed rows on a shard that start a compaction", ge=1)
    compact_bytes: int = setting(
        256 << 20,
        "bytes",
        "memory of a tenant's unindexed rows on a shard that starts a compaction; shard_memory_bytes may allow less",
        ge=1,
    )
    compact_age_seconds: int = setting(60, "s", "age of a tenant's oldest unindexed row that starts a compaction", ge=1)
    log_age_seconds: int = setting(
        3600,
        "s",
        "a log file of a shard is gone so long after its first event, whatever the slowest tenant does; from half of "
        "it on, pauses of compaction do not hold for whom it waits for",
        ge=10,
    )
    compact_mb_per_second: int = setting(
        0,
        "MB/s",
        "how fast a shard writes compacted files, at most, unless rows wait in large numbers; 0: as fast as it can",
        ge=0,
    )
    shard_memory_bytes: int = setting(
        1 << 30,
        "bytes",
        "memory of a shard's process: rows not yet indexed, their identities, filters, caches, the queue before the "
        "log, compaction and scans have fixed shares; beyond them, appends wait, then are refused as OVERLOADED",
        ge=512 << 20,
    )
    shard_scratch_bytes: int = setting(
        4 << 30,
        "bytes",
        "disk of a shard for the identities of indexed events among which others were looked up, some 50 bytes an "
        "event, gone when the shard stops: what comes again is found at little cost; a GiB of the disk is always left "
        "free; 0: none",
        ge=0,
    )
    shard_labels: str = setting(
        "", "NAME=VALUE,…", "what a shard is shown with (admin shards), as zone=a,tier=hot; empty: nothing"
    )
    shard_append_timeout_ms: int = setting(
        10_000,
        "ms",
        "how long a router waits for a shard's ack, at most (and never longer than 80 % of what the caller waits)",
        ge=1,
    )
    router_inflight_bytes: int = setting(
        256 << 20, "bytes", "imports a router handles at once; beyond, calls are refused as OVERLOADED", ge=1
    )
    gateway_cache_bytes: int = setting(
        256 << 20,
        "bytes",
        "what a gateway keeps of answers, and of shards' parts of them, for questions asked again; 0: nothing",
        ge=0,
    )
    split_rows_bytes: int = setting(
        256 << 20,
        "bytes",
        "rows of users split over shards that a gateway holds for all its queries; what travelled, and going through "
        "them, take about as much again each. A query that needs more is refused as QUERY_INVALID, one for which "
        "others leave no room as OVERLOADED",
        ge=1,
    )
    tenant_queries_max: int = setting(16, "queries", "queries of a tenant that a gateway runs at once", ge=1)
    tenant_queries_waiting_max: int = setting(
        64, "queries", "queries of a tenant that wait for those; beyond, they are refused as LIMIT_EXCEEDED", ge=0
    )
    tenant_scan_bytes_per_second: int = setting(
        0,
        "bytes/s",
        "bytes of columns that a tenant's queries read through a gateway; beyond, they are refused as LIMIT_EXCEEDED "
        "until their turn comes; 0: no limit",
        ge=0,
    )
    slow_query_ms: int = setting(
        500,
        "ms",
        "queries that take longer on a shard or a gateway, waiting included, are kept for slow-queries: the newest "
        "1,000 of each process",
        ge=0,
    )
    slow_trace_ms: int = setting(
        500,
        "ms",
        "traces that take longer in a process are sent to the collector and the trace file, whatever is sampled; the "
        "slowest are kept for evenshard traces in any case",
        ge=0,
    )
    trace_sample_percent: float = setting(
        100.0,
        "%",
        "traces sent to the collector and the trace file besides the slow and the failed ones, and those that their "
        "caller has chosen",
        ge=0,
        le=100,
    )
    count_queue_rows: int = setting(
        1_000_000, "rows", "acknowledged rows a router keeps for the counters; beyond, counts are dropped", ge=1
    )
    counter_keys: int = setting(
        16_000_000,
        "keys",
        "keys a counter remembers, 11 bytes each; beyond, those counted longest ago are forgotten (changed, all are)",
        ge=2,
    )
    report_sender: str = setting(
        "evenshard@localhost", "address", "who reports that are mailed come from (report send)", min_length=3
    )
    etcd_wait_seconds: int = setting(
        30,
        "s",
        "how long a service that starts waits for etcd, saying so; then it gives up with DIRECTORY_UNAVAILABLE",
        ge=1,
    )
    count_keys: bool = setting(
        True,
        "on/off",
        "whether routers count new events by user and day, so that hot keys are found; off: no key becomes hot, those "
        "that are stay",
    )
    record_seconds: int = setting(
        0,
        "s",
        "how long a router or gateway that died stays on the list of services (evenshard status); 0: until one of its "
        "name starts again",
        ge=0,
    )
    etcd_crash_safe: bool = setting(
        False,
        "on/off",
        "whether a service refuses to start on etcd 3.5.0 to 3.5.2, which can lose consistency when it is killed",
    )
    etcd_ca_file: str = setting(
        "", "path", "PEM of whom to trust as etcd; empty: the system's list, where endpoints are https://"
    )
    etcd_cert_file: str = setting("", "path", "PEM of a service's certificate for etcd; empty: none")
    etcd_key_file: str = setting("", "path", "PEM of that certificate's key")
    metrics_listen: str = setting(
        "",
        "host:port",
        "where a service tells its metrics to Prometheus, as /metrics; empty: nowhere. Of several services on one "
        "machine each needs its own: up --metrics-port",
    )
    trace_file: str = setting(
        "",
        "path",
        "where spans are appended as JSON lines, by services (up --trace-file) and by commands; empty: nowhere",
    )
