"""One of several candidates leads, by a key it holds under a lease; every write of a leader is conditional on that key.

So whoever believes to lead and does not any more changes nothing: the lease only decides how soon the next one begins.
A candidate that finds a key of its own name takes it over at once: that was its own process before it was restarted,
and a new revision ends what the old one still writes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.runtime.logs import logger

TTL_S: Final = 10
"""How long a leader that died is waited for."""
LOOK_EVERY_MS: Final = 1_000
"""How often a candidate looks whether there is a leader."""
CALL_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Term:
    """One leader's time."""

    leader: str
    condition: Unchanged
    """Holds as long as it lasts; a condition of every write."""


class Election:
    """A candidate; belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        rng: Rng,
        key: str,
        name: str,
        lead: Callable[[Term], Awaitable[None]],
        ttl_s: int = TTL_S,
    ) -> None:
        """``lead`` is run while this candidate leads, and cancelled when it does not any more."""
        self._directory = directory
        self._clock = clock
        self._rng = rng
        self._key = key
        self._name = name
        self._lead = lead
        self._ttl_s = ttl_s
        self._lease = 0
        self._task: asyncio.Task[None] | None = None
        self.term: Term | None = None
        """While it leads."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"election {self._key}")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stops leading, and says so: the next one need not wait for the lease."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._lease:
            try:
                await self._directory.revoke(self._lease, timeout_s=CALL_TIMEOUT_S)
            except EvenshardError as error:
                logger().warning("a leader's lease was not revoked: it lapses", code=error.code)

    async def _run(self) -> None:
        """For as long as the candidate lives."""
        failing = False
        while True:
            try:
                began_ms = self._clock.monotonic_ms()
                term = await self._campaign()
                failing = False
            except EvenshardError as error:
                term = None
                if not failing:
                    logger().warning("no election", code=error.code, message=error.message)
                failing = True
            if term is not None:
                await self._serve(term, began_ms)
            await self._clock.sleep(LOOK_EVERY_MS)

    async def _campaign(self) -> Term | None:
        """Takes the key where nobody holds it, or a former self. None: somebody leads."""
        held = await self._directory.get(self._key, timeout_s=CALL_TIMEOUT_S)
        if held is not None and json.loads(held.value)["leader"] != self._name:
            return None
        self._lease = await self._directory.grant(self._ttl_s, timeout_s=CALL_TIMEOUT_S)
        value = json.dumps({"version": 1, "leader": self._name, "nonce": self._rng.token_hex(8)}).encode()
        before = Unchanged(self._key, Revision(0) if held is None else held.revision)
        swapped = await self._directory.swap([before], [Put(self._key, value, self._lease)], timeout_s=CALL_TIMEOUT_S)
        return Term(self._name, Unchanged(self._key, swapped.revision)) if swapped.swapped else None

    async def _serve(self, term: Term, began_ms: float) -> None:
        """Leads until the lease may have lapsed, or somebody else holds the key."""
        logger().info("leads", key=self._key, revision=term.condition.revision)
        self.term = term
        leading = asyncio.ensure_future(self._lead(term))
        try:
            until_ms = began_ms + self._ttl_s * 1000
            while self._clock.monotonic_ms() < until_ms and not leading.done():
                await self._clock.sleep(self._ttl_s * 1000 / 4)
                asked_ms = self._clock.monotonic_ms()
                try:
                    if not await self._holds(term):
                        break
                    until_ms = asked_ms + self._ttl_s * 1000
                except EvenshardError as error:
                    logger().warning("a leader's lease was not kept alive", code=error.code, message=error.message)
        finally:
            self.term = None
            logger().info("leads no more", key=self._key, revision=term.condition.revision)
            leading.cancel()
            for ended in await asyncio.gather(leading, return_exceptions=True):
                if isinstance(ended, Exception):
                    logger().critical("leading failed", exc_info=ended)

    async def _holds(self, term: Term) -> bool:
        if not await self._directory.keep_alive(self._lease, timeout_s=CALL_TIMEOUT_S):
            return False
        held = await self._directory.get(self._key, timeout_s=CALL_TIMEOUT_S)
        return held is not None and held.revision == term.condition.revision

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Only a defect ends the task before ``close``; it must not do so in silence."""
        if not task.cancelled() and task.exception() is not None:
            logger().critical("an election ended", exc_info=task.exception())
