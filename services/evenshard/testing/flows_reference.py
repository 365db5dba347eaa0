"""Flows found naively: each user's path is written down, and paths are counted.

Rows are those of ``reference``: dicts as answers show them, duplicates marked.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from evenshard.testing.reference import Row
from evenshard.testing.retention_reference import Matcher, local_date, matches, users_of

SESSION_GAP_MS = 30 * 60_000


def sessions_of(rows: Sequence[Row], include_duplicates: bool) -> dict[int, int]:
    """For each event of somebody, by its identity as an object, the number of its session."""
    numbers: dict[int, int] = {}
    for events in users_of(rows, lambda row: True, include_duplicates).values():
        number = 0
        for before, row in zip([events[0], *events], events, strict=False):
            number += row["time"] - before["time"] > SESSION_GAP_MS
            numbers[id(row)] = number
    return numbers


def flows(
    rows: Sequence[Row],
    from_date: str,
    to_date: str,
    anchor: Matcher,
    *,
    direction: str = "forward",
    steps: int = 3,
    window_ms: int = 30 * 86_400_000,
    session: bool = False,
    top: int = 10,
    collapse_repeats: bool = False,
    timezone: str = "UTC",
    where: Callable[[Row], bool] = lambda row: True,
    include_duplicates: bool = False,
) -> dict[str, Any]:
    """``{"anchors", "nodes", "edges"}`` of one tenant's rows."""
    zone = ZoneInfo(timezone)
    sessions = sessions_of(rows, include_duplicates)

    def opens(row: Row) -> bool:
        in_range = date.fromisoformat(from_date) <= local_date(row["time"], zone) <= date.fromisoformat(to_date)
        return in_range and matches(row, anchor)

    paths: list[list[str]] = []
    for events in users_of(rows, where, include_duplicates).values():
        at = next((number for number, row in enumerate(events) if opens(row)), None)
        if at is None:
            continue

        def follows(row: Row, first: Row = events[at]) -> bool:
            if session:
                return sessions[id(row)] == sessions[id(first)]
            return bool(abs(row["time"] - first["time"]) <= window_ms)

        outward = events[at:] if direction == "forward" else events[at::-1]
        path = [row["event"] for row in outward if follows(row)]
        if collapse_repeats:
            path = [name for name, _ in groupby(path)]
        paths.append(path[: steps + 1])

    return {"anchors": len(paths), **cut(paths, steps, top)}


def cut(paths: Sequence[Sequence[str]], steps: int, top: int) -> dict[str, Any]:
    """Everybody's paths are counted, then names beyond the top of their step are put together."""
    nodes = Counter((step, name) for path in paths for step, name in enumerate(path))
    ends = Counter((len(path) - 1, path[-1]) for path in paths if len(path) <= steps)
    hops = Counter((step, path[step - 1], path[step]) for path in paths for step in range(1, len(path)))

    shown = []
    for step in range(steps + 1):
        ranked = sorted((-count, name.encode(), name) for (at, name), count in nodes.items() if at == step)
        shown.append([name for _, _, name in ranked[:top]])

    def label(step: int, name: str) -> str | None:
        return name if name in shown[step] else None

    cut_nodes: Counter[Any] = Counter()
    cut_ends: Counter[Any] = Counter()
    cut_hops: Counter[Any] = Counter()
    for (step, name), count in nodes.items():
        cut_nodes[step, label(step, name)] += count
        cut_ends[step, label(step, name)] += ends[step, name]
    for (step, one, other), count in hops.items():
        cut_hops[step, label(step - 1, one), label(step, other)] += count

    def last(name: str | None) -> tuple[bool, bytes]:
        """The rest after all names."""
        return name is None, (name or "").encode()

    def named(name: str | None) -> str:
        return "$other" if name is None else name

    return {
        "nodes": [
            {"step": step, "name": named(name), "count": count, "dropoff": cut_ends[step, name]}
            for (step, name), count in sorted(
                cut_nodes.items(), key=lambda node: (node[0][0], node[0][1] is None, -node[1], last(node[0][1]))
            )
        ],
        "edges": [
            {"step": step, "from": named(one), "to": named(other), "count": count}
            for (step, one, other), count in sorted(
                cut_hops.items(), key=lambda hop: (hop[0][0], -hop[1], last(hop[0][1]), last(hop[0][2]))
            )
        ],
    }
