"""The one thread that appends: whatever is queued while a sync runs shares the next one (group commit)."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from evenshard.errors import EvenshardError
from evenshard.storage.append import Append, Appended

AppendGroup = Callable[[Sequence[Append]], list[Appended | EvenshardError]]
"""``Store.append``."""

_IDLE_WAIT_S = 1.0
_ROW_BYTES = 64
"""What a queued row counts beside its payload."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    append: Append
    done: "Future[Appended]"
    bytes: int


class Sequencer:
    """Queues batches for ``append`` in the order of ``submit``; bounded in bytes. Safe to use from several threads."""

    def __init__(self, append: AppendGroup, *, queue_bytes_max: int, group_bytes_max: int) -> None:
        self._append = append
        self._queue_bytes_max = queue_bytes_max
        self._group_bytes_max = group_bytes_max
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._thread.start()

    def submit(self, append: Append) -> "Future[Appended]":
        """The future ends once the batch is durable and visible, or with the ``EvenshardError`` that kept it out.

        Hashes and checksum are computed here, in the caller's thread, with the GIL released. Raises ``OVERLOADED``
        where too much is queued (nothing was stored), ``SHARD_UNAVAILABLE`` after ``close``.
        """
        prepared = append.prepared()
        waiting = _Waiting(prepared, Future(), len(append.payload) + _ROW_BYTES * append.batch.rows)
        with self._changed:
            if self._closing:
                raise EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            if self._queue and self._queue_bytes + waiting.bytes > self._queue_bytes_max:
                raise EvenshardError("OVERLOADED", f"{self._queue_bytes} bytes are waiting for the log")
            self._queue.append(waiting)
            self._queue_bytes += waiting.bytes
            self._changed.notify()
        return waiting.done

    @property
    def queued_bytes(self) -> int:
        """What waits now."""
        return self._queue_bytes

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
            # A cancelled caller does not wait, but its batch is stored all the same.
            waited_for = [waiting.done.set_running_or_notify_cancel() for waiting in group]
            try:
                outcomes = self._append([waiting.append for waiting in group])
            except Exception as error:  # noqa: BLE001 (goes to every caller)
                outcomes = [EvenshardError("INTERNAL", f"the append failed: {error!r}", in_doubt=True)] * len(group)
            for waiting, wanted, outcome in zip(group, waited_for, outcomes, strict=True):
                if not wanted:
                    continue
                if isinstance(outcome, EvenshardError):
                    waiting.done.set_exception(outcome)
                else:
                    waiting.done.set_result(outcome)

    def _next_group(self) -> list[_Waiting]:
        """Everything queued, up to the group's size; empty: closed and drained."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait(_IDLE_WAIT_S)
            group: list[_Waiting] = []
            group_bytes = 0
            while self._queue and (not group or group_bytes + self._queue[0].bytes <= self._group_bytes_max):
                waiting = self._queue.popleft()
                self._queue_bytes -= waiting.bytes
                group_bytes += waiting.bytes
                group.append(waiting)
            return group
