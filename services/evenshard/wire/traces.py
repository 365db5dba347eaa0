"""Spans as documents (a line of a trace file), as messages, and as the traces they make."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evenshard.api.v1 import debug_pb2
from evenshard.errors import EvenshardError, FieldFault

LIMIT_DEFAULT: Final = 10
LIMIT_MAX: Final = 1_000
TRACE_IDS_MAX: Final = 1_000
TRACE_ID_DIGITS: Final = 32
NEVER_SLOW: Final = frozenset(["evenshard.v1.AdminService/WaitOperation"])
"""Calls that take long on purpose."""
SPAN_FIELDS: Final = frozenset(
    ("trace_id", "span_id", "parent_span_id", "name", "service", "start_unix_ns", "end_unix_ns", "status", "attributes")
) | {"links"}
_NS_PER_MS: Final = 1_000_000

SpanDocument = Mapping[str, Any]
"""A span as the contract writes it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A root and the spans below it; of a trace looked at as a whole all its roots."""

    roots: Sequence[SpanDocument]
    """The first to begin first."""
    spans: Sequence[SpanDocument]
    """All, the first to begin first."""
    linked: Sequence[SpanDocument] = ()
    """Spans of other traces, that these are linked to."""

    @property
    def trace_id(self) -> str:
        return str(self.roots[0]["trace_id"])

    @property
    def duration_ms(self) -> float:
        ends = max(root["end_unix_ns"] for root in self.roots)
        return float(ends - self.roots[0]["start_unix_ns"]) / _NS_PER_MS

    @property
    def failed(self) -> bool:
        return any(span["status"] == "ERROR" for span in self.spans)


def trees_of(spans: Iterable[SpanDocument]) -> list[Tree]:
    """Every root with what is below it; a span whose parent is not among ``spans`` is a root. A span that is there
    twice counts once."""
    known = {(span["trace_id"], span["span_id"]): span for span in spans}
    below: dict[tuple[str, str], list[SpanDocument]] = defaultdict(list)
    roots = []
    for (trace_id, span_id), span in known.items():
        parent = (trace_id, span["parent_span_id"])
        if parent in known and parent[1] != span_id:
            below[parent].append(span)
        else:
            roots.append(span)
    return [Tree([root], _with_descendants(root, below)) for root in roots]


def _with_descendants(
    root: SpanDocument, below: Mapping[tuple[str, str], Sequence[SpanDocument]]
) -> list[SpanDocument]:
    found, open_spans = [root], [root]
    while open_spans:
        span = open_spans.pop()
        children = below.get((span["trace_id"], span["span_id"]), ())
        found += children
        open_spans += children
    return sorted(found, key=_begin)


def whole_traces(spans: Iterable[SpanDocument]) -> list[Tree]:
    """All spans of each trace, as one."""
    by_trace: dict[str, list[Tree]] = defaultdict(list)
    for tree in trees_of(spans):
        by_trace[tree.trace_id].append(tree)
    return [
        Tree(
            sorted((root for tree in trees for root in tree.roots), key=_begin),
            sorted((span for tree in trees for span in tree.spans), key=_begin),
        )
        for trees in by_trace.values()
    ]


def with_linked(tree: Tree, spans: Iterable[SpanDocument]) -> Tree:
    """``tree`` with those of ``spans`` that it is linked to."""
    wanted = {(link["trace_id"], link["span_id"]) for span in tree.spans for link in span["links"]}
    found = {key: span for span in spans if (key := (span["trace_id"], span["span_id"])) in wanted}
    return Tree(tree.roots, tree.spans, sorted(found.values(), key=_begin))


def linked_traces(trees: Iterable[Tree]) -> list[str]:
    """Ids of the traces that these are linked to."""
    found = (link["trace_id"] for tree in trees for span in tree.spans for link in span["links"])
    return list(dict.fromkeys(found))


def chosen_of(
    spans: Sequence[SpanDocument], trace_id: str | None, limit: int, *, failed: bool, background: bool
) -> list[Tree]:
    """Of all spans there are: the trace of this id, or the slowest traces of calls, the slowest first, or the newest
    that ``failed``; with ``background`` also those nobody waited for."""
    if trace_id is not None:
        trees = [tree for tree in whole_traces(spans) if tree.trace_id == trace_id]
    else:
        trees = [tree for tree in trees_of(spans) if background or is_call(tree.roots[0])]
        trees = [tree for tree in trees if tree.failed] if failed else trees
        trees.sort(key=newest_first if failed else slowest_first)
    return [with_linked(tree, spans) for tree in trees[:limit]]


def slowest_first(tree: Tree) -> float:
    return -tree.duration_ms


def newest_first(tree: Tree) -> int:
    return -int(tree.roots[0]["start_unix_ns"])


def is_call(root: SpanDocument) -> bool:
    """Whether somebody waited for it: a client's span, or a call that came in."""
    name = str(root["name"])
    return name not in NEVER_SLOW and (name.startswith("client.") or _is_incoming(root))


