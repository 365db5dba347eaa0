"""The traces of the whole cluster: what each process remembers of its part, joined."""

import asyncio
from collections.abc import Sequence
from typing import Final

from evenshard.api.v1 import debug_pb2
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ports.peers import Peers
from evenshard.runtime.services import ServiceView
from evenshard.runtime.traces import own_traces
from evenshard.wire.rpcs import LIST_TRACES
from evenshard.wire.traces import (
    LIMIT_MAX,
    TRACE_IDS_MAX,
    SpanDocument,
    Tree,
    is_call,
    limit_of,
    linked_traces,
    newest_first,
    slowest_first,
    span_document_of,
    trace_ids_of,
    trace_message,
    trees_of,
    whole_traces,
    with_linked,
)

ROUND_TIMEOUT_S: Final = 3.0
"""A process that is silent so long is left out of what is asked next."""
SHARE_OF_ROUND: Final = 0.25
"""Of the time the caller waits: there are three rounds, and the answer."""
CALLS_AT_ONCE: Final = 64
CANDIDATES: Final = 3
"""Times as many as are wanted: some turn out to be parts of others."""


class ClusterTraces:
    """Asks every process that the directory lists, but for this one, which knows its own."""

    def __init__(self, name: str, peers: Peers, services: ServiceView) -> None:
        self._name = name
        self._peers = peers
        self._services = services

    async def find(self, request: debug_pb2.ListTracesRequest, remaining_s: float) -> debug_pb2.ListTracesResponse:
        """Raises ``QUERY_INVALID``."""
        limit, trace_ids = limit_of(request), trace_ids_of(request)
        asking = _Asking(self._peers, self._others(), min(ROUND_TIMEOUT_S, SHARE_OF_ROUND * remaining_s))
        if trace_ids:
            trees = whole_traces(await asking.of(trace_ids))
        else:
            trees = await self._chosen(request, limit, asking)
        linked = await asking.of(linked_traces(trees)[:TRACE_IDS_MAX])
        return debug_pb2.ListTracesResponse(
            traces=[trace_message(with_linked(tree, linked)) for tree in trees], missing=sorted(asking.missing)
        )

    async def _chosen(self, request: debug_pb2.ListTracesRequest, limit: int, asking: "_Asking") -> list[Tree]:
        """The slowest, or the newest that failed: first which, as every process sees its part; then all of these."""
        wanted = debug_pb2.ListTracesRequest(
            limit=min(2 * limit, LIMIT_MAX), failed=request.failed, background=request.background
        )
        trees = trees_of(await asking.all(wanted))
        if request.failed:
            trees = [tree for tree in trees if tree.failed]
        trees.sort(key=newest_first if request.failed else slowest_first)
        candidates = trees[: CANDIDATES * limit]
        known = [span for tree in trees for span in tree.spans]
        more = await asking.of(list(dict.fromkeys(tree.trace_id for tree in candidates))[:TRACE_IDS_MAX])
        whole = {span["span_id"]: tree for tree in trees_of([*known, *more]) for span in tree.spans}
        # Two may turn out to be one, and what was a call to one process to be done in the background by another.
        roots = [tree.roots[0]["span_id"] for tree in candidates]
        chosen = {whole[root].roots[0]["span_id"]: whole[root] for root in roots}.values()
        return [tree for tree in chosen if request.background or is_call(tree.roots[0])][:limit]

    def _others(self) -> list[ServiceRecord]:
        return [record for record in self._services.all() if record.name != self._name and record.kind != "etcd"]


class _Asking:
    """Several rounds of questions to the same processes."""

    def __init__(self, peers: Peers, others: Sequence[ServiceRecord], timeout_s: float) -> None:
        self._peers = peers
        self._others = others
        self._timeout_s = max(0.05, timeout_s)
        self._at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        self.missing: list[str] = []

    async def of(self, trace_ids: Sequence[str]) -> list[SpanDocument]:
        """Everything of these traces."""
        return await self.all(debug_pb2.ListTracesRequest(trace_ids=trace_ids)) if trace_ids else []

    async def all(self, request: debug_pb2.ListTracesRequest) -> list[SpanDocument]:
        request.own = True
        found = [own_traces(request)]

        async def ask(record: ServiceRecord) -> None:
            try:
                async with self._at_once:
                    answer = await self._peers.call(record.address, LIST_TRACES, request, timeout_s=self._timeout_s)
                found.append(answer)
            except EvenshardError:
                self.missing.append(record.name)  # said in the answer

        async with asyncio.TaskGroup() as group:
            for record in self._others:
                if record.name not in self.missing:
                    group.create_task(ask(record))
        return [span_document_of(span) for answer in found for each in answer.traces for span in each.spans]
