"""The one thread that appends: whatever is queued while a sync runs shares the next one (group commit).

Tenants take turns by bytes (``FairQueue``), batches of one tenant keep their order.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.storage.append import Append, Appended
from evenshard.storage.fair_queue import FairQueue, FairShare

AppendGroup = Callable[[Sequence[Append]], list[Appended | EvenshardError]]
"""``Store.append``."""

RETRY_MS_MIN: Final = 50
RETRY_MS_MAX: Final = 2_000
_IDLE_WAIT_S: Final = 1.0
_ROW_BYTES: Final = 64
"""What a queued row counts beside its payload."""
_PACE_WEIGHT: Final = 0.2
"""Of the newest group in the pace, which forgets slowly: groups differ."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    append: Append
    done: "Future[Appended]"
    bytes: int


class Sequencer:
    """Queues batches for ``append``; bounded in bytes, in all and for each tenant. Safe to use from several threads."""

    def __init__(self, append: AppendGroup, *, queue_bytes_max: int, group_bytes_max: int) -> None:
        self._append = append
        self._group_bytes_max = group_bytes_max
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._room = FairShare(queue_bytes_max)
        self._bytes_per_ms = 0.0
        """How fast groups were taken of late; 0: not known yet."""
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._thread.start()

    def submit(self, append: Append) -> "Future[Appended]":
        """The future ends once the batch is durable and visible, or with the ``EvenshardError`` that kept it out.

        Hashes and checksum are computed here, in the caller's thread, with the GIL released. Raises ``OVERLOADED``
        where too much is queued, in all or of this tenant (nothing was stored; it says when to come again), and
        ``SHARD_UNAVAILABLE`` after ``close``.
        """
        prepared = append.prepared()
        waiting = _Waiting(prepared, Future(), len(append.payload) + _ROW_BYTES * append.batch.rows)
        with self._changed:
            if self._closing:
                raise EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            if not self._room.take(append.tenant, waiting.bytes):
                raise EvenshardError(
                    "OVERLOADED",
                    f"{self._room.bytes:,} bytes are waiting for the log, "
                    f"{self._room.held_by(append.tenant):,} of them of {append.tenant}",
                    retry_after_ms=self.retry_after_ms(),
                )
            self._queue.put(append.tenant, waiting.bytes, waiting)
            self._changed.notify()
        return waiting.done

    @property
    def queued_bytes(self) -> int:
        """What waits now."""
        return self._room.bytes

    def retry_after_ms(self) -> int:
        """When there may be room again."""
        return retry_after_ms(self._room.bytes, self._bytes_per_ms)

    def close(self, timeout_s: float = 20.0) -> None:
        """Takes nothing more, appends what is queued, ends. Raises ``TimeoutError`` where that takes too long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the log did not take what was queued within {timeout_s} s")

    def _run(self) -> None:
        while group := self._next_group():
            began_s = time.monotonic()
            # A cancelled caller does not wait, but its batch is stored all the same.
            waited_for = [waiting.done.set_running_or_notify_cancel() for waiting in group]
            try:
                outcomes = self._append([waiting.append for waiting in group])
            except Exception as error:  # noqa: BLE001 (goes to every caller)
                outcomes = [EvenshardError("INTERNAL", f"the append failed: {error!r}", in_doubt=True)] * len(group)
            self._note_pace(sum(waiting.bytes for waiting in group), 1000 * (time.monotonic() - began_s))
            for waiting, wanted, outcome in zip(group, waited_for, outcomes, strict=True):
                if not wanted:
                    continue
                if isinstance(outcome, EvenshardError):
                    waiting.done.set_exception(outcome)
                else:
                    waiting.done.set_result(outcome)

    def _note_pace(self, size: int, took_ms: float) -> None:
        pace = size / max(1.0, took_ms)
        self._bytes_per_ms += (pace - self._bytes_per_ms) * (_PACE_WEIGHT if self._bytes_per_ms else 1.0)

    def _next_group(self) -> list[_Waiting]:
        """What is queued, in turns, up to the group's size; empty: closed and drained."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait(_IDLE_WAIT_S)
            group: list[_Waiting] = []
            group_bytes = 0
            while self._queue and (not group or group_bytes + self._queue.next_size() <= self._group_bytes_max):
                waiting = self._queue.pop()
                self._room.give_back(waiting.append.tenant, waiting.bytes)
                group_bytes += waiting.bytes
                group.append(waiting)
            return group


def retry_after_ms(queued_bytes: int, bytes_per_ms: float) -> int:
    """When half of the queue will be gone at the pace of late."""
    wanted = queued_bytes / 2 / bytes_per_ms if bytes_per_ms else RETRY_MS_MIN
    return int(min(RETRY_MS_MAX, max(RETRY_MS_MIN, wanted)))
