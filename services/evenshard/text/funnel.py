"""A funnel for people: a bar a step with who went on, who did not, and how long it took."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.text.cells import duration, percent, shown, value_text
from evenshard.text.moment import moment
from evenshard.text.table import Bar, Block, Cell, Column, Table

HISTOGRAM_LINES_MAX: Final = 16


def counted(count: str) -> str:
    """What the numbers of a funnel are of."""
    return {"total": "attempts", "session": "sessions"}.get(count, "users")


def funnel_blocks(document: Mapping[str, Any], by: Sequence[str], count: str) -> list[Block]:
    """The document of ``query funnel``; ``by``: the properties of its breakdown; ``count``: unique, total, session."""
    steps, what = document["overall"]["steps"], counted(count)
    blocks: list[Block] = [_everybody(steps, what)]
    if steps and steps[-1]["histogram"]:
        blocks.append(histogram(steps[-1]["histogram"], what))
    if by:
        blocks.append(_groups(document["groups"], by))
    if document.get("explain") is not None:
        blocks.append(_explained(document["explain"]))
    return blocks


def step_name(step: Mapping[str, Any]) -> str:
    """With ``order="any"`` a step is none of those asked for."""
    return "any of the steps" if step["name"] is None else str(step["name"])


def _everybody(steps: Sequence[Mapping[str, Any]], what: str) -> Table:
    columns = [
        Column(), Column("step"), Column(what), Column(), Column("of first", True), Column("of previous", True, 1),
        Column("dropped", True, 2), Column("median time", True, 3), Column("average", True, 4),
    ]  # fmt: skip
    before = [None, *(step["count"] for step in steps)]
    rows = [
        [
            step["step"],
            step_name(step),
            step["count"],
            Bar(step["conversion_from_first"]),
            percent(step["conversion_from_first"]),
            percent(step["conversion_from_previous"]),
            "" if came is None else shown(came - step["count"]),
            duration(step["median_seconds_from_previous"]),
            duration(step["avg_seconds_from_previous"]),
        ]
        for came, step in zip(before, steps, strict=False)
    ]
    return Table(columns, rows)


def _groups(groups: Sequence[Mapping[str, Any]], by: Sequence[str]) -> Table:
    rows: list[list[Cell]] = [
        [
            *map(value_text, group["by"]),
            percent(group["steps"][-1]["conversion_from_first"]),
            Bar(group["steps"][-1]["conversion_from_first"]),
            *(step["count"] for step in group["steps"]),
        ]
        for group in groups
    ]
    steps = [Column(f"{step['step']} {step_name(step)}") for step in groups[0]["steps"]] if groups else []
    return Table([*map(Column, by), Column("converted", True), Column(), *steps], rows, lead=len(by) + 2)


def histogram(bars: Sequence[Mapping[str, Any]], what: str) -> Table:
    """How long the last step took from the first; of more bars than fit neighbours are put together."""
    joined = -(-len(bars) // HISTOGRAM_LINES_MAX)
    parts = [bars[at : at + joined] for at in range(0, len(bars), joined)]
    counts = [sum(each["count"] for each in part) for part in parts]
    most = max(counts)
    rows = [
        [f"up to {duration(part[-1]['up_to_seconds'])}", count, Bar(count / most if most else 0)]
        for part, count in zip(parts, counts, strict=True)
    ]
    return Table([Column("time to convert"), Column(what), Column()], rows)


def _explained(lines: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            f"{moment(line['time_ms'])}Z",
            line["event"],
            line["insert_id"] or "",
            "" if line["step"] is None else str(line["step"]),
            line["reason"],
        ]
        for line in lines
    ]
    return Table([Column("time"), Column("event"), Column("insert_id", spare=1), Column("step"), Column("why")], rows)
