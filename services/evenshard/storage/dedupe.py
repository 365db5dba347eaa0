"""Decides duplicate bits: first stored wins; a hash finds candidates, equality of the fields decides.

The caller calls in the order of the log; that order alone makes the bits, so a replay derives the same ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import NO_IDENTITY, UInt64
from evenshard.storage.identity import NO_CANDIDATE, IdentitySet
from evenshard.storage.tail.block import Block, block_of_ordinals
from evenshard.storage.tail.equality import equal_rows

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


def decide_duplicates(
    batch: EventBatch,
    identity: UInt64,
    known: Bools | None,
    sealed: IdentitySet | None,
    active: IdentitySet,
    blocks: Sequence[Block],
    first_ordinal: int,
) -> Bools:
    """The duplicate bits of a batch whose rows get the ordinals from ``first_ordinal`` on; bool[rows].

    ``known``: rows that are copies of indexed ones. ``sealed`` and ``active`` are the identities of the rows in
    ``blocks``; the batch is added to ``active``: its originals to be found, the hashes of all of its rows
    (``active.forget(first_ordinal)`` undoes that).
    """
    if known is None:
        duplicates = np.zeros(batch.rows, np.bool_)
        pending = identity
    else:
        duplicates = known.copy()
        pending = np.where(known, np.uint64(NO_IDENTITY), identity)
    if sealed is not None and len(sealed):
        found = _found_in(sealed, sealed.find(pending), batch, pending, blocks, first_ordinal)
        duplicates |= found
        pending = np.where(found, np.uint64(NO_IDENTITY), pending)
    candidates = active.insert_or_find(pending, first_ordinal, identity)
    rows = np.flatnonzero(candidates != NO_CANDIDATE)
    if rows.size:
        equal = _equal_to(batch, rows, candidates[rows], blocks, first_ordinal)
        duplicates[rows[equal]] = True
        for row in rows[~equal].tolist():  # another event with the same hash: rare
            if _is_any(batch, row, active.find_all(int(pending[row])), blocks, first_ordinal):
                duplicates[row] = True
            else:
                active.insert(int(pending[row]), first_ordinal + row)
    return duplicates


def _found_in(
    identities: IdentitySet,
    candidates: Int64,
    batch: EventBatch,
    identity: UInt64,
    blocks: Sequence[Block],
    first_ordinal: int,
) -> Bools:
    """Which rows are the same event as one in ``identities``."""
    found = np.zeros(batch.rows, np.bool_)
    rows = np.flatnonzero(candidates != NO_CANDIDATE)
    if rows.size:
        equal = _equal_to(batch, rows, candidates[rows], blocks, first_ordinal)
        found[rows[equal]] = True
        for row in rows[~equal].tolist():
            found[row] = _is_any(batch, row, identities.find_all(int(identity[row])), blocks, first_ordinal)
    return found


def _is_any(batch: EventBatch, row: int, ordinals: list[int], blocks: Sequence[Block], first_ordinal: int) -> bool:
    rows = np.full(len(ordinals), row, np.int64)
    return bool(_equal_to(batch, rows, np.array(ordinals, np.int64), blocks, first_ordinal).any())


def _equal_to(batch: EventBatch, rows: Int64, ordinals: Int64, blocks: Sequence[Block], first_ordinal: int) -> Bools:
    """Whether each of ``rows`` equals the row stored under the ordinal beside it, in ``blocks`` or the batch itself."""
    equal = np.empty(rows.size, np.bool_)
    own = ordinals >= first_ordinal
    if own.any():
        equal[own] = equal_rows(batch, rows[own], batch, ordinals[own] - first_ordinal)
    elsewhere = np.flatnonzero(~own)
    if elsewhere.size:
        numbers = block_of_ordinals(blocks, ordinals[elsewhere])
        for number in np.unique(numbers).tolist():
            here = elsewhere[numbers == number]
            block = blocks[number]
            equal[here] = equal_rows(batch, rows[here], block.batch, block.rows_of(ordinals[here]))
    return equal
