"""Notes queries that were slow as a whole: how long they waited for their turn, and how long they took from then on."""

import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

from evenshard.hotkeys.slow_queries import SlowQueries, SlowQuery, names_of
from evenshard.ports.clock import Clock
from evenshard.runtime.call import current_call

_Answer = TypeVar("_Answer")


class AskedQuery:
    """A query under way; one that joined another's waiting never begins by itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked_ms = clock.monotonic_ms()
        self.began_ms: float | None = None
        self.rows = 0
        """Read, by the end."""

    async def begun(self, answering: Awaitable[_Answer]) -> _Answer:
        """Its turn has come: what ``answering`` gives."""
        self.began_ms = self._clock.monotonic_ms()
        return await answering


class Slowness:
    """Belongs to one event loop."""

    def __init__(self, gateway: str, clock: Clock, slow: SlowQueries) -> None:
        self._gateway = gateway
        self._clock = clock
        self._slow = slow

    @contextlib.contextmanager
    def noting(self, request: Any, kind: str) -> Iterator[AskedQuery]:
        """``request``: any of a query that has a tenant."""
        asked, answered = AskedQuery(self._clock), False
        try:
            yield asked
            answered = True
        finally:
            now_ms = self._clock.monotonic_ms()
            began_ms = now_ms if asked.began_ms is None else asked.began_ms
            wait_ms, run_ms = began_ms - asked.asked_ms, now_ms - began_ms
            if self._slow.is_slow(wait_ms + run_ms):
                events = names_of(_events_of(request))
                at_ms, trace_id = self._clock.now_ms(), current_call().trace_id
                self._slow.note(
                    SlowQuery(
                        at_ms,
                        self._gateway,
                        request.tenant,
                        kind,
                        events,
                        asked.rows,
                        wait_ms,
                        run_ms,
                        trace_id,
                        failed=not answered,
                    )
                )


def _events_of(request: Any) -> list[str]:
    """The names that a request of any kind asks for."""
    named = list(getattr(request, "events", ()))
    steps = getattr(request, "steps", ())  # of flows, how many
    parts = [*(steps if not isinstance(steps, int) else ())]
    parts += [getattr(request, name) for name in ("birth", "return", "anchor") if hasattr(request, name)]
    for step in parts:
        named += getattr(step, "events", ())
    return named
