"""Which rows of a long table are shown: the first, the last, and those that are of all the others."""

from collections.abc import Sequence

from evenshard.text.table import Cell, Table


def rows_shown(table: Table, rows_max: int | None) -> list[Sequence[Cell] | int]:
    """The rows in order; a number stands for so many that are left out."""
    rows = list(table.rows)
    if rows_max is None or len(rows) <= rows_max + 1:  # a line for one row says less than the row
        return list(rows)
    head = -(-(rows_max - table.foot) // 2)
    tail = rows_max - head
    return [*rows[:head], len(rows) - head - tail, *rows[len(rows) - tail :]]


def left_out(rows: int) -> str:
    """What stands in their place."""
    return f"… {rows:,} more"
