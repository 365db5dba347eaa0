"""Answers as HTML, for notebooks: everything that came from events is escaped, and long tables are cut."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from evenshard.text.bars import bar, sparkline
from evenshard.text.cells import cut, printable, shown
from evenshard.text.paint import OPEN, TABLES_MAX, is_number
from evenshard.text.rows import left_out, rows_shown
from evenshard.text.table import Bar, Block, Cell, Heat, Lines, Spark, Table

ROWS_MAX: Final = 60
COLUMNS_MAX: Final = 24
_TEXT_WIDTH_MAX: Final = 120
_BAR_WIDTH: Final = 20
_INK: Final = "#3b6fb6"
_HEAT: Final = (59, 111, 182)


def html(blocks: Iterable[Block]) -> str:
    """The blocks below each other. Plain elements with a little style of their own: no scripts, no style sheets, and
    all there is to read is text, so that it can be read where styles are taken away."""
    parts, tables, left = [], 0, 0
    for block in blocks:
        tables += isinstance(block, Table)
        if isinstance(block, Lines):
            parts.append("".join(f"<p>{_escaped(line)}</p>" for line in block.lines))
        elif tables <= TABLES_MAX:
            parts.append(_table(block))
        else:
            left += 1
    if left:
        parts.append(f"<p>… {left:,} more tables</p>")
    return f"<div>{''.join(parts)}</div>"


def _table(table: Table) -> str:
    rows = rows_shown(table, ROWS_MAX)
    columns = range(min(len(table.columns), COLUMNS_MAX))
    given = table.rows
    right = [
        all(is_number(row[at]) for row in given) and bool(given)
        if table.columns[at].right is None else bool(table.columns[at].right)
        for at in columns
    ]  # fmt: skip
    head = "".join(f"<th{_aligned(right[at])}>{_escaped(table.columns[at].title)}</th>" for at in columns)
    body = "".join(f"<tr>{_row(row, columns, right)}</tr>" for row in rows)
    notes = list(table.notes)
    if len(columns) < len(table.columns):
        notes.append(f"… {len(table.columns) - len(columns):,} more columns")
    parts = [
        f"<caption>{_escaped(table.caption)}</caption>" if table.caption else "",
        f"<thead><tr>{head}</tr></thead>" if any(column.title for column in table.columns) else "",
        f"<tbody>{body}</tbody>",
    ]
    return f"<table>{''.join(parts)}</table>" + "".join(f"<p>{_escaped(note)}</p>" for note in notes)


def _row(row: Sequence[Cell] | int, columns: range, right: Sequence[bool]) -> str:
    if isinstance(row, int):
        return f'<td colspan="{len(columns)}">{left_out(row)}</td>'
    return "".join(_cell(row[at], right[at]) for at in columns)


def _cell(cell: Cell, right: bool) -> str:
    match cell:
        case Bar(share=share):
            return f'<td style="text-align:left;color:{_INK}">{bar(share, _BAR_WIDTH)}</td>'
        case Spark(values=values):
            return f'<td style="text-align:left;color:{_INK};white-space:pre">{sparkline(values)}</td>'
        case Heat(share=None):
            return "<td></td>"
        case Heat(share=float(share), is_open=is_open):
            red, green, blue = (round(255 + (each - 255) * min(share, 1)) for each in _HEAT)
            ink = "#fff" if share > 0.6 else "#000"
            style = f"text-align:right;background:rgb({red},{green},{blue});color:{ink}"
            return f'<td style="{style}">{share * 100:.1f} %{OPEN if is_open else ""}</td>'
    return f"<td{_aligned(right)}>{_escaped(cut(shown(cell), _TEXT_WIDTH_MAX))}</td>"


def _aligned(right: bool) -> str:
    return f' style="text-align:{"right" if right else "left"}"'


def _escaped(text: str) -> str:
    return escape(printable(text))
