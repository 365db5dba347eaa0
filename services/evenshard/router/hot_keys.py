"""Hot keys, as imports meet them: rows are entered before they are sent, decided if they are near a threshold, and
accounted for when shards have answered. What is decided, and how, stands in ``hotkeys.threshold``.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import UInt64
from evenshard.events.rejects import TenantRows
from evenshard.hotkeys.marks import HotKey, Mark, Rule
from evenshard.hotkeys.sketch import Int32
from evenshard.hotkeys.threshold import Decision, KeyWatch, Rows, Suspects
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.rng import Rng
from evenshard.router.counts import CountFeed
from evenshard.router.lookups import CounterLookups, Counts
from evenshard.router.marking import MarkWriter
from evenshard.router.partition import Bools, Int64, Part
from evenshard.runtime.logs import logger
from evenshard.runtime.tenants import TenantView

LOOKUP_TIMEOUT_S = 0.2
"""How long an import waits for an answer of counters, at most; then it goes on with what is known."""
LISTING_TIMEOUT_S = 5.0
"""How long the first import of a router waits for all answers, where more keys are near their threshold than fit one:
0.2 s and more for 100,000."""
PAUSE_MS = 1000
"""After counters did not answer: nobody asks them meanwhile."""
LOG_EVERY_MS = 10_000
NEVER_REACHED = (1 << 31) - 1
"""More events of a key than can be on their way."""

_Result = TypeVar("_Result")


def rule_of(tenant: Tenant | None) -> Rule:
    """What the tenant's settings say; the defaults for one that is not known here."""
    settings = TenantSettings() if tenant is None else tenant.settings
    return Rule(settings.hot_key_threshold, settings.hot_key_mode)


@dataclass(slots=True, eq=False)
class Flight:
    """The rows of one tenant in one import, until all of them are answered for."""

    tenant: Tenant
    batch: EventBatch
    positions: Int64
    """Where each row stands in the payload, ascending."""
    is_payload: bool
    """The rows are all of the payload: row i stands at place i."""
    placement: UInt64
    rows: Rows
    near: bool
    """Some of them may be hot; else none is."""
    remediated: Bools | None
    """Those that came as remediated events: hot in any case; None: none did."""
    decision: Decision | None = None
    remediated_spread: Bools | None = None
    """Those of them whose keys were handed over."""

    @property
    def spread(self) -> Bools | None:
        """One a row: it goes by its identity; None: none does."""
        decided = self.decision.spread if self.decision is not None and self.decision.spread.any() else None
        return _either(decided, self.remediated_spread)

    @property
    def hot(self) -> Bools | None:
        """One a row; None: none is hot."""
        decided = self.decision.hot if self.decision is not None and self.decision.hot.any() else None
        return _either(decided, self.remediated)

    def rows_of(self, positions: Int64) -> Int64:
        """The rows at some places of the payload."""
        rows: Int64 = positions if self.is_payload else np.searchsorted(self.positions, positions)
        return rows


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


