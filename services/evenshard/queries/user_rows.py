"""Rows by user, as kernels take them, and what a query may want to know of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.queries.groups import Integers

ROWS_MAX: Final = 32_000_000
"""Rows of one shard that a query holds at once."""
SESSION_GAP_MS: Final = 30 * 60_000
"""A longer time without an event ends a session."""

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Kept = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.uint64]
"""What a row matches: a bit for each thing."""
SmallMasks = npt.NDArray[np.uint8]
"""The same of few things, or the number of the only one, from 1."""
AnyMasks = Masks | SmallMasks
Ties = Literal["any", "shared", "all"]
"""How rows of one user and ms are ordered: as they came; by (name, insert_id) where two of them have a bit of
``tie_mask`` in common; always by (name, insert_id). Rows that agree in both stay as they came."""


@dataclass(frozen=True, slots=True)
class Coded:
    """The mask of a row is ``bits[codes[row]]``; 0: it is not wanted."""

    codes: Integers
    """int32."""
    bits: AnyMasks


Choice = Coded | AnyMasks
"""Or the mask of each row. In one pass all masks are of one type."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Masks, of rows that may be wanted for something else too."""

    masks: Choice
    kept: Kept | None
    """The rows that are wanted, whatever they match; None: all."""


@dataclass(frozen=True, slots=True)
class Valued:
    """The value of a row is ``values[codes[row]]`` (utf8); codes that mean the same here need not mean it in another
    batch."""

    codes: Int32
    """Never negative."""
    values: pa.Array


class Wanted(Protocol):
    """Which rows of a batch are wanted."""

    def rows(self, bits: int) -> Integers:
        """Those that have any of ``bits``."""
        ...


CodesOf = Callable[[pa.RecordBatch, Wanted], Mapping[str, "Int32 | Valued"]]
"""For rows and which of them are wanted codes of each row by name, the same names each time: numbers of one numbering,
or values, which are numbered for each chunk of users."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a query needs of the rows of a user besides their times and masks."""

    codes_of: CodesOf | None = None
    ties: Ties = "any"
    tie_mask: int = (1 << 64) - 1
    rank_mask: int = 0
    """Rows of one ms that have lower ones of these bits come first, those with none last, whatever their names."""
    sessions: bool = False
    numbered: bool = False
    """A mask is the number of the only bit, from 1."""
    opens: Callable[[AnyMasks], Kept] | None = None
    """Which masks a user must have one of to be of interest; rows of others may be missing. None: all are."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """The rows of some users that are wanted, by (user, time, order within a ms)."""

    starts: Int64
    """Where each user's begin, and the end of all; a user may have none."""
    times: Int64
    masks: AnyMasks
    first: int = 0
    """The number of the first user; the others follow."""
    codes: Mapping[str, Int32] = field(default_factory=dict)
    """For each name the code of each row."""
    sessions: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """The number of each row's session, from 0 for each user; empty unless asked for."""
