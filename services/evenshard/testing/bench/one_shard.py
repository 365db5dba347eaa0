"""The storage of one shard in this process, on a real disk, and events prepared for it as the shard's edge does."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Append, Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store

TENANT_ID: Final = TenantId("bench")
_ALL_SLOTS: Final = np.ones(SLOT_COUNT, np.bool_)
_EVER_MS: Final = 1 << 42


@dataclass(slots=True)
class Spent:
    """What some calls took; of processor time, that of this whole process."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_s += time.process_time() - cpu_s
            self.wall_s += time.perf_counter() - wall_s

    def ns(self, events: int) -> float:
        """Processor time an event."""
        return round(1e9 * self.cpu_s / events, 1)


def timed(spent: Spent, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, measured."""

    def measured(*arguments: Any, **named: Any) -> Any:
        with spent.measured():
            return function(*arguments, **named)

    return measured


def prepared(payload: bytes) -> Append:
    """An Arrow request as it comes to the log: decoded, in canonical form, hashed."""
    (rows,) = decode_arrow(payload, tenant=TENANT_ID, strict=False, now_ms=_EVER_MS).batches
    canonical = rows.batch.to_ipc()
    return Append(TENANT_ID, Epoch(1), _ALL_SLOTS, EventBatch.from_ipc(canonical), canonical).prepared()


class OneShard:
    """Must be closed."""

    def __init__(self, folder: Path, settings: StorageSettings | None = None) -> None:
        self.folder = folder
        self._settings = settings or StorageSettings()
        self._open()

    def _open(self) -> None:
        self.disk = LocalDisk(self.folder)
        self.store = Store.open(self.disk, SystemClock(), ShardId("shard-0"), self._settings, print)

    def open_again(self) -> None:
        """As after a restart."""
        self.close()
        self._open()

    def append(self, append: Append) -> int:
        """Stores it, alone in its group; returns how many duplicates it had."""
        (outcome,) = self.store.append([append])
        if not isinstance(outcome, Appended):
            raise RuntimeError(f"an append was refused: {outcome}")
        return int(outcome.duplicates.sum())

    def append_all(self, payloads: Sequence[Path]) -> int:
        return sum(self.append(prepared(path.read_bytes())) for path in payloads)

    def sort_tail(self) -> None:
        while self.store.sort_tail(TENANT_ID):
            pass

    def close(self) -> None:
        self.store.close()
        self.disk.close()

    def __enter__(self) -> "OneShard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
