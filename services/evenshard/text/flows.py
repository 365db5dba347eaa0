"""Flows for people: step by step the events, and under each where its users went, a bar each."""

from collections.abc import Mapping
from typing import Any, Final

from evenshard.text.cells import cut, percent, printable
from evenshard.text.table import Bar, Block, Column, Table

_NAME_WIDTH_MAX: Final = 48
END: Final = "(end)"

Row = Mapping[str, Any]


def flows_blocks(document: Mapping[str, Any], direction: str = "forward") -> list[Block]:
    """The document of ``query flows``. Bars are shares of all anchors; percentages under an event are of its users."""
    anchors, edges = document["anchors"], document["edges"]
    lines: list[tuple[str, int, str]] = []
    for node in document["nodes"]:
        lines.append((f"{node['step']}  {_name(node['name'])}", node["count"], ""))
        branches = [
            (_name(edge["to"]), edge["count"])
            for edge in edges
            if edge["step"] == node["step"] + 1 and edge["from"] == node["name"]
        ]
        branches += [(END, node["dropoff"])] if node["dropoff"] else []
        for at, (name, count) in enumerate(branches):
            knee = "└─" if at == len(branches) - 1 else "├─"
            lines.append((f"   {knee} {name}", count, percent(count / node["count"]) if node["count"] else ""))
    rows = [[text, count, Bar(count / anchors if anchors else 0), share] for text, count, share in lines]
    before = ", by what they did before" if direction == "backward" else ""
    return [Table([Column(), Column(), Column(), Column("", True)], rows, f"{anchors:,} users{before}")]


def _name(name: str) -> str:
    return cut(printable(name), _NAME_WIDTH_MAX)
