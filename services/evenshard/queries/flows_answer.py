"""The gateway's half of flows: plan what shards are asked, add up their partials, cut to the top, finish.

Partials hold every hop by names, so that totals are over everybody before anything is cut. Within sessions nobody
knows how far to read beyond the range: a margin is read, and a wider one where sessions reach its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.buckets import days_ms
from evenshard.queries.flows import CUT_SHORT
from evenshard.queries.flows_model import SESSION, FlowsQuery
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.groups import Integers
from evenshard.queries.plan import END_OF_TIME_MS

DAY_MS: Final = 86_400_000
MARGINS_MS: Final = (DAY_MS, 32 * DAY_MS, 366 * DAY_MS, END_OF_TIME_MS)
"""How far beyond the range sessions are followed, one after the other."""
EDGES_MAX: Final = 200_000
"""Edges of an answer."""
REST: Final = "$other"


@dataclass(frozen=True, slots=True)
class Node:
    """An event at a step; of ``count`` users the paths of ``dropoff`` end there."""

    step: int
    name: str
    count: int
    dropoff: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A hop to ``step``; ``before`` is nearer the anchor."""

    step: int
    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class FlowsAnswer:
    """Nodes and edges by step, largest first; of nodes ``$other`` is last."""

    anchors: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def plan_flows(query: FlowsQuery, zone: ZoneInfo, *, dedupe: bool, margin: int = 0) -> FlowsScan:
    """What to ask the shards; sessions are followed for ``MARGINS_MS[margin]``. Raises ``RANGE_INVALID``."""
    anchors = days_ms(query.from_date, query.to_date, zone)
    beyond_ms = MARGINS_MS[margin] if query.window_ms == SESSION else query.window_ms
    backward = query.direction == "backward"
    return FlowsScan(
        start_ms=max(0, anchors[0] - beyond_ms) if backward else anchors[0],
        end_ms=anchors[-1] if backward else anchors[-1] + beyond_ms,
        anchors_ms=tuple(anchors),
        anchor=query.anchor,
        backward=backward,
        steps=query.steps,
        window_ms=query.window_ms,
        collapse_repeats=query.collapse_repeats,
        where=query.where,
        skip_duplicates=dedupe and not query.include_duplicates,
    )


def merge(partials: Sequence[pa.Table]) -> pa.Table:
    """Several partials as one; associative."""
    cut_short = 0
    for partial in partials:
        cut_short += int(partial.schema.metadata[CUT_SHORT])
    table = pa.concat_tables([partial.replace_schema_metadata(None) for partial in partials])
    summed = table.group_by(["step", "from", "to"]).aggregate([("users", "sum")])
    summed = summed.select(["step", "from", "to", "users_sum"]).rename_columns(table.schema.names)
    return summed.replace_schema_metadata({CUT_SHORT: str(cut_short).encode()})


def is_cut_short(merged: pa.Table) -> bool:
    """Whether a session may go on beyond what was read."""
    return int(merged.schema.metadata[CUT_SHORT]) > 0


def finish(query: FlowsQuery, merged: pa.Table) -> FlowsAnswer:
    """The answer. Raises ``QUERY_INVALID`` where it would be too large."""
    table = pa.chunked_array([*merged.column("from").chunks, *merged.column("to").chunks], pa.utf8())
    encoded = table.dictionary_encode()
    found = encoded.chunk(encoded.num_chunks - 1).dictionary.to_pylist() if encoded.num_chunks else []
    codes = np.concatenate([np.zeros(0, np.int32), *(chunk.indices.to_numpy() for chunk in encoded.chunks)])
    names = sorted(found, key=str.encode)
    place = {name: at for at, name in enumerate(names)}
    ranks = np.array([place[name] for name in found], np.int64)[codes]
    before, after = ranks[: merged.num_rows], ranks[merged.num_rows :]
    steps, users = merged.column("step").to_numpy().astype(np.int64), merged.column("users").to_numpy()

    shape = (query.steps + 1, max(1, len(names)))
    counts, left = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(counts, (steps, after), users)
    hop = steps > 0
    np.add.at(left, (steps[hop] - 1, before[hop]), users[hop])
    ends = counts - left
    ends[query.steps] = 0
    slots, shown = _cut(counts, query.top)
    labels = [[*(names[at] for at in step), REST] for step in shown]
    return FlowsAnswer(
        int(counts[0].sum()),
        tuple(
            Node(step, name, int(counts[step][slots[step] == slot].sum()), int(ends[step][slots[step] == slot].sum()))
            for step in range(query.steps + 1)
            for slot, name in enumerate(labels[step])
            if counts[step][slots[step] == slot].any()
        ),
        _edges(steps[hop], slots[steps[hop] - 1, before[hop]], slots[steps[hop], after[hop]], users[hop], labels),
    )


def _cut(counts: npt.NDArray[np.int64], top: int) -> tuple[npt.NDArray[np.int64], list[list[int]]]:
    """For each step and name its place among those shown (the rest: after all), and the names shown."""
    slots = np.empty_like(counts)
    shown: list[list[int]] = []
    for step, mine in enumerate(counts):
        best = np.argsort(-mine, kind="stable")[:top]
        best = best[mine[best] > 0]
        slots[step] = len(best)
        slots[step][best] = np.arange(len(best))
        shown.append(best.tolist())
    return slots, shown


def _edges(
    steps: Integers, before: Integers, after: Integers, users: Integers, labels: Sequence[Sequence[str]]
) -> tuple[Edge, ...]:
    """Hops between the places of names at their steps, those between the same put together."""
    width = max(map(len, labels))
    keys = (steps * width + before) * width + after
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    if len(first) > EDGES_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"an answer of {len(first)} edges exceeds {EDGES_MAX}",
            hint="ask for fewer steps, or fewer names a step (top)",
            fields=(FieldFault("top", "the answer would be too large"),),
        )
    sums = np.add.reduceat(users[order], first) if len(first) else users

    def rank(edge: tuple[int, int, int, int]) -> tuple[int, int, tuple[bool, bytes], tuple[bool, bytes]]:
        step, one, other, count = edge
        ends = ((labels[at], slot) for at, slot in ((step - 1, one), (step, other)))
        left, right = ((slot == len(names) - 1, names[slot].encode()) for names, slot in ends)
        return step, -count, left, right

    found = [
        (key // width // width, key // width % width, key % width, count)
        for key, count in zip(keys[first].tolist(), sums.tolist(), strict=True)
    ]
    return tuple(
        Edge(step, labels[step - 1][one], labels[step][other], count)
        for step, one, other, count in sorted(found, key=rank)
    )
