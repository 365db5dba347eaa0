"""What is appended to a shard's log, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import EventHashes, hash_events
from evenshard.ids import Epoch, TenantId
from evenshard.storage.log.frame import checksum


@dataclass(frozen=True, slots=True)
class Append:
    """An event batch for the log. ``payload`` is the Arrow IPC stream ``batch`` was read from, logged as it is;
    ``owned`` says of each slot whether this shard owns it at ``epoch``, ``overflow`` the same of the slots by which hot
    keys are spread (None: there are none): bool[4096]."""

    tenant: TenantId
    epoch: Epoch
    owned: npt.NDArray[np.bool_]
    batch: EventBatch
    payload: bytes | memoryview
    hashes: EventHashes | None = None
    payload_checksum: int | None = None
    hot: npt.NDArray[np.bool_] | None = None
    """One an event: its key is hot; None: none is."""
    overflow: npt.NDArray[np.bool_] | None = None
    audits: bool = False
    """It is of audit events: they are taken at the home of their user, also of a key that was handed over."""

    def prepared(self) -> "Append":
        """With hashes and checksum computed: the part of the work that needs no order."""
        if self.hashes is not None and self.payload_checksum is not None:
            return self
        return replace(self, hashes=hash_events(self.tenant, self.batch), payload_checksum=checksum(self.payload))


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is durable and visible. ``duplicates[i]``: row i is a copy of an event stored before (bool[rows]);
    ``position`` is that of the row after its last one."""

    duplicates: npt.NDArray[np.bool_]
    position: int
    sync: object = None
    """What ``OnSync`` returned for the group it was written with."""


@dataclass(frozen=True, slots=True)
class Synced:
    """A group of batches was written and synced."""

    duration_ms: float
    batches: int
    rows: int
    bytes: int


OnSync = Callable[[Synced], object]
"""Told of each group in the thread that appends, right after its sync, before anybody is answered; must be quick."""
