"""Where the bands of flows lie: columns of events, each as high as its users are many. Pure.

x is the column, y grows downwards; heights are shares of all anchors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OTHER: Final = "$other"
LABEL_HEIGHT: Final = 0.055
"""No event takes less room than its name needs."""
_GAP: Final = 0.02

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Box:
    """An event at a step; users that end there are the lowest ``dropoff`` of its height."""

    step: int
    name: str
    count: int
    top: float
    height: float
    dropoff: float

    @property
    def place(self) -> float:
        """How high its place is, what lies between it and the next one included."""
        return max(self.height, LABEL_HEIGHT) + _GAP


@dataclass(frozen=True, slots=True)
class Band:
    """Users that went from one event to the next: from ``source_top`` at column ``step - 1`` to ``target_top``."""

    step: int
    source: str
    target: str
    count: int
    source_top: float
    target_top: float
    height: float


@dataclass(frozen=True, slots=True)
class Sankey:
    """All of it, and how far down it reaches."""

    boxes: Sequence[Box]
    bands: Sequence[Band]
    bottom: float


def lay_out(anchors: int, nodes: Sequence[Row], edges: Sequence[Row]) -> Sankey:
    """Events in the order they come in (the largest first), the rest last."""
    whole = anchors or 1
    boxes: dict[tuple[int, str], Box] = {}
    down: dict[int, float] = {}
    for node in sorted(nodes, key=lambda each: (each["step"], each["name"] == OTHER)):
        step, height = node["step"], node["count"] / whole
        top = down.get(step, 0.0)
        box = Box(step, node["name"], node["count"], top, height, node["dropoff"] / whole)
        boxes[step, node["name"]] = box
        down[step] = top + box.place
    return Sankey(list(boxes.values()), _bands(boxes, edges, whole), max(down.values(), default=1.0))


def _bands(boxes: Mapping[tuple[int, str], Box], edges: Sequence[Row], whole: int) -> list[Band]:
    """Bands leave and arrive in the order of the events at their other end, so that few cross."""

    def source(edge: Row) -> Box:
        return boxes[edge["step"] - 1, edge["from"]]

    def target(edge: Row) -> Box:
        return boxes[edge["step"], edge["to"]]

    known = [edge for edge in edges
             if (edge["step"] - 1, edge["from"]) in boxes and (edge["step"], edge["to"]) in boxes]  # fmt: skip
    leaving: dict[tuple[int, str], float] = {}
    starts: dict[int, float] = {}
    for edge in sorted(known, key=lambda each: (each["step"], source(each).top, target(each).top)):
        box = source(edge)
        starts[id(edge)] = leaving.get((box.step, box.name), box.top)
        leaving[box.step, box.name] = starts[id(edge)] + edge["count"] / whole
    arriving: dict[tuple[int, str], float] = {}
    bands = []
    for edge in sorted(known, key=lambda each: (each["step"], target(each).top, source(each).top)):
        box = target(edge)
        top = arriving.get((box.step, box.name), box.top)
        arriving[box.step, box.name] = top + edge["count"] / whole
        bands.append(
            Band(edge["step"], edge["from"], edge["to"], edge["count"], starts[id(edge)], top, edge["count"] / whole)
        )
    return bands