def _is_incoming(span: SpanDocument) -> bool:
    return "rpc.method" in span["attributes"] and "server.address" not in span["attributes"]


def is_span_document(value: Any) -> bool:
    """Whether it has all that a span has."""
    return isinstance(value, dict) and value.keys() >= SPAN_FIELDS


def _begin(span: SpanDocument) -> tuple[int, str]:
    return span["start_unix_ns"], span["span_id"]


def trace_document(tree: Tree) -> dict[str, Any]:
    """As the contract writes it."""
    return {
        "trace_id": tree.trace_id,
        "root": tree.roots[0]["name"],
        "duration_ms": tree.duration_ms,
        "spans": [dict(span) for span in tree.spans],
        "linked": [dict(span) for span in tree.linked],
    }


def trace_message(tree: Tree) -> debug_pb2.Trace:
    return debug_pb2.Trace(
        trace_id=tree.trace_id,
        root=tree.roots[0]["name"],
        duration_ms=tree.duration_ms,
        spans=map(span_message, tree.spans),
        linked=map(span_message, tree.linked),
    )


def trace_document_of(message: debug_pb2.Trace) -> dict[str, Any]:
    """The document of a trace that somebody else has put together."""
    return {
        "trace_id": message.trace_id,
        "root": message.root,
        "duration_ms": message.duration_ms,
        "spans": [span_document_of(span) for span in message.spans],
        "linked": [span_document_of(span) for span in message.linked],
    }


def span_message(span: SpanDocument) -> debug_pb2.Span:
    return debug_pb2.Span(
        trace_id=span["trace_id"],
        span_id=span["span_id"],
        parent_span_id=span["parent_span_id"] or "",
        name=span["name"],
        service=span["service"],
        start_unix_ns=span["start_unix_ns"],
        end_unix_ns=span["end_unix_ns"],
        failed=span["status"] == "ERROR",
        attributes={name: _attribute(value) for name, value in span["attributes"].items()},
        links=[debug_pb2.SpanLink(trace_id=link["trace_id"], span_id=link["span_id"]) for link in span["links"]],
    )


def span_document_of(message: debug_pb2.Span) -> dict[str, Any]:
    return {
        "trace_id": message.trace_id,
        "span_id": message.span_id,
        "parent_span_id": message.parent_span_id or None,
        "name": message.name,
        "service": message.service,
        "start_unix_ns": message.start_unix_ns,
        "end_unix_ns": message.end_unix_ns,
        "status": "ERROR" if message.failed else "OK",
        "attributes": {
            name: getattr(value, which)
            for name, value in sorted(message.attributes.items())
            if (which := value.WhichOneof("value")) is not None
        },
        "links": [{"trace_id": link.trace_id, "span_id": link.span_id} for link in message.links],
    }


def _attribute(value: Any) -> debug_pb2.AttributeValue:
    match value:
        case bool():
            return debug_pb2.AttributeValue(bool_value=value)
        case int():
            return debug_pb2.AttributeValue(int_value=value)
        case float():
            return debug_pb2.AttributeValue(double_value=value)
        case _:
            return debug_pb2.AttributeValue(string_value=str(value))


def limit_of(request: debug_pb2.ListTracesRequest) -> int:
    """Raises ``QUERY_INVALID``."""
    if not 0 <= request.limit <= LIMIT_MAX:
        raise _wrong("limit", f"{request.limit} is not between 0 and {LIMIT_MAX}")
    return request.limit or LIMIT_DEFAULT


def trace_ids_of(request: debug_pb2.ListTracesRequest) -> list[str]:
    """In lower case. Raises ``QUERY_INVALID``."""
    if len(request.trace_ids) > TRACE_IDS_MAX:
        raise _wrong("trace_ids", f"{len(request.trace_ids)} are too many: at most {TRACE_IDS_MAX}")
    return [trace_id_of(text) for text in request.trace_ids]


def trace_id_of(text: str) -> str:
    """In lower case. Raises ``QUERY_INVALID`` for what is none."""
    if len(text) != TRACE_ID_DIGITS or set(text.lower()) - set("0123456789abcdef"):
        raise _wrong("trace_ids", f"{text!r} is no trace id: it has {TRACE_ID_DIGITS} hex digits")
    return text.lower()


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
