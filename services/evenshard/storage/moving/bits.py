"""Rows whose bits were decided elsewhere, as blocks of the tail, and their identities. Pure."""

import numpy as np
import numpy.typing as npt

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import NO_IDENTITY, EventHashes
from evenshard.storage.identity import NO_CANDIDATE, IdentitySet
from evenshard.storage.tail.block import ROW_BYTES, Block


def copied_block(
    batch: EventBatch,
    hashes: EventHashes,
    duplicate: npt.NDArray[np.bool_],
    hot: npt.NDArray[np.bool_] | None,
    spread: npt.NDArray[np.bool_] | None,
    *,
    first_ordinal: int,
    appended_ms: int,
    size: int,
    end_position: int = 0,
) -> Block:
    """Of a copied frame, without anything decided."""
    return Block(
        batch,
        hashes.placement,
        duplicate,
        first_ordinal=first_ordinal,
        end_position=end_position,
        appended_ms=appended_ms,
        bytes=size + ROW_BYTES * batch.rows,
        hot=hot,
        spread=spread,
    )


def insert_decided(
    identities: IdentitySet,
    batch: EventBatch,
    hashes: EventHashes,
    duplicate: npt.NDArray[np.bool_],
    first_ordinal: int,
) -> None:
    """Rows whose bits are decided: their originals are found from now on."""
    pending = np.where(duplicate, np.uint64(NO_IDENTITY), hashes.identity)
    candidates = identities.insert_or_find(pending, first_ordinal, hashes.identity)
    for row in np.flatnonzero(candidates != NO_CANDIDATE).tolist():  # another event with the same hash: rare
        identities.insert(int(pending[row]), first_ordinal + row)
