"""The Grafana dashboard of the chart, made from a table of its panels (``python -m evenshard.testing.chart``)."""

import json
from dataclasses import dataclass
from typing import Any, Final

_S: Final = 'namespace=~"$namespace"'
"""Whichever series are of the namespace chosen; all, where series say nothing of it."""
_PANEL_WIDTH, _PANEL_HEIGHT, _GRID_WIDTH = 8, 8, 24


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over time."""

    title: str
    unit: str
    """As Grafana calls it."""
    lines: tuple[tuple[str, str], ...]
    """Expression and legend of each."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_S}{more}}}[$__rate_interval]))"


def _p99(metric: str, by: str, more: str = "") -> str:
    return f"histogram_quantile(0.99, sum by ({by}, le) (rate({metric}_bucket{{{_S}{more}}}[$__rate_interval])))"


def _of(metric: str, more: str = "") -> str:
    return f"{metric}{{{_S}{more}}}"


_CALLS: Final = "rpc_server_call_duration_seconds"
_FROM_CLIENTS: Final = ', rpc_method=~"evenshard.v1.(Ingest|Query|Admin)Service/.*"'
_AMONG_SERVICES: Final = ', rpc_method=~"evenshard.v1.(Shard|Counter)Service/.*"'
_UNDER_WAY: Final = ', evenshard_state!="complete"'
_SERVICE: Final = "{{service_name}}"

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "What clients see",
        (
            Panel("Calls", "reqps", ((_rate(f"{_CALLS}_count", "rpc_method", _FROM_CLIENTS), "{{rpc_method}}"),)),
            Panel(
                "Failed calls",
                "reqps",
                (
                    (
                        _rate(f"{_CALLS}_count", "rpc_method, error_type", f'{_FROM_CLIENTS}, error_type!=""'),
                        "{{rpc_method}} {{error_type}}",
                    ),
                ),
                "By code: docs/runbook.md has an entry for each.",
            ),
            Panel("p99 of calls", "s", ((_p99(_CALLS, "rpc_method", _FROM_CLIENTS), "{{rpc_method}}"),)),
            Panel(
                "Events",
                "cps",
                ((_rate("evenshard_import_events_total", "evenshard_outcome"), "{{evenshard_outcome}}"),),
                "Duplicates and hot ones are accepted too.",
            ),
            Panel(
                "Rejected events by code",
                "cps",
                ((_rate("evenshard_import_rejected_total", "evenshard_code"), "{{evenshard_code}}"),),
            ),
            Panel(
                "Queries answered, and from the cache",
                "reqps",
                ((_rate("evenshard_query_answers_total", "evenshard_cache"), "{{evenshard_cache}}"),),
            ),
        ),
    ),
    Row(
        "Shards: load and skew",
        (
            Panel("Events stored", "cps", ((_of("evenshard_shard_load_events_per_second"), _SERVICE),)),
            Panel("Cores in use", "short", ((_of("evenshard_shard_load_cpu"), _SERVICE),)),
            Panel("Busy with scans", "percentunit", ((_of("evenshard_shard_load_busy"), _SERVICE),)),
            Panel(
                "Skew: max ÷ mean",
                "short",
                tuple(
                    (f"max({_of(metric)}) / avg({_of(metric)})", name)
                    for metric, name in (
                        ("evenshard_shard_load_events_per_second", "events"),
                        ("evenshard_shard_load_cpu", "cores"),
                        ("evenshard_shard_load_busy", "busy"),
                    )
                ),
                "1: even.",
            ),
            Panel(
                "Scans, and their p99",
                "short",
                (
                    (_of("evenshard_shard_load_queries_per_second"), f"{_SERVICE} scans/s"),
                    (_of("evenshard_shard_load_query_p99_milliseconds"), f"{_SERVICE} p99 ms"),
                ),
            ),
            Panel(
                "Disks read and written",
                "Bps",
                (
                    (_of("evenshard_shard_load_disk_read_bytes_per_second"), f"{_SERVICE} read"),
                    (_of("evenshard_shard_load_disk_written_bytes_per_second"), f"{_SERVICE} written"),
                ),
            ),
        ),
    ),
    Row(
        "Shards: writing",
        (
            Panel("p99 of syncs", "s", ((_p99("evenshard_shard_sync_duration_seconds", "service_name"), _SERVICE),)),
            Panel(
                "Batches a sync",
                "short",
                (
                    (
                        f"{_rate('evenshard_shard_group_batches_sum', 'service_name')} / "
                        f"{_rate('evenshard_shard_group_batches_count', 'service_name')}",
                        _SERVICE,
                    ),
                ),
            ),
            Panel(
                "Waiting for the log, and being taken",
                "bytes",
                (
                    (_of("evenshard_shard_queue_bytes"), f"{_SERVICE} queue"),
                    (_of("evenshard_shard_load_pending_bytes"), f"{_SERVICE} taken"),
                ),
            ),
            Panel(
                "Duplicates stored",
                "percentunit",
                (
                    (
                        f"{_rate('evenshard_shard_duplicates_total', 'service_name')} / "
                        f"{_rate('evenshard_shard_events_total', 'service_name')}",
                        _SERVICE,
                    ),
                ),
            ),
            Panel(
                "Duplicates skipped by queries",
                "cps",
                ((_rate("evenshard_query_duplicates_total", "evenshard_place"), "{{evenshard_place}}"),),
            ),
            Panel("Refusing events", "short", ((_of("evenshard_shard_refusing"), _SERVICE),)),
        ),
    ),
    Row(
        "Shards: compaction and what is stored",
        (
            Panel("Rows not indexed", "short", ((_of("evenshard_shard_compaction_backlog"), _SERVICE),)),
            Panel(
                "Compaction's pressure",
                "short",
                ((_of("evenshard_shard_compaction_pressure"), _SERVICE),),
                "From 8 on appends are slowed down, from 16 on refused.",
            ),
            Panel(
                "Rows indexed, and p99 of compactions",
                "short",
                (
                    (_rate("evenshard_shard_compaction_rows_total", "service_name"), f"{_SERVICE} rows/s"),
                    (_p99("evenshard_shard_compaction_duration_seconds", "service_name"), f"{_SERVICE} p99 s"),
                ),
            ),
            Panel("Rows stored", "short", ((_of("evenshard_shard_rows"), "{{service_name}} {{evenshard_place}}"),)),
            Panel(
                "Segments and files of the log",
                "short",
                (
                    (_of("evenshard_shard_segments"), f"{_SERVICE} segments"),
                    (_of("evenshard_shard_log_files"), f"{_SERVICE} log"),
                ),
            ),
            Panel(
                "Disk in use",
                "percentunit",
                ((f"1 - {_of('evenshard_disk_free_bytes')} / {_of('evenshard_disk_size_bytes')}", _SERVICE),),
            ),
            Panel("Size of segments", "bytes", ((_of("evenshard_shard_size_bytes"), _SERVICE),)),
            Panel(
                "Damaged, and tenants that cannot be compacted",
                "short",
                (
                    (_of("evenshard_shard_quarantined"), f"{_SERVICE} damaged files"),
                    (_of("evenshard_shard_compaction_failing"), f"{_SERVICE} tenants"),
                ),
            ),
        ),
    ),
    Row(
        "Memory and processors",
        (
            Panel(
                "Memory of shards by part",
                "bytes",
                ((_of("evenshard_shard_memory_bytes"), "{{service_name}} {{evenshard_part}}"),),
            ),
            Panel(
                "Resident memory",
                "bytes",
                (
                    (_of("process_memory_usage_bytes"), _SERVICE),
                    (_of("evenshard_shard_memory_limit_bytes"), f"{_SERVICE} limit"),
                ),
            ),
            Panel("Cores", "short", ((_rate("process_cpu_time_seconds_total", "service_name"), _SERVICE),)),
            Panel("Caches of gateways", "bytes", ((_of("evenshard_gateway_cache_bytes"), _SERVICE),)),
            Panel(
                "Queries at gateways",
                "short",
                ((_of("evenshard_gateway_queries"), "{{service_name}} {{evenshard_state}}"),),
            ),
            Panel(
                "Read for queries",
                "short",
                (
                    (_rate("evenshard_query_rows_total", "service_name"), f"{_SERVICE} rows/s"),
                    (_rate("evenshard_query_bytes_total", "service_name"), f"{_SERVICE} bytes/s"),
                ),
            ),
        ),
    ),
    Row(
        "Hot keys, operations, directory",
        (
            Panel(
                "Marks of hot keys",
                "short",
                ((f"max by (evenshard_state) ({_of('evenshard_hotkeys_marks')})", "{{evenshard_state}}"),),
            ),
            Panel(
                "Counting",
                "cps",
                (
                    (_rate("evenshard_counter_events_total", "service_name"), f"{_SERVICE} counted"),
                    (_rate("evenshard_router_counts_dropped_total", "service_name"), f"{_SERVICE} dropped"),
                    (_of("evenshard_router_counts_queue"), f"{_SERVICE} wait"),
                ),
            ),
            Panel(
                "Operations by state",
                "short",
                (
                    (
                        f"max by (evenshard_kind, evenshard_state) ({_of('evenshard_operations', _UNDER_WAY)})",
                        "{{evenshard_kind}} {{evenshard_state}}",
                    ),
                ),
            ),
            Panel(
                "Operation that has not come on", "s", ((f"max({_of('evenshard_operations_idle_seconds')})", "idle"),)
            ),
            Panel("Lag of the directory", "s", ((_of("evenshard_directory_lag_seconds"), _SERVICE),)),
            Panel(
                "Tenants, and who leads",
                "short",
                (
                    (f"max({_of('evenshard_tenants')})", "tenants"),
                    (f"{_of('evenshard_router_leader')} > 0", f"{_SERVICE} leads"),
                ),
            ),
        ),
    ),
    Row(
        "Calls among services",
        (
            Panel("Calls", "reqps", ((_rate(f"{_CALLS}_count", "rpc_method", _AMONG_SERVICES), "{{rpc_method}}"),)),
            Panel("p99 as the called see it", "s", ((_p99(_CALLS, "rpc_method", _AMONG_SERVICES), "{{rpc_method}}"),)),
            Panel(
                "p99 as the callers see it",
                "s",
                ((_p99("rpc_client_call_duration_seconds", "rpc_method", _AMONG_SERVICES), "{{rpc_method}}"),),
            ),
            Panel("Imports in flight", "bytes", ((_of("evenshard_import_in_flight_bytes"), _SERVICE),)),
            Panel(
                "Ready",
                "short",
                (
                    (_of("evenshard_service_ready"), _SERVICE),
                    (f"increase({_of('evenshard_kernels_compiled_total')}[1h])", f"{_SERVICE} compiled"),
                ),
            ),
            Panel(
                "Spans whose peers were not told",
                "cps",
                ((_rate("evenshard_traces_untold_total", "service_name"), _SERVICE),),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        panels.append(
            {"type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": _place(0, y, 24, 1)}
        )
        y += 1
        for at, panel in enumerate(row.panels):
            x = at * _PANEL_WIDTH % _GRID_WIDTH
            if at and x == 0:
                y += _PANEL_HEIGHT
            panels.append(_panel(panel, _place(x, y, _PANEL_WIDTH, _PANEL_HEIGHT)))
        y += _PANEL_HEIGHT
    for number, made in enumerate(panels, 1):
        made["id"] = number
    return {
        "uid": "evenshard",
        "title": "evenshard",
        "tags": ["evenshard"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                {
                    "name": "namespace",
                    "type": "query",
                    "label": "Namespace",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "query": {"query": "label_values(evenshard_service_ready, namespace)", "refId": "namespace"},
                    "definition": "label_values(evenshard_service_ready, namespace)",
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                    "refresh": 2,
                },
            ]
        },
        "panels": panels,
    }


def dashboard_text() -> str:
    """The committed file: a line a panel, so that a change is seen."""
    made = dashboard()
    panels = ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in made.pop("panels"))
    head = ",\n ".join(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in made.items())
    return f'{{{head},\n "panels": [\n  {panels}\n ]}}\n'


def expressions() -> list[str]:
    """Of all panels."""
    return [expression for row in ROWS for panel in row.panels for expression, _ in panel.lines]


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": source, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.lines)
        ],
    }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}
