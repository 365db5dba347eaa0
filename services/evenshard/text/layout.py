"""How much room each column gets where there is not enough for all."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

GAP: Final = 2
"""Characters between columns."""
BAR_WIDTH_MIN: Final = 8
_TEXT_WIDTH_FAIR: Final = 24
"""Texts give way down to this before a column is left out,"""
_TEXT_WIDTH_MIN: Final = 8
"""and down to this afterwards."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a column would take, and down to what it gives way."""

    width: int
    least: int
    """Of numbers: their own width, and what must be left of the title above them."""
    is_bar: bool = False
    is_text: bool = False
    spare: int = 0
    """Left out before those with a smaller number; 0: never."""


def fit(columns: Sequence[Room], width_max: int | None) -> dict[int, int]:
    """Widths of the columns that are shown, by their place. Bars give way first, then long texts, titles above numbers,
    columns that can be spared; numbers never do, so that in the end it may be too wide all the same."""
    kept = list(range(len(columns)))
    while True:
        widths = {at: columns[at].width for at in kept}
        if width_max is None:
            return widths
        over = total(widths.values()) - width_max
        bars, texts = [at for at in kept if columns[at].is_bar], [at for at in kept if columns[at].is_text]
        over = _shrink(widths, dict.fromkeys(bars, BAR_WIDTH_MIN), over)
        over = _shrink(widths, dict.fromkeys(texts, _TEXT_WIDTH_FAIR), over)
        over = _shrink(widths, {at: columns[at].least for at in kept if at not in bars and at not in texts}, over)
        spared = [at for at in kept if columns[at].spare]
        if over <= 0 or not spared:
            _shrink(widths, dict.fromkeys(texts, _TEXT_WIDTH_MIN), over)
            return widths
        kept.remove(max(spared, key=lambda at: columns[at].spare))


def in_turn(columns: Sequence[Room], lead: int, width_max: int | None) -> list[dict[int, int]]:
    """The widths of several tables below each other: each has the first ``lead`` columns, and of the others as many as
    fit, at least one. Bars and long texts give way first."""
    if width_max is not None and total([column.width for column in columns]) > width_max:
        columns = [_narrow(column) for column in columns]
    first = {at: columns[at].width for at in range(min(lead, len(columns)))}
    tables: list[dict[int, int]] = []
    for at in range(lead, len(columns)):
        longer = {**(tables[-1] if tables else first), at: columns[at].width}
        if tables and width_max is not None and total(longer.values()) > width_max:
            tables.append({**first, at: columns[at].width})
        elif tables:
            tables[-1] = longer
        else:
            tables.append(longer)
    return tables or [first]


def _narrow(column: Room) -> Room:
    least = BAR_WIDTH_MIN if column.is_bar else _TEXT_WIDTH_FAIR if column.is_text else column.least
    return replace(column, width=min(column.width, least))


def total(widths: Collection[int]) -> int:
    """Of a line."""
    return sum(widths) + GAP * max(0, len(widths) - 1)


def _shrink(widths: dict[int, int], least: Mapping[int, int], over: int) -> int:
    """Takes from the widest until ``over`` characters are saved or all have their least; returns what is still over."""
    while over > 0:
        wider = [at for at in least if widths[at] > least[at]]
        if not wider:
            break
        widths[max(wider, key=lambda at: widths[at])] -= 1
        over -= 1
    return over
