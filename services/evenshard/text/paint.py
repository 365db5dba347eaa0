"""Answers as characters, for terminals of any width and for files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from evenshard.text.bars import BAR_WIDTH, SPARKLINE_WIDTH_MAX, bar, shade, sparkline
from evenshard.text.cells import UNDEFINED, cut, length, printable, shown
from evenshard.text.layout import Room, fit, in_turn, total
from evenshard.text.look import PLAIN, Look
from evenshard.text.rows import left_out, rows_shown
from evenshard.text.table import Bar, Block, Cell, Heat, Lines, Spark, Table

OPEN: Final = "+"
"""Behind what may still grow."""
_CELL_WIDTH_MAX: Final = 300
"""Of a text, even in a file: a property may hold a megabyte, and every row of its column is as wide."""
TABLES_MAX: Final = 6
"""Where rows are left out, tables are too."""
_TITLE_WIDTH_MIN: Final = 12
"""Of a long title above numbers."""
_BOLD, _QUIET, _WARNING, _BAR = "1", "2", "33", "36"
_HEATS: Final = ("38;5;16;48;5;195", "38;5;16;48;5;153", "38;5;16;48;5;111", "38;5;231;48;5;68", "38;5;231;48;5;25")


@dataclass(frozen=True, slots=True)
class _Painted:
    """A column: its cells, bars apart, as texts."""

    title: str
    cells: Sequence[Cell]
    texts: Sequence[str]
    """Without those of bars and sparklines, which are drawn as wide as there is room."""
    room: Room
    right: bool


def paint(blocks: Iterable[Block], look: Look = PLAIN) -> str:
    """The blocks below each other, an empty line between them."""
    texts, tables, left = [], 0, 0
    for block in blocks:
        tables += isinstance(block, Table)
        if look.rows_max is not None and tables > TABLES_MAX and isinstance(block, Table):
            left += 1
        else:
            texts.append(_lines(block, look) if isinstance(block, Lines) else _table(block, look))
    if left:
        texts.append(f"… {left:,} more tables")
    return "\n\n".join(text for text in texts if text)


def _lines(block: Lines, look: Look) -> str:
    style = {"plain": "", "quiet": _QUIET, "warning": _WARNING}[block.tone]
    return "\n".join(_styled(printable(line), style, look) for line in block.lines)


def _table(table: Table, look: Look) -> str:
    """Columns side by side; numbers to the right."""
    rows = rows_shown(table, look.rows_max)
    painted = _painted(table, rows, compact=False)
    if look.width is not None and total([each.room.width for each in painted]) > look.width:
        painted = _painted(table, rows, compact=True)
    if table.lead:
        parts = in_turn([each.room for each in painted], table.lead, look.width)
    else:
        parts = [fit([each.room for each in painted], look.width)]
    shown_parts = parts if look.rows_max is None else parts[: max(1, look.rows_max // (len(rows) + 1))]
    texts = [_part(painted, widths, len(rows), look) for widths in shown_parts]
    notes = list(table.notes)
    if len(shown_parts) < len(parts):
        notes.append(f"… {sum(len(each) - table.lead for each in parts[len(shown_parts) :]):,} more columns")
    head = [_styled(printable(table.caption), _BOLD, look)] if table.caption else []
    return "\n".join([*head, "\n\n".join(texts), *map(printable, notes)])


def _part(painted: Sequence[_Painted], widths: dict[int, int], rows: int, look: Look) -> str:
    lines = []
    titles = [painted[at].title for at in widths]
    if any(titles):
        cells = [_padded(cut(title, widths[at]), widths[at], painted[at].right)
                 for at, title in zip(widths, titles, strict=True)]  # fmt: skip
        lines.append(_styled("  ".join(cells).rstrip(), _BOLD, look))
    for row in range(rows):
        parts = [_cell(painted[at], row, widths[at], look) for at in widths]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(painted: _Painted, row: int, width: int, look: Look) -> str:
    match painted.cells[row]:
        case Bar(share=share, begins=begins):
            room = min(width, BAR_WIDTH)
            return _styled_left(bar(share, room, begins), width, _BAR, look)
        case Spark(values=values):
            return _styled_left(sparkline(values, width), width, _BAR, look)
        case Heat(share=share) if look.color and share is not None:
            style = _HEATS[min(len(_HEATS) - 1, int(share * len(_HEATS)))]
            return _styled(_padded(painted.texts[row].replace(shade(share), " ", 1), width, True), style, look)
    return _padded(cut(painted.texts[row], width), width, painted.right)


def _painted(table: Table, rows: Sequence[Sequence[Cell] | int], *, compact: bool) -> list[_Painted]:
    """Columns with the texts of their cells; a row that is a number stands for so many that are left out."""
    listed = []
    for at, column in enumerate(table.columns):
        cells = [(left_out(row) if at == 0 else "") if isinstance(row, int) else row[at] for row in rows]
        texts = [_text(cell, compact=compact) for cell in cells]
        given = [row[at] for row in rows if not isinstance(row, int)]
        bars = [cell for cell in given if isinstance(cell, Bar | Spark)]
        right = bool(given) and all(is_number(cell) for cell in given) if column.right is None else column.right
        title = length(printable(column.title))
        least = max([min(title, _TITLE_WIDTH_MIN), *map(length, texts)])
        natural = max(title, least)
        if bars:
            drawn = [BAR_WIDTH if isinstance(cell, Bar) else min(len(cell.values), SPARKLINE_WIDTH_MAX)
                     for cell in bars]  # fmt: skip
            natural = max([title, *drawn])
        room = Room(natural, least, bool(bars), not bars and not right, column.spare)
        listed.append(_Painted(printable(column.title), cells, texts, room, right))
    return listed


def _text(cell: Cell, *, compact: bool) -> str:
    match cell:
        case Bar() | Spark():
            return ""
        case Heat(share=None):
            return ""
        case Heat(share=float(share), is_open=is_open):
            mark = OPEN if is_open else " "
            return (
                f"{shade(share)} {share * 100:.0f}%{mark}" if compact else f"{shade(share)} {share * 100:5.1f} %{mark}"
            )
    return cut(shown(cell), _CELL_WIDTH_MAX)


def is_number(cell: Cell) -> bool:
    """What stands to the right by itself."""
    return isinstance(cell, int | float | Heat) or cell == UNDEFINED


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - length(text))
    return blank + text if right else text + blank


def _styled_left(text: str, width: int, style: str, look: Look) -> str:
    return _styled(text, style, look) + " " * (width - len(text))


def _styled(text: str, style: str, look: Look) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if look.color and style and text.strip() else text
