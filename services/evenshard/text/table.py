"""What an answer shows: tables of values, bars and shades, and lines of text; how they look is the painters' matter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of the longest bar, 0 to 1."""

    share: float | None
    begins: float = 0.0
    """Where, as a share of the room; it ends where the room does."""


@dataclass(frozen=True, slots=True)
class Spark:
    """A number a bucket; None where undefined."""

    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Heat:
    """A share of 1 on a shade; ``is_open``: it may still grow. None: nothing."""

    share: float | None
    is_open: bool = False


Cell = Any
"""A ``Bar``, ``Spark`` or ``Heat``; any other value is shown as it is (None: not set)."""


@dataclass(frozen=True, slots=True)
class Column:
    """What stands above its cells, and how they give way."""

    title: str = ""
    right: bool | None = None
    """To the right; None: where all cells are numbers."""
    spare: int = 0
    """Left out where there is no room, those of the greatest number first; 0: never."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; the first column names a row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    """Stands above."""
    notes: Sequence[str] = ()
    """Stand below."""
    foot: int = 0
    """The last rows that are of all the others: never left out."""
    lead: int = 0
    """More than 0: columns that do not fit go into further tables below, each after these first ones again."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Text."""

    lines: Sequence[str]
    tone: Literal["plain", "quiet", "warning"] = "plain"


Block = Table | Lines


def table_of(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Columns that give way only by being cut."""
    return Table([Column(title) for title in titles], list(rows))
