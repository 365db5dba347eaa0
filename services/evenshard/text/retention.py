"""A retention for people: a line a cohort, a shade a cell."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.text.cells import value_text
from evenshard.text.paint import OPEN
from evenshard.text.table import Block, Column, Heat, Table

COHORTS_SHOWN_MAX: Final = 60
BUCKETS_SHOWN_MAX: Final = 16


def retention_blocks(document: Mapping[str, Any], by: Sequence[str], unit: str) -> list[Block]:
    """The document of ``query retention``: everybody's triangle, then one of each group. ``unit``: what a bucket is."""
    blocks: list[Block] = [triangle(document["cohorts"], document["average"], unit)]
    for group in document["groups"]:
        title = ", ".join(f"{name} = {value_text(value)}" for name, value in zip(by, group["by"], strict=True))
        blocks.append(triangle(group["cohorts"], group["average"], unit, title))
    return blocks


def triangle(
    cohorts: Sequence[Mapping[str, Any]], average: Sequence[float | None], unit: str, title: str = ""
) -> Table:
    """Shares of each cohort by bucket, darker where more returned; the first and last where there are many."""
    buckets = min(len(average), BUCKETS_SHOWN_MAX)
    rows = [[cohort["start"], cohort["size"], *(cell(cohort, at) for at in range(buckets))] for cohort in cohorts]
    if len(rows) > COHORTS_SHOWN_MAX:
        half = COHORTS_SHOWN_MAX // 2
        rows = [*rows[:half], ["…", "", *[Heat(None)] * buckets], *rows[-half:]]
    notes = []
    if any(isinstance(each, Heat) and each.is_open for row in rows for each in row):
        notes.append(f"{OPEN} not over yet")
    if buckets < len(average):
        notes.append(f"{len(average) - buckets} more buckets: --json, in Python to_dict(), has all")
    rows.append(["average", sum(cohort["size"] for cohort in cohorts), *map(Heat, average[:buckets])])
    columns = [Column(unit), Column("users", True), *(Column(str(bucket), True) for bucket in range(buckets))]
    return Table(columns, rows, title, notes, foot=1, lead=2)


def cell(cohort: Mapping[str, Any], bucket: int) -> Heat:
    """Nothing for an empty cohort, and for a bucket that is not over and to which nobody has returned yet."""
    returned, is_open = cohort["returned"][bucket], cohort["incomplete"][bucket]
    if not cohort["size"] or (is_open and not returned):
        return Heat(None)
    return Heat(returned / cohort["size"], is_open)
