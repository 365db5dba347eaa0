"""Flows asked and answered: the client's arguments as protobuf, the answer as values."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pyarrow as pa
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import Answer
from evenshard.client.results import meta_document
from evenshard.client.steps import at_least_one, step_message, window_ms
from evenshard.errors import EvenshardError
from evenshard.text.flows import flows_blocks
from evenshard.text.table import Block

SESSION: Final = "session"


@dataclass(frozen=True, slots=True, repr=False)
class FlowsResult(Answer):
    """What users did next, or before."""

    anchors: int
    """Users with an anchor."""
    nodes: list[dict[str, Any]]
    """``{"step", "name", "count", "dropoff"}``, by step, largest first; step 0 is the anchor."""
    edges: list[dict[str, Any]]
    """``{"step", "from", "to", "count"}``: hops to a step; ``from`` is nearer the anchor."""
    meta: dict[str, Any]
    direction: str = "forward"
    """forward, or backward: what users did before."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query flows``."""
        return {"anchors": self.anchors, "nodes": self.nodes, "edges": self.edges, "meta": self.meta}

    def to_arrow(self) -> pa.Table:
        """One row a hop: ``step`` (of ``to``), ``from``, ``to``, ``count``. Anchors come from null at step 0; where
        paths end ``to`` is null. So all that leave a node add up to those who came."""
        rows = [
            *((node["step"], None, node["name"], node["count"]) for node in self.nodes if not node["step"]),
            *((edge["step"], edge["from"], edge["to"], edge["count"]) for edge in self.edges),
            *((node["step"] + 1, node["name"], None, node["dropoff"]) for node in self.nodes if node["dropoff"]),
        ]
        rows.sort(key=lambda row: row[0])
        kinds = {"step": pa.int32(), "from": pa.utf8(), "to": pa.utf8(), "count": pa.int64()}
        return pa.table(
            {name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(kinds.items())}
        )

    def blocks(self) -> list[Block]:
        return flows_blocks(self.to_dict(), self.direction)

    def plot(self, ax: Any = None) -> Any:
        """Draws a column a step and bands from event to event, as high as their users are many; grey stubs are users
        whose path ends. Backward, the anchor stands to the right. Returns the matplotlib ``Axes``: ``ax``, or those of
        a new figure; needs matplotlib (``evenshard[plot]``)."""
        from evenshard.client.plots.flows import draw_flows

        return draw_flows(self, ax)


def flows_request(
    tenant: str,
    anchor: str,
    from_date: str | date,
    to_date: str | date,
    *,
    direction: str,
    steps: int,
    window: str,
    top: int,
    collapse_repeats: bool,
    where: str | None,
    include_duplicates: bool,
    restore_hot: bool,
    allow_partial: bool,
    no_cache: bool,
) -> query_pb2.QueryFlowsRequest:
    """Raises ``QUERY_INVALID`` for a step or a window that cannot be read."""
    session = window == SESSION
    return query_pb2.QueryFlowsRequest(
        tenant=tenant,
        from_date=str(from_date),
        to_date=str(to_date),
        anchor=step_message(anchor, "anchor"),
        direction=direction,
        steps=at_least_one("steps", steps),
        window_ms=None if session else window_ms(window),
        session=session,
        top=at_least_one("top", top),
        collapse_repeats=collapse_repeats,
        where=where or "",
        options=query_pb2.QueryOptions(
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        ),
    )


def parsed_flows(document: str | bytes) -> query_pb2.QueryFlowsRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.QueryFlowsRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no flows request: {error}") from error


def flows_result(answer: query_pb2.QueryFlowsResponse, direction: str = "forward") -> FlowsResult:
    """The answer as it came, as values."""
    return FlowsResult(
        answer.anchors,
        [{"step": node.step, "name": node.name, "count": node.count, "dropoff": node.dropoff} for node in answer.nodes],
        [
            {"step": edge.step, "from": getattr(edge, "from"), "to": edge.to, "count": edge.count}
            for edge in answer.edges
        ],
        meta_document(answer.meta),
        direction or "forward",
    )
