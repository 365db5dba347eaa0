"""Spans joined into traces, chosen, and shown as waterfalls."""

import random
from typing import Any

import pytest
from evenshard.api.v1 import debug_pb2
from evenshard.errors import EvenshardError
from evenshard.text.look import Look
from evenshard.text.paint import paint
from evenshard.text.traces import trace_blocks
from evenshard.wire.traces import (
    chosen_of,
    limit_of,
    span_document_of,
    span_message,
    trace_document,
    trace_document_of,
    trace_id_of,
    trace_message,
    trees_of,
    whole_traces,
)

MS = 1_000_000


def span(
    span_id: str, parent: str | None = None, *, trace: str = "a", at: float = 0, took: float = 1,
    name: str = "client.query", service: str = "router-0", links: tuple[tuple[str, str], ...] = (), **more: Any,
) -> dict[str, Any]:  # fmt: skip
    return {
        "trace_id": trace, "span_id": span_id, "parent_span_id": parent, "name": name, "service": service,
        "start_unix_ns": int(at * MS), "end_unix_ns": int((at + took) * MS), "status": "OK", "attributes": {},
        "links": [{"trace_id": each, "span_id": other} for each, other in links], **more,
    }  # fmt: skip


def ids(spans: Any) -> list[str]:
    return [each["span_id"] for each in spans]


def test_parts_that_processes_remember_are_one_tree_again() -> None:
    router = [span("r", "client's", took=9), span("call", "r", at=1)]
    shard = [span("s", "call", at=2), span("append", "s", at=3)]
    (tree,) = trees_of([*shard, *router, *shard])
    assert (ids(tree.roots), ids(tree.spans), tree.duration_ms) == (["r"], ["r", "call", "s", "append"], 9)


def test_without_its_caller_a_part_stands_by_itself_and_traces_are_not_mixed() -> None:
    trees = trees_of([span("s", "call"), span("s", "call", trace="b"), span("t", "s", trace="b")])
    assert [(tree.trace_id, ids(tree.spans)) for tree in trees] == [("a", ["s"]), ("b", ["s", "t"])]


def test_a_trace_as_a_whole_has_all_its_roots() -> None:
    (whole,) = whole_traces([span("y", at=10, took=5), span("x", at=2, took=3), span("z", "x", at=3)])
    assert (ids(whole.roots), ids(whole.spans), whole.duration_ms) == (["x", "y"], ["x", "z", "y"], 13)


def test_every_span_is_in_exactly_one_tree_whatever_is_lost() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        spans = [span(str(n), str(rng.randrange(n)) if n and rng.random() < 0.9 else None, at=n) for n in range(40)]
        kept = [each for each in spans if rng.random() < 0.7]
        rng.shuffle(kept)
        trees = trees_of(kept)
        assert sorted(each for tree in trees for each in ids(tree.spans)) == sorted(ids(kept)), seed
        present = set(ids(kept))
        assert {tree.roots[0]["span_id"] for tree in trees} == {
            each["span_id"] for each in kept if each["parent_span_id"] not in present
        }, seed


def test_the_slowest_calls_and_the_newest_failures_are_chosen() -> None:
    incoming = {"attributes": {"rpc.method": "m"}}
    outgoing = {"attributes": {"rpc.method": "m", "server.address": "h"}}
    spans = [
        span("1", trace="1", took=5), span("2", trace="2", took=7, at=1, status="ERROR"),
        span("3", trace="3", took=9, name="x", **incoming), span("4", trace="4", took=99, name="shard.compaction"),
        span("5", trace="5", took=98, name="y", **outgoing), span("6", trace="6", took=1, at=9, status="ERROR"),
        span("7", trace="7", took=97, name="evenshard.v1.AdminService/WaitOperation", **incoming),
    ]  # fmt: skip

    def chosen(**how: Any) -> list[str]:
        wanted = {"trace_id": None, "limit": 3, "failed": False, "background": False} | how
        return [tree.trace_id for tree in chosen_of(spans, **wanted)]

    assert chosen() == ["3", "2", "1"]
    assert chosen(background=True) == ["4", "5", "7"]
    assert chosen(failed=True) == ["6", "2"]
    assert chosen(trace_id="4") == ["4"]
    assert chosen(trace_id="8") == []


def test_a_trace_travels_whole() -> None:
    attributes = {"evenshard.rows": 3, "evenshard.cache_hit": False, "share": 0.5, "evenshard.tenant": "é"}
    one = span("1", "0", attributes=attributes, links=(("b", "9"),), status="ERROR")
    assert span_document_of(span_message(one)) == one | {"attributes": dict(sorted(attributes.items()))}
    (tree,) = chosen_of([span("1", links=(("b", "9"),)), span("9", trace="b")], "a", 1, failed=False, background=False)
    assert ids(tree.linked) == ["9"]
    assert trace_document_of(trace_message(tree)) == trace_document(tree)


def test_what_is_no_trace_id_and_no_limit_is_refused() -> None:
    assert trace_id_of("AB" * 16) == "ab" * 16
    for text in ("", "ab", "g" * 32, "a" * 33):
        with pytest.raises(EvenshardError, match="QUERY_INVALID"):
            trace_id_of(text)
    assert limit_of(debug_pb2.ListTracesRequest()) == 10
    for limit in (-1, 1_001):
        with pytest.raises(EvenshardError, match="QUERY_INVALID"):
            limit_of(debug_pb2.ListTracesRequest(limit=limit))


WATERFALL = """\
router.import: 100.0 ms at 1970-01-01T00:00:00.000+00:00, trace a
span                         service   starts ms  takes ms
router.import                router-0       0.00    100.00  ██████████████████████████████  rows 1,000
  ShardService/AppendEvents  router-0      50.00     50.00                 ███████████████  failed GONE, to shard-1
    shard.append             shard-1       50.00     10.00                 ███
      → shard.log.sync       shard-1       51.00      1.00                 ▎

did not answer: shard-0"""


def test_a_waterfall_shows_who_did_what_when_and_how_it_failed() -> None:
    spans = [
        span("1", name="router.import", took=100, attributes={"evenshard.rows": 1_000}),
        span(
            "2", "1", name="evenshard.v1.ShardService/AppendEvents", at=50, took=50, status="ERROR",
            attributes={"error.type": "GONE", "evenshard.peer": "shard-1", "evenshard.shard": "shard-1"},
        ),
        span("3", "2", name="shard.append", service="shard-1", at=50, took=10, links=(("b", "9"),)),
        span("9", trace="b", name="shard.log.sync", service="shard-1", at=51),
    ]  # fmt: skip
    (tree,) = chosen_of(spans, "a", 1, failed=False, background=False)
    document = {"traces": [trace_document(tree)], "missing": ["shard-0"]}
    assert paint(trace_blocks(document)).replace(" \n", "\n") == WATERFALL
    assert max(map(len, paint(trace_blocks(document), Look(width=80)).splitlines())) <= 80
    assert paint(trace_blocks({"traces": [], "missing": []})) == "no trace is remembered that is one of these"


def test_a_clock_of_another_machine_draws_no_bar_out_of_its_place() -> None:
    spans = [span("1", took=10, at=1), span("2", "1", at=0, took=100), span("3", "1", at=10.9, took=0.1)]
    (tree,) = chosen_of(spans, "a", 1, failed=False, background=False)
    lines = paint(trace_blocks({"traces": [trace_document(tree)], "missing": []})).splitlines()
    assert len({len(line) for line in lines[2:]}) <= 3
