"""Loads of shards, the largest keys, what is wrong, and slow queries, for people."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from evenshard.text.cells import UNDEFINED, percent
from evenshard.text.table import Bar, Block, Column, Lines, Table, table_of

_IDLE: Final = "nothing is wrong: no shard has twice the load of the others"


def shard_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``admin shards``, with a bar a shard."""
    shards = document["shards"]
    largest = max((each["share"] or 0.0 for each in shards), default=0.0)
    rows = [
        (
            each["shard"],
            each["state"],
            Bar((each["share"] or 0.0) / largest if largest else 0.0),
            percent(each["share"]),
            _rate(each["events_per_second"]),
            _rate(each["queries_per_second"]),
            _ms(each["query_p99_ms"]),
            _two(each["busy"]),
            _two(each["cpu"]),
            _mib(each["read_bytes_per_second"]),
            _mib(each["write_bytes_per_second"]),
            _mib(each["pending_bytes"]),
            _count(each["backlog_rows"]),
            _count(each["rows"]),
            _mib(each["bytes"]),
            _count(each["tenants"]),
            each["address"],
        )
        for each in shards
    ]
    columns = [
        Column("shard"),
        Column("state"),
        Column(f"share of {document['load_of'].replace('_', ' ')}", right=False),
        Column("", right=True),
        Column("events/s"),
        Column("queries/s"),
        Column("p99 ms"),
        Column("busy", spare=1),
        Column("cores"),
        Column("read MiB/s", spare=5),
        Column("written MiB/s", spare=4),
        Column("pending MiB", spare=2),
        Column("backlog rows", spare=6),
        Column("rows", spare=3),
        Column("MiB", spare=7),
        Column("tenants", spare=8),
        Column("address", spare=9),
    ]
    blocks: list[Block] = [Table(columns, rows, notes=[_skew(document)])]
    down = [f"{each['shard']} is down: {each['reason']}" for each in shards if each["state"] == "down"]
    return [*blocks, Lines(down, "warning")] if down else blocks


def top_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``top``: keys, shards, and the diagnosis last."""
    keys = [
        (
            each["tenant"],
            each["distinct_id"],
            each["date"] or UNDEFINED,
            _count(each["count"]),
            f"±{each['count_error']:,}" if each["count_error"] else "",
            UNDEFINED if each["share"] is None else percent(each["share"]),
            each["mode"] or ("marked" if each["marked"] else ""),
        )
        for each in document["keys"]
    ]
    titles = ("tenant", "distinct_id", "date", "events", "", "of all now", "marked")
    blocks: list[Block] = [table_of(titles, keys)] if keys else [Lines(["no key has been counted"], "quiet")]
    if document["counters"] == "down":
        blocks.append(Lines(["no counter answers: keys are those that shards tell of"], "warning"))
    return [*blocks, *shard_blocks(document), *diagnosis_blocks(document["diagnosis"])]


def diagnosis_blocks(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What is wrong, why that is believed, and what to do."""
    if not found:
        return [Lines([_IDLE], "quiet")]
    names = {"hot_key": "hot key", "hot_shard": "hot shard"}
    return [
        Lines(
            [
                f"{names[each['kind']]} {each['subject']} ({each['dimension']})",
                f"  {each['evidence']}",
                f"  {each['advice']}",
            ],
            "warning",
        )
        for each in found
    ]


def slow_query_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``slow-queries``: shards, then gateways."""
    blocks: list[Block] = []
    for title, place, groups in (
        ("on shards", "shard", document["queries"]),
        ("whole queries, on gateways", "gateway", document["gateways"]),
    ):
        rows = [
            (
                *(UNDEFINED if each[name] is None else each[name] for name in (place, "tenant", "kind", "event")),
                each["count"],
                *(round(each[name], 1) for name in ("p99_ms", "max_ms", "wait_p99_ms", "run_p99_ms")),
                each["rows"],
            )
            for each in groups
        ]
        titles = (place, "tenant", "kind", "event", "count", "p99 ms", "max ms", "waited", "ran", "rows")
        if rows:
            blocks.append(Table([Column(each) for each in titles], rows, caption=title))
    if document.get("each"):
        names = ("place", "tenant", "kind", "event", "rows", "trace_id")
        rows = [
            (
                datetime.fromtimestamp(each["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                *(each[name] for name in names[:-2]),
                round(each["wait_ms"], 1),
                round(each["run_ms"], 1),
                each["rows"],
                "no answer" if each["failed"] else "",
                each["trace_id"],
            )
            for each in document["each"]
        ]
        titles = ("UTC", "on", "tenant", "kind", "event", "waited ms", "ran ms", "rows", "", "trace")
        blocks.append(Table([Column(each) for each in titles], rows, caption="each, the newest first"))
    if not blocks:
        blocks.append(Lines(["no query was slower than slow_query_ms since the processes began"], "quiet"))
    missing = document["missing"]
    return [*blocks, Lines([f"no answer from {', '.join(missing)}"], "warning")] if missing else blocks


def _skew(document: Mapping[str, Any]) -> str:
    told = [f"{name.replace('_', ' ')} {skew:.2f}" for name, skew in document["skews"].items() if skew is not None]
    return f"skew (max ÷ mean): {', '.join(told) or 'there is no load'}"


def _rate(value: float | None) -> Any:
    return UNDEFINED if value is None else round(value) if value >= 10 else round(value, 1)


def _two(value: float | None) -> Any:
    return UNDEFINED if value is None else round(value, 2)


def _ms(value: float | None) -> Any:
    return UNDEFINED if value is None else round(value, 1)


def _count(value: int | None) -> Any:
    return UNDEFINED if value is None else value


def _mib(value: float | None) -> Any:
    return UNDEFINED if value is None else round(value / (1 << 20), 1)
