"""A segmentation for people: a bar a bucket, or a line of many buckets for each of several series."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.text.cells import UNDEFINED, percent, value_text
from evenshard.text.paint import OPEN
from evenshard.text.table import Bar, Block, Cell, Column, Spark, Table

_SERIES_SIDE_BY_SIDE: Final = 8

Series = Mapping[str, Any]


def segmentation_blocks(
    document: Mapping[str, Any], by: Sequence[str], measure: str = "total", incomplete: int = 0
) -> list[Block]:
    """The document of ``query segmentation``; ``by``: the properties of its breakdown; ``incomplete``: how many of the
    last buckets were not over."""
    series, buckets = document["series"], document["buckets"]
    if not by:
        return [_buckets(line, buckets, measure, incomplete) for line in series]
    blocks: list[Block] = [_groups(series, buckets, by, measure)]
    if 0 < len(series) <= _SERIES_SIDE_BY_SIDE:
        blocks.append(_side_by_side(series, buckets, incomplete))
    return blocks


def _buckets(line: Series, buckets: Sequence[str], measure: str, incomplete: int) -> Table:
    values = line["values"]
    largest = max((value or 0 for value in values), default=0)
    labels = _labels(buckets, incomplete)
    rows = [
        [label, _number(value), Bar((value or 0) / largest if largest else 0), _change(values, at, incomplete)]
        for at, (label, value) in enumerate(zip(labels, values, strict=True))
    ]
    columns = [Column(), Column("count" if measure == "total" else measure), Column(), Column("change", True, 1)]
    return Table(
        columns, [*rows, ["overall", _number(line["overall"]), Bar(None), ""]], notes=_notes(incomplete), foot=1
    )


def _labels(buckets: Sequence[str], incomplete: int) -> list[str]:
    over = len(buckets) - incomplete
    return [label if at < over else f"{label} {OPEN}" for at, label in enumerate(buckets)]


def _notes(incomplete: int) -> list[str]:
    return [f"{OPEN} not over yet"] if incomplete else []


def _number(value: float | None) -> float | str:
    return UNDEFINED if value is None else value


def _change(values: Sequence[float | None], at: int, incomplete: int) -> str:
    """From the bucket before; nothing where that had none, or where more may come."""
    before, value = values[at - 1] if at else None, values[at]
    if not before or value is None or at >= len(values) - incomplete:
        return ""
    return f"{(value - before) / before * 100:+.1f} %"


def _groups(series: Sequence[Series], buckets: Sequence[str], by: Sequence[str], measure: str) -> Table:
    total = sum(line["overall"] or 0 for line in series)
    largest = max((line["overall"] or 0 for line in series), default=0)
    # A user may be in several groups and buckets, and means do not add up: no shares of those.
    adds_up = measure == "total"
    rows: list[list[Cell]] = [
        [
            *map(value_text, line["by"]),
            _number(line["overall"]),
            percent((line["overall"] or 0) / total) if adds_up and total else "",
            Bar((line["overall"] or 0) / largest if largest else 0),
            Spark(line["values"]),
        ]
        for line in series
    ]
    when = f"{buckets[0]} to {buckets[-1]}" if buckets else ""
    columns = [*map(Column, by), Column("overall", True), Column("of all" if adds_up else "", True, 1), Column()]
    return Table([*columns, Column(when)], rows)


def _side_by_side(series: Sequence[Series], buckets: Sequence[str], incomplete: int) -> Table:
    columns = [Column(), *(Column(" / ".join(map(value_text, line["by"])), True) for line in series)]
    rows = [
        [label, *(_number(line["values"][at]) for line in series)]
        for at, label in enumerate(_labels(buckets, incomplete))
    ]
    overall = ["overall", *(_number(line["overall"]) for line in series)]
    return Table(columns, [*rows, overall], notes=_notes(incomplete), foot=1, lead=1)
