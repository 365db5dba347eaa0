"""How wide, how long and how colourful an answer may be."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Look:
    """Of a terminal, or of a place where there is none."""

    width: int | None = None
    """Characters a line; None: as many as it takes."""
    rows_max: int | None = None
    """Rows of each table, and tables; what is left out is said. None: all."""
    color: bool = False


PLAIN: Final = Look()
"""A file or a pipe: everything, nothing but characters."""
