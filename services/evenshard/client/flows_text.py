"""Flows for a terminal: step by step the events, and under each where its users went, a bar each."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_WIDTH: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_NAME_MAX: Final = 48
END: Final = "(end)"

Row = Mapping[str, Any]


def tree_text(anchors: int, nodes: Sequence[Row], edges: Sequence[Row]) -> str:
    """Bars are shares of all anchors; percentages under an event are of its own users."""
    lines: list[tuple[str, int, float]] = []
    for node in nodes:
        lines.append((f"{node['step']}  {_short(node['name'])}", node["count"], 1.0))
        branches = [
            (_short(edge["to"]), edge["count"])
            for edge in edges
            if edge["step"] == node["step"] + 1 and edge["from"] == node["name"]
        ]
        branches += [(END, node["dropoff"])] if node["dropoff"] else []
        for at, (name, count) in enumerate(branches):
            knee = "└─" if at == len(branches) - 1 else "├─"
            lines.append((f"   {knee} {name}", count, count / node["count"]))
    name_width = max((len(text) for text, _, _ in lines), default=0)
    count_width = max((len(f"{count:,}") for _, count, _ in lines), default=0)
    texts = [f"{anchors:,} users"]
    for text, count, share in lines:
        own = "" if text[0] != " " else f"{share * 100:5.1f} %"
        bar = _bar(count / anchors if anchors else 0)
        texts.append(f"{text.ljust(name_width)}  {count:>{count_width},}  {bar.ljust(_WIDTH)}  {own}".rstrip())
    return "\n".join(texts)


def _bar(share: float) -> str:
    eighths = round(share * _WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _short(name: str) -> str:
    return name if len(name) <= _NAME_MAX else name[: _NAME_MAX - 1] + "…"
