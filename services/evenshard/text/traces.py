"""Traces as waterfalls, for people: what each process did, from when until when, one below what it is part of."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from evenshard.text.cells import shown
from evenshard.text.table import Bar, Block, Column, Lines, Table

_OURS: Final = "evenshard."
_SAID_ELSEWHERE: Final = frozenset(["evenshard.shard", "evenshard.peer"])
_LINKED: Final = "→ "
_NS_PER_MS: Final = 1_000_000
SPANS_SHOWN_MAX: Final = 500
"""Of one trace; the document has all."""

Span = Mapping[str, Any]


def trace_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``traces``."""
    blocks: list[Block] = [_waterfall(trace) for trace in document["traces"]]
    if not blocks:
        blocks.append(Lines(["no trace is remembered that is one of these"], "quiet"))
    if document["missing"]:
        blocks.append(Lines([f"did not answer: {', '.join(document['missing'])}"], "warning"))
    return blocks


def _waterfall(trace: Mapping[str, Any]) -> Table:
    spans = list(trace["spans"])
    begin_ns = spans[0]["start_unix_ns"]
    whole_ns = max(1, max(span["end_unix_ns"] for span in spans) - begin_ns)
    rows = []
    for depth, span in _in_order(spans, trace["linked"]):
        starts_ns, takes_ns = span["start_unix_ns"] - begin_ns, span["end_unix_ns"] - span["start_unix_ns"]
        is_linked = span["trace_id"] != trace["trace_id"]
        rows.append(
            (
                "  " * depth + (_LINKED if is_linked else "") + span["name"].removeprefix("evenshard.v1."),
                span["service"],
                round(starts_ns / _NS_PER_MS, 1),
                round(takes_ns / _NS_PER_MS, 1),
                # Of another machine, by whose clock it may begin earlier, or end later.
                Bar(min(1.0, takes_ns / whole_ns), begins=min(1.0, max(0.0, starts_ns / whole_ns))),
                _said(span),
            )
        )
    at = datetime.fromtimestamp(begin_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    left_out = len(rows) - SPANS_SHOWN_MAX
    return Table(
        [
            Column("span"),
            Column("service"),
            Column("starts ms", right=True),
            Column("takes ms", right=True),
            Column("", right=False, spare=2),
            Column("", spare=1),
        ],
        rows[:SPANS_SHOWN_MAX],
        caption=f"{trace['root']}: {trace['duration_ms']:,.1f} ms at {at}, trace {trace['trace_id']}",
        notes=[f"… {left_out:,} more spans"] if left_out > 0 else [],
    )


def _in_order(spans: Sequence[Span], linked: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each below what it is part of, with how deep; what it is linked to below it too, once."""
    known = {span["span_id"] for span in spans}
    below: dict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        below[span["parent_span_id"] if span["parent_span_id"] in known else None].append(span)
    others = {(span["trace_id"], span["span_id"]): span for span in linked}
    stack = [(0, span) for span in reversed(below[None])]
    while stack:
        depth, span = stack.pop()
        yield depth, span
        for link in span["links"]:
            other = others.pop((link["trace_id"], link["span_id"]), None)
            if other is not None:
                yield depth + 1, other
        stack += [(depth + 1, child) for child in reversed(below[span["span_id"]])]


def _said(span: Span) -> str:
    """How it failed, whom it called, and what it says of itself."""
    attributes = span["attributes"]
    failed = [f"failed {attributes.get('error.type', '')}".rstrip()] if span["status"] == "ERROR" else []
    peer = attributes.get("evenshard.peer") or attributes.get("server.address")
    to = [f"to {peer}"] if peer else []
    rest = [
        f"{name.removeprefix(_OURS)} {shown(value)}"
        for name, value in attributes.items()
        if name.startswith(_OURS) and name not in _SAID_ELSEWHERE
    ]
    return ", ".join([*failed, *to, *rest])
