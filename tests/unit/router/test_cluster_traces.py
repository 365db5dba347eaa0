"""The traces of a cluster: parts that processes remember are joined, whoever is silent is named."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from evenshard.api.v1 import debug_pb2
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.router import cluster_traces
from evenshard.router.cluster_traces import ClusterTraces
from evenshard.wire.traces import trace_message, trees_of

MS = 1_000_000
SpanDict = dict[str, Any]


def span(
    trace: str, span_id: str, parent: str | None, service: str, at: float, took: float, *, calls: str = "",
    incoming: bool = False, links: Sequence[tuple[str, str]] = (), failed: bool = False,
) -> SpanDict:  # fmt: skip
    attributes: dict[str, Any] = {"rpc.method": "m"} if calls or incoming else {}
    return {
        "trace_id": trace * 32, "span_id": span_id, "parent_span_id": parent, "name": "x", "service": service,
        "start_unix_ns": int(at * MS), "end_unix_ns": int((at + took) * MS), "status": "ERROR" if failed else "OK",
        "attributes": attributes | ({"server.address": calls} if calls else {}),
        "links": [{"trace_id": each * 32, "span_id": other} for each, other in links],
    }  # fmt: skip


class Process:
    """Remembers some spans; answers as a process does, each root by itself."""

    def __init__(self, spans: Sequence[SpanDict], *, slowest: Sequence[str] = ()) -> None:
        self.spans = spans
        self.slowest = slowest
        """Traces that it would tell of, unasked."""

    def answer(self, request: debug_pb2.ListTracesRequest) -> debug_pb2.ListTracesResponse:
        assert request.own
        wanted = request.trace_ids or [each * 32 for each in self.slowest]
        trees = trees_of([each for each in self.spans if each["trace_id"] in wanted])
        return debug_pb2.ListTracesResponse(traces=map(trace_message, trees))


class Cluster:
    """Peers and services at once; a process that is None does not answer."""

    def __init__(self, processes: Mapping[str, Process | None], own: Process) -> None:
        self.processes = processes
        self.own = own
        self.calls: list[str] = []

    def all(self) -> list[ServiceRecord]:
        kinds = {name: name.rpartition("-")[0] for name in [*self.processes, "router-0", "etcd-0"]}
        return [ServiceRecord(name, kind, name, "host", 1, 0) for name, kind in kinds.items()]  # type: ignore[arg-type]

    async def call(self, address: str, rpc: Any, request: Any, *, timeout_s: float) -> Any:
        self.calls.append(address)
        process = self.processes[address]
        if process is None:
            raise EvenshardError("DEADLINE_EXCEEDED", f"{address} is silent")
        return process.answer(request)

    async def find(self, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> debug_pb2.ListTracesResponse:
        monkeypatch.setattr(cluster_traces, "own_traces", self.own.answer)
        traces = ClusterTraces("router-0", self, self)  # type: ignore[arg-type]
        return await traces.find(debug_pb2.ListTracesRequest(**wanted), 10.0)


def ids(answer: debug_pb2.ListTracesResponse) -> list[list[str]]:
    return [[each.span_id for each in trace.spans] for trace in answer.traces]


async def test_the_slowest_are_whole_though_only_one_process_found_them_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Process(
        [
            span("a", "a1", "client", "router-0", 0, 90, incoming=True),
            span("a", "a2", "a1", "router-0", 1, 80, calls="s"),
            span("b", "b1", None, "router-0", 0, 50, incoming=True),
            span("c", "c1", None, "router-0", 0, 40, incoming=True),
        ],
        slowest="abc",
    )  # fmt: skip
    shard = Process([span("a", "a3", "a2", "shard-0", 2, 70, incoming=True, links=[("d", "d1")]),
                     span("d", "d1", None, "shard-0", 3, 1)])  # fmt: skip
    cluster = Cluster({"shard-0": shard, "shard-1": None}, router)
    answer = await cluster.find(monkeypatch, limit=2)
    assert ids(answer) == [["a1", "a2", "a3"], ["b1"]]
    assert [each.span_id for each in answer.traces[0].linked] == ["d1"]
    assert list(answer.missing) == ["shard-1"]
    assert cluster.calls.count("shard-1") == 1  # it is not waited for again
    assert "etcd-0" not in cluster.calls


async def test_what_two_processes_tell_of_turns_out_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    root = span("a", "a1", None, "router-0", 0, 90, incoming=True)
    router = Process([root, span("a", "a2", "a1", "router-0", 1, 85, calls="s")])
    shard = Process([span("a", "a3", "a2", "shard-0", 2, 80, incoming=True),
                     span("b", "b1", None, "shard-0", 0, 5, incoming=True)],
                    slowest="ab")  # fmt: skip
    answer = await Cluster({"shard-0": shard}, router).find(monkeypatch, limit=5)
    assert ids(answer) == [["a1", "a2", "a3"], ["b1"]]
    assert [trace.duration_ms for trace in answer.traces] == [90, 5]


async def test_what_the_router_did_in_the_background_is_no_call_though_it_is_one_to_a_counter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Process([span("a", "a1", None, "router-0", 0, 90, calls="counter")])
    counter = Process([span("a", "a2", "a1", "counter-0", 1, 80, incoming=True)], slowest="a")
    cluster = Cluster({"counter-0": counter}, router)
    assert ids(await cluster.find(monkeypatch, limit=5)) == []
    assert ids(await cluster.find(monkeypatch, limit=5, background=True)) == [["a1", "a2"]]


async def test_one_trace_has_all_its_calls_and_failures_come_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Process(
        [
            span("a", "a1", "client", "router-0", 0, 10, incoming=True),
            span("a", "a2", "client", "router-0", 20, 10, incoming=True, failed=True),
            span("b", "b1", None, "router-0", 30, 1, incoming=True, failed=True),
        ],
        slowest="ab",
    )  # fmt: skip
    cluster = Cluster({}, router)
    answer = await cluster.find(monkeypatch, trace_ids=["A" * 32])
    assert (ids(answer), answer.traces[0].duration_ms) == ([["a1", "a2"]], 30)
    assert ids(await cluster.find(monkeypatch, failed=True)) == [["b1"], ["a2"]]
    assert ids(await cluster.find(monkeypatch, trace_ids=["f" * 32])) == []
    with pytest.raises(EvenshardError, match="QUERY_INVALID"):
        await cluster.find(monkeypatch, trace_ids=["f"])
