"""Load, hot keys and slow queries as the contract's documents; and what ``top`` makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from evenshard.api.v1 import admin_pb2, common_pb2, counter_pb2, debug_pb2
from evenshard.hotkeys.diagnosis import KeyLoad, ShardLoad, diagnose
from evenshard.wire.slow_queries import group_document, slow_query_document
from evenshard.wire.traces import trace_document_of

COUNTED_KEYS_MIN: Final = 100
"""So many are asked for, however few are shown: what is hot now need not be what was counted most."""
WARM_SHARE_MIN: Final = 0.01
"""Of all events: a key that counters do not name is shown from here on."""

ModeOf = Mapping[tuple[str, str], str]
"""What the newest mark of a tenant's id says."""


def shards_document(answer: admin_pb2.ListShardsResponse) -> dict[str, Any]:
    """Every shard with its load; what a shard that is down would say is null."""
    return {
        "shards": [_shard(each) for each in answer.shards],
        "skew": answer.skew if answer.HasField("skew") else None,
        "load_of": answer.load_of,
        "skews": {each.of: each.skew if each.HasField("skew") else None for each in answer.skews},
    }


def _shard(state: admin_pb2.ShardState) -> dict[str, Any]:
    load = state.load if state.HasField("load") else None
    names = (
        "tenants", "rows", "bytes", "events_per_second", "queries_per_second", "query_p99_ms", "busy",
        "queries_running", "pending_bytes", "backlog_rows", "cpu", "read_bytes_per_second", "write_bytes_per_second",
        "window_ms",
    )  # fmt: skip
    return {
        "shard": state.shard,
        "address": state.address,
        "labels": dict(state.labels),
        "state": state.state,
        **{name: None if load is None else _maybe(load, name) for name in names},
        "share": _maybe(state, "share"),
        "reason": state.reason or None,
    }


def _maybe(message: Any, name: str) -> Any:
    """A field; None where it is optional and absent."""
    field = message.DESCRIPTOR.fields_by_name[name]
    return None if field.has_presence and not message.HasField(name) else getattr(message, name)


def slow_queries_document(answer: debug_pb2.ListSlowQueriesResponse, *, each: bool = False) -> dict[str, Any]:
    """Groups of shards, and of whole queries by gateway; with ``each`` the queries besides, the newest first."""
    return {
        **({"each": [slow_query_document(query) for query in answer.queries]} if each else {}),
        "queries": [group_document(each, "shard") for each in answer.shards],
        "gateways": [group_document(each, "gateway") for each in answer.gateways],
        "missing": list(answer.missing),
    }


def traces_document(answer: debug_pb2.ListTracesResponse) -> dict[str, Any]:
    """Traces with all their spans, and who did not answer."""
    return {"traces": [trace_document_of(each) for each in answer.traces], "missing": list(answer.missing)}


def top_document(
    shards: admin_pb2.ListShardsResponse, counted: counter_pb2.ListHotKeysResponse | None, limit: int
) -> dict[str, Any]:
    """The largest keys, those of the most events of the last seconds first; every shard; and what is wrong.

    ``counted`` None: no counter answers, so keys are those that shards tell of."""
    keys = [] if counted is None else list(counted.keys)
    loads = [state.load for state in shards.shards if state.HasField("load")]
    shares = _shares(loads)
    listed, seen = [], set[tuple[str, str]]()
    for key in sorted(keys, key=lambda key: key.date, reverse=True):
        name = (key.tenant, key.distinct_id)
        listed.append(_key(*name, key, None if name in seen else shares.get(name)))  # of an id its newest day has it
        seen.add(name)
    warm = [name for name, share in shares.items() if share >= WARM_SHARE_MIN and name not in seen]
    listed += [_key(*name, None, shares[name]) for name in warm]
    listed.sort(key=lambda key: (-(key["share"] or 0.0), -(key["count"] or 0), key["tenant"], key["distinct_id"]))
    modes: dict[tuple[str, str], str] = {}
    for key in sorted(keys, key=lambda key: key.date):
        modes[key.tenant, key.distinct_id] = key.marked
    found = diagnose([_load(load, modes) for load in loads])
    return {
        "keys": listed[:limit],
        **shards_document(shards),
        "diagnosis": [asdict(each) for each in found],
        "counters": "down" if counted is None else "up",
    }


def _shares(loads: Sequence[common_pb2.ShardLoad]) -> dict[tuple[str, str], float]:
    """Of all events stored in the last seconds, by key; the largest first."""
    whole = sum(load.events_per_second for load in loads)
    found: dict[tuple[str, str], float] = {}
    for load in loads:
        for key in load.keys:
            if whole and key.events_per_second:
                name = (key.tenant, key.distinct_id)
                found[name] = found.get(name, 0.0) + key.events_per_second / whole
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _key(tenant: str, distinct_id: str, counted: counter_pb2.KeyCount | None, share: float | None) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "distinct_id": distinct_id,
        "date": None if counted is None else counted.date,
        "count": None if counted is None else counted.count,
        "count_error": None if counted is None else counted.count_error,
        "share": share,
        "marked": counted is not None and bool(counted.marked),
        "mode": None if counted is None else counted.marked or None,
    }


def _load(load: common_pb2.ShardLoad, modes: ModeOf) -> ShardLoad:
    return ShardLoad(
        load.shard,
        load.events_per_second,
        load.queries_per_second,
        _maybe(load, "query_p99_ms"),
        load.busy,
        _maybe(load, "cpu"),
        load.pending_bytes,
        [
            KeyLoad(
                each.tenant,
                each.distinct_id,
                each.events_per_second,
                each.busy,
                modes.get((each.tenant, each.distinct_id), ""),
            )
            for each in load.keys
        ],
    )
