"""What decoding a payload gives: canonical batches of the good events, and why each of the others was refused."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import EventBatch


@dataclass(frozen=True, slots=True)
class Reject:
    """One event that is not stored; ``code`` is one of ``errors.EVENT_CODES``."""

    index: int
    """Its place in the payload, from 0: row, or line (blank ones count)."""
    tenant: str
    insert_id: str
    """Empty where it has none, or one that cannot be read."""
    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DecodeWarning:
    """Something about ``count`` events that their sender should know."""

    code: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class TenantRows:
    """The good events of one tenant."""

    tenant: str
    batch: EventBatch
    indices: npt.NDArray[np.int64] | None
    """Place of each row in the payload, ascending; None: row i stands at place i."""
    remediated: npt.NDArray[np.bool_] | None = None
    """Rows that came as remediated events, and are their originals here; None: none did."""

    def where(self, chosen: npt.NDArray[np.bool_]) -> "TenantRows":
        """Some of the rows."""
        at = np.flatnonzero(chosen)
        indices = at if self.indices is None else self.indices[at]
        remediated = None if self.remediated is None else self.remediated[at]
        return TenantRows(self.tenant, self.batch.take(pa.array(at)), indices, remediated)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A payload, decoded: ``rows`` events, each in one of ``batches`` or among ``rejects``."""

    batches: Sequence[TenantRows]
    """By tenant name; none is empty."""
    rejects: Sequence[Reject]
    """By index."""
    rows: int
    warnings: Sequence[DecodeWarning] = ()