class HotKeys:
    """Belongs to one event loop; ``enter`` may be called in threads."""

    def __init__(
        self,
        watch: KeyWatch,
        tenants: TenantView,
        feed: CountFeed,
        lookups: CounterLookups,
        marks: MarkWriter,
        clock: Clock,
        rng: Rng,
        pool: ThreadPoolExecutor,
        *,
        counting: bool = True,
    ) -> None:
        """``counting``: off, no key becomes hot, and those that are stay."""
        self._watch = watch
        self._tenants = tenants
        self._feed = feed
        self._lookups = lookups
        self._marks = marks
        self._clock = clock
        self._rng = rng
        self._pool = pool
        self._counting = counting
        self._asked_down_to: dict[TenantId, int] = {}
        """All keys of a tenant with so many events were asked for."""
        self._asked_all = False
        self._paused_until_ms = -float("inf")
        self._silent_until_ms = -float("inf")
        self.lookups_failed = 0
        """Since the start."""

    async def prepare(self, tenants: Iterable[Tenant]) -> None:
        """Asks counters for the keys near their threshold: when the router is new, and when a threshold was lowered."""
        lower = []
        for tenant in tenants:
            count_min = rule_of(tenant).count_min
            if count_min < self._asked_down_to.setdefault(tenant.name, count_min):
                lower.append(tenant.name)
        if self._asked_all and not lower:
            return
        if not (self._counting and self._lookups.possible) or self._clock.monotonic_ms() < self._paused_until_ms:
            return
        await self._asking(self._ask_near(lower), LISTING_TIMEOUT_S)

    def enter(self, tenant: Tenant, decoded: TenantRows, placement: UInt64) -> Flight:
        """Rows that are about to be sent, and their placement hashes. To be followed by ``decide`` if they are near a
        threshold, and by ``land``."""
        batch, indices, remediated = decoded.batch, decoded.indices, decoded.remediated
        record = batch.record
        ids, times = record.column("distinct_id"), record.column("time").to_numpy()
        rows, near = self._watch.enter(tenant.name, ids, times, placement, self._rule(tenant), remediated)
        positions = np.arange(batch.rows) if indices is None else indices
        flight = Flight(tenant, batch, positions, indices is None, placement, rows, near, remediated)
        if remediated is not None:
            flight.remediated_spread = self._watch.spread_among(tenant.name, ids, times, placement, remediated)
        return flight

    async def decide(self, flight: Flight) -> None:
        """Which rows are hot. Waits for counters where their counts matter and are not known, but not for long."""
        rows, rule = flight.rows, self._rule(flight.tenant)
        suspects = await self._in_thread(self._watch.suspects, rows, rule)
        unknown = await self._in_thread(self._watch.to_look_up, rows, suspects, rule)
        if unknown and self._clock.monotonic_ms() >= self._paused_until_ms:
            await self._asking(self._decide_asking(flight, suspects, rule), LOOKUP_TIMEOUT_S)
        if flight.decision is None:
            flight.decision = await self._in_thread(self._watch.decide, rows, suspects, rule, {})

    def stored(self, flight: Flight, part: Part, duplicates: Bools) -> None:
        """A shard has synced ``part``, which has rows of ``flight``."""
        if not self._counting:
            return
        at = flight.rows_of(part.positions)
        new = ~duplicates
        if flight.decision is not None:
            self._mark(flight.decision, flight.decision.key_of_row[at[new & flight.decision.crossing[at]]])
        self._feed.offer(self._watch.acknowledge(flight.rows, at, part.batch.record.column("distinct_id"), new))

    def land(self, flights: Iterable[Flight]) -> None:
        """All rows are answered for; those that were not stored never counted."""
        for flight in flights:
            self._watch.leave(flight.rows)

    def _rule(self, tenant: Tenant) -> Rule:
        rule = rule_of(tenant)
        return rule if self._counting else replace(rule, threshold=NEVER_REACHED)

    def _mark(self, decision: Decision, crossed: Int32) -> None:
        """Keys beyond their threshold: hot from now on."""
        for number in np.unique(crossed).tolist():
            key, rule = decision.keys[number], decision.rule
            count, now_ms = int(decision.counts[number]), self._clock.now_ms()
            mark = Mark(rule.mode, rule.threshold, count, "", "crossing", rule.mode, now_ms)
            if self._watch.cross(key, mark):
                self._marks.write(key, mark)

    async def _decide_asking(self, flight: Flight, suspects: Suspects, rule: Rule) -> None:
        rows = flight.rows
        async with self._feed.talking:
            unknown = await self._in_thread(self._watch.to_look_up, rows, suspects, rule)
            keys: list[HotKey] = [suspects.keys[number] for number in unknown]
            counts: Counts = await self._lookups.counts(rows.tenant, keys, LOOKUP_TIMEOUT_S) if keys else {}
            flight.decision = await self._in_thread(self._watch.decide, rows, suspects, rule, counts)

    async def _ask_near(self, lower: Sequence[TenantId]) -> None:
        """All keys near their threshold: of ``lower``, or of all tenants if that was not asked yet."""
        async with self._feed.talking:
            left_out_max = 0
            if not self._asked_all:
                counts, left_out_max = await self._lookups.largest(LOOKUP_TIMEOUT_S)
                self._learn(counts)
                by_name = {tenant.name: rule_of(tenant).count_min for tenant in self._tenants.all()}
                lower = [name for name, count_min in by_name.items() if count_min <= left_out_max]
            for name in lower:
                count_min = rule_of(self._tenants.get(name)).count_min
                async for counts in self._lookups.near(name, count_min, LOOKUP_TIMEOUT_S):
                    self._learn(counts)
                self._asked_down_to[name] = count_min
        self._asked_all = True

    def _learn(self, counts: Counts) -> None:
        """Those near their threshold."""
        rules = {name: rule_of(self._tenants.get(name)) for name in {key[0] for key in counts}}
        self._watch.learn({key: count for key, count in counts.items() if count >= rules[key[0]].count_min})
        for name, rule in rules.items():
            self._asked_down_to[name] = min(rule.count_min, self._asked_down_to.get(name, rule.count_min))

    async def _asking(self, asking: Coroutine[Any, Any, None], timeout_s: float) -> None:
        """Asks counters, within ``timeout_s``; who does not answer is left alone for a while."""
        try:
            async with asyncio.timeout(timeout_s):
                await asking
        except (TimeoutError, EvenshardError) as error:
            now_ms = self._clock.monotonic_ms()
            self.lookups_failed += 1
            self._paused_until_ms = now_ms + PAUSE_MS
            if now_ms >= self._silent_until_ms:
                self._silent_until_ms = now_ms + LOG_EVERY_MS
                logger().warning(
                    "counts not known: hot keys may be noticed late",
                    failed_since_start=self.lookups_failed,
                    error=repr(error),
                )

    async def _in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
