"""Flows: protobuf ↔ ours, on the gateway's side."""

from evenshard.api.v1 import query_pb2
from evenshard.queries.flows_answer import FlowsAnswer
from evenshard.queries.flows_model import FlowsQuery, flows_query
from evenshard.wire.retention import step_of


def flows_query_of(request: query_pb2.QueryFlowsRequest) -> FlowsQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return flows_query(
        from_date=request.from_date,
        to_date=request.to_date,
        anchor=step_of(request.anchor) if request.HasField("anchor") else None,
        direction=request.direction,
        steps=request.steps,
        window_ms=request.window_ms if request.HasField("window_ms") else None,
        session=request.session,
        top=request.top,
        collapse_repeats=request.collapse_repeats,
        where=request.where,
        include_duplicates=request.options.include_duplicates,
    )


def flows_body(answer: FlowsAnswer) -> bytes:
    """A ``QueryFlowsResponse`` without its account."""
    nodes = [
        query_pb2.FlowNode(step=node.step, name=node.name, count=node.count, dropoff=node.dropoff)
        for node in answer.nodes
    ]
    edges = []
    for edge in answer.edges:
        message = query_pb2.FlowEdge(step=edge.step, to=edge.after, count=edge.count)
        setattr(message, "from", edge.before)  # a word of Python's
        edges.append(message)
    return query_pb2.QueryFlowsResponse(anchors=answer.anchors, nodes=nodes, edges=edges).SerializeToString()
