"""The answer to a segmentation for people: a bar a bucket, or a line of many buckets for each of several series."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.cli.bars import bar, percent, sparkline
from evenshard.cli.query_flags import account
from evenshard.cli.values import UNDEFINED, shown, table

_SERIES_SIDE_BY_SIDE: Final = 8

Series = Mapping[str, Any]


def segmentation_table(document: Mapping[str, Any], by: Sequence[str], measure: str = "total") -> str:
    """The document of ``query segmentation``; ``by``: the properties of its breakdown."""
    series, buckets = document["series"], document["buckets"]
    parts = [_groups(series, buckets, by, measure)] if by else [_buckets(line, buckets, measure) for line in series]
    if by and len(series) <= _SERIES_SIDE_BY_SIDE:
        parts.append(_side_by_side(series, buckets))
    return "\n\n".join([*(part for part in parts if part), account(document["meta"])])


def _buckets(line: Series, buckets: Sequence[str], measure: str) -> str:
    values = line["values"]
    largest = max((value or 0 for value in values), default=0)
    rows = [
        [
            label,
            _number(value),
            bar((value or 0) / largest if largest else 0),
            _change(values[at - 1] if at else None, value),
        ]
        for at, (label, value) in enumerate(zip(buckets, values, strict=True))
    ]
    header = ["", "count" if measure == "total" else measure, "", "change"]
    return table(header, [*rows, ["overall", _number(line["overall"]), "", ""]])


def _number(value: float | None) -> float | str:
    return UNDEFINED if value is None else value


def _change(before: float | None, value: float | None) -> str:
    """From the bucket before; nothing where that had none."""
    return f"{(value - before) / before * 100:+.1f} %" if before and value is not None else ""


def _groups(series: Sequence[Series], buckets: Sequence[str], by: Sequence[str], measure: str) -> str:
    total = sum(line["overall"] or 0 for line in series)
    largest = max((line["overall"] or 0 for line in series), default=0)
    # A user may be in several groups and buckets, and means do not add up: no shares of those.
    adds_up = measure == "total"
    rows = [
        [
            *map(shown, line["by"]),
            _number(line["overall"]),
            percent((line["overall"] or 0) / total) if adds_up and total else "",
            bar((line["overall"] or 0) / largest if largest else 0),
            sparkline(line["values"]),
        ]
        for line in series
    ]
    when = f"{buckets[0]} to {buckets[-1]}" if buckets else ""
    return table([*by, "overall", "of all" if adds_up else "", "", when], rows)


def _side_by_side(series: Sequence[Series], buckets: Sequence[str]) -> str:
    header = ["", *(" / ".join(map(shown, line["by"])) for line in series)]
    rows = [[label, *(_number(line["values"][at]) for line in series)] for at, label in enumerate(buckets)]
    return table(header, [*rows, ["overall", *(_number(line["overall"]) for line in series)]])
