"""The answer to a funnel as tables and bars, for people."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from evenshard.cli.bars import bar, percent
from evenshard.cli.query_flags import account
from evenshard.cli.values import shown, table

HISTOGRAM_LINES_MAX: Final = 16
_LARGER: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def funnel_text(document: Mapping[str, Any], by: Sequence[str], counted: str) -> str:
    """``counted``: what the numbers are of, users, attempts or sessions."""
    parts = [_everybody(document["overall"]["steps"], counted)]
    if document["overall"]["steps"][-1]["histogram"]:
        parts.append(_histogram(document["overall"]["steps"][-1]["histogram"], counted))
    if by:
        parts.append(_groups(document["groups"], by))
    if document.get("explain") is not None:
        parts.append(_explained(document["explain"]))
    return "\n\n".join([*parts, account(document["meta"])])


def _everybody(steps: Sequence[Mapping[str, Any]], counted: str) -> str:
    rows = [
        [
            step["step"],
            _name(step),
            step["count"],
            bar(step["conversion_from_first"]),
            percent(step["conversion_from_first"]),
            percent(step["conversion_from_previous"]),
            _time(step["median_seconds_from_previous"]),
            _time(step["avg_seconds_from_previous"]),
        ]
        for step in steps
    ]
    return table(["", "step", counted, "", "of first", "of previous", "median time", "average"], rows)


def _groups(groups: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    rows = [
        [
            *map(shown, group["by"]),
            *(step["count"] for step in group["steps"]),
            bar(group["steps"][-1]["conversion_from_first"]),
            percent(group["steps"][-1]["conversion_from_first"]),
        ]
        for group in groups
    ]
    steps = [f"{step['step']} {_name(step)}" for step in groups[0]["steps"]] if groups else []
    return table([*by, *steps, "", "converted"], rows)


def _histogram(bars: Sequence[Mapping[str, Any]], counted: str) -> str:
    """How long the last step took from the first; of more bars than fit neighbours are put together."""
    joined = -(-len(bars) // HISTOGRAM_LINES_MAX)
    parts = [bars[at : at + joined] for at in range(0, len(bars), joined)]
    counts = [sum(each["count"] for each in part) for part in parts]
    rows = [
        [f"up to {_time(part[-1]['up_to_seconds'])}", count, bar(count / max(counts))]
        for part, count in zip(parts, counts, strict=True)
    ]
    return table(["time to convert", counted, ""], rows)


def _explained(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            _moment(line["time_ms"]),
            line["event"],
            line["insert_id"] or "",
            "" if line["step"] is None else str(line["step"]),
            line["reason"],
        ]
        for line in lines
    ]
    return table(["time", "event", "insert_id", "step", "why"], rows)


def _name(step: Mapping[str, Any]) -> str:
    return "any of the steps" if step["name"] is None else str(step["name"])


def _moment(time_ms: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1000:03}Z"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in _LARGER:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"
