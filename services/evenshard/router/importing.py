"""An import from payload to answer: decode, place, send, account for all.

The shell awaits; what computes for long runs in threads. The call fails only while nothing was sent to a shard: from
then on every event is answered for, before the caller's deadline.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_events
from evenshard.events.rejects import Decoded, TenantRows
from evenshard.ports.clock import Clock
from evenshard.router.appending import Appender
from evenshard.router.hot_keys import Flight, HotKeys
from evenshard.router.limits import Cost, ImportLimits, costs_of
from evenshard.router.packing import ShardRequest, pack
from evenshard.router.partition import deal
from evenshard.router.payload import decode
from evenshard.router.sealed_rows import SealedRows
from evenshard.router.sending import Sending
from evenshard.router.tally import Tally
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.ingest import Import, ImportResult

SHARE_FOR_SHARDS = 0.8
"""Of the time the caller waits: the rest is for answering."""
FETCHES_AT_ONCE = 16

_Result = TypeVar("_Result")


class Importer:
    """Handles imports; belongs to one event loop."""

    def __init__(
        self,
        tenants: TenantView,
        appender: Appender,
        hot_keys: HotKeys,
        sealed: SealedRows,
        blocked: BlockedView,
        clock: Clock,
        pool: ThreadPoolExecutor,
        append_timeout_ms: int,
    ) -> None:
        self._tenants = tenants
        self._appender = appender
        self._hot_keys = hot_keys
        self._sealed = sealed
        self._blocked = blocked
        self._clock = clock
        self._pool = pool
        self._append_timeout_ms = append_timeout_ms
        self._in_flight: set[asyncio.Future[None]] = set()
        self._limits = ImportLimits()

    @property
    def directory_revision(self) -> int:
        """What is known of tenants is of this revision of the directory."""
        return self._tenants.revision

    async def settle(self, timeout_s: float) -> None:
        """Until every import that has begun is answered for, but not for long."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=timeout_s)

    async def run(self, asked: Import, remaining_s: float) -> ImportResult:
        """Stores the events of ``asked`` and answers for each within ``remaining_s``.

        Raises, with nothing stored: what decoding raises, ``TENANT_NAME_INVALID``, ``TENANT_NOT_FOUND``,
        ``LIMIT_EXCEEDED`` (also where one of several tenants is over its limit), ``DIRECTORY_UNAVAILABLE``,
        ``DEADLINE_EXCEEDED``.
        """
        answered = asyncio.get_running_loop().create_future()
        self._in_flight.add(answered)
        try:
            return await self._run(asked, self._clock.monotonic_ms() + remaining_s * 1000)
        finally:
            self._in_flight.discard(answered)
            answered.set_result(None)

    async def _run(self, asked: Import, end_ms: float) -> ImportResult:
        if asked.tenant or asked.encoding != "ndjson":
            await self._check_named(asked)
        self._check_limits(asked)
        decoded = await self._decode(asked)
        tally = Tally(decoded)
        known = self._known(decoded)
        self._limits.take(self._costs(asked, decoded), self._clock.monotonic_ms())
        await self._hot_keys.prepare(known.values())
        flights: list[Flight] = []
        try:
            requests = await self._in_thread(_begin, decoded, known, tally, self._hot_keys, self._blocked, flights)
            if requests is None:
                for flight in flights:
                    if flight.near:
                        await self._hot_keys.decide(flight)
                requests = await self._in_thread(_stage, flights)
            if requests:
                sending = Sending(
                    self._tenants,
                    self._appender,
                    self._hot_keys,
                    self._sealed,
                    self._clock,
                    self._pool,
                    tally,
                    {flight.tenant.name: flight for flight in flights},
                    self._until_ms(end_ms),
                )
                with _in_doubt():
                    await sending.send(requests)
        finally:
            self._hot_keys.land(flights)
        with _in_doubt():
            return await self._in_thread(tally.result)

    async def _check_named(self, asked: Import) -> None:
        if not asked.tenant and not asked.payload:
            return
        name = tenant_id(asked.tenant)
        if self._tenants.get(name) is None and await self._tenants.fetch(name) is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")

    def _check_limits(self, asked: Import) -> None:
        """Refuses a call of a tenant that is in debt before it costs anything: decoding is most of its work."""
        tenant = self._tenants.get(asked.tenant) if asked.tenant else None
        if tenant is not None:
            cost = Cost(tenant.name, tenant.settings, 0, len(asked.payload))
            self._limits.check([cost], self._clock.monotonic_ms())

    def _costs(self, asked: Import, decoded: Decoded) -> list[Cost]:
        """Of a named tenant the lines that are no events count too: by their bytes."""
        rows = {asked.tenant: 0} if asked.tenant else {}
        for each in decoded.batches:
            rows[each.tenant] = rows.get(each.tenant, 0) + each.batch.rows
        found = ((name, self._tenants.get(name)) for name in rows)
        return costs_of(rows, {name: each.settings for name, each in found if each is not None}, len(asked.payload))

    async def _decode(self, asked: Import) -> Decoded:
        """Decodes; again if a tenant that was not known here turns out to be strict."""
        decoded = await self._in_thread(decode, asked, self._is_strict, self._clock.now_ms())
        missing = [rows.tenant for rows in decoded.batches if self._tenants.get(rows.tenant) is None]
        if any(tenant.settings.strict for tenant in await self._fetch(missing)):
            return await self._in_thread(decode, asked, self._is_strict, self._clock.now_ms())
        return decoded

    def _is_strict(self, tenant: str) -> bool:
        known = self._tenants.get(tenant)
        return known is not None and known.settings.strict

    def _known(self, decoded: Decoded) -> Mapping[str, Tenant]:
        found = ((rows.tenant, self._tenants.get(rows.tenant)) for rows in decoded.batches)
        return {name: tenant for name, tenant in found if tenant is not None}

    async def _fetch(self, names: Iterable[str]) -> Sequence[Tenant]:
        """Those of ``names`` that exist, as the directory has them now."""
        permits = asyncio.Semaphore(FETCHES_AT_ONCE)

        async def fetch(name: str) -> Tenant | None:
            async with permits:
                return await self._tenants.fetch(name)

        found = await asyncio.gather(*(fetch(name) for name in names))
        return [tenant for tenant in found if tenant is not None]

    def _until_ms(self, end_ms: float) -> float:
        """When shards must have answered. Raises ``DEADLINE_EXCEEDED`` where there is no time left to ask them."""
        now_ms = self._clock.monotonic_ms()
        if end_ms <= now_ms:
            raise EvenshardError("DEADLINE_EXCEEDED", "the time was used up before anything was sent to a shard")
        return now_ms + min(self._append_timeout_ms, SHARE_FOR_SHARDS * (end_ms - now_ms))

    async def _in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


@contextlib.contextmanager
def _in_doubt() -> Iterator[None]:
    """Whatever fails in here fails after events were sent, perhaps stored."""
    try:
        yield
    except EvenshardError as error:
        error.in_doubt = True
        raise
    except Exception as defect:
        raise EvenshardError("INTERNAL", f"{type(defect).__name__}: {defect}", in_doubt=True) from defect


def _begin(
    decoded: Decoded,
    known: Mapping[str, Tenant],
    tally: Tally,
    hot_keys: HotKeys,
    blocked: BlockedView,
    flights: list[Flight],
) -> list[ShardRequest] | None:
    """Enters decoded batches as ``flights``; tallies the events of tenants that do not exist, and of blocked ids. What
    to send; None: some flights are to be decided first."""
    for rows in decoded.batches:
        tenant = known.get(rows.tenant)
        if tenant is None:
            _refuse(rows, tally, "", "TENANT_NOT_FOUND", f"there is no tenant {rows.tenant!r}")
            continue
        hashes = hash_events(tenant.name, rows.batch).placement
        ids = blocked.of(tenant.name)
        refused = None if ids is None else ids.rows(rows.batch.record.column("distinct_id"), hashes)
        if refused is not None:
            _refuse(rows.where(refused), tally, "distinct_id", "DISTINCT_ID_BLOCKED", "the user is deleted and blocked")
            rows, hashes = rows.where(~refused), hashes[~refused]
        if rows.batch.rows:
            flights.append(hot_keys.enter(tenant, rows, hashes))
    return None if any(flight.near for flight in flights) else _stage(flights)


def _refuse(rows: TenantRows, tally: Tally, field: str, code: str, message: str) -> None:
    positions = np.arange(rows.batch.rows) if rows.indices is None else rows.indices
    tally.refused_rows(rows.tenant, rows.batch.record.column("insert_id"), positions, code, message, field)


def _stage(flights: Sequence[Flight]) -> list[ShardRequest]:
    """Deals rows out to shards."""
    return pack(
        part
        for flight in flights
        for part in deal(
            flight.tenant.name,
            flight.batch,
            flight.positions,
            flight.placement,
            flight.tenant.placement,
            flight.hot,
            flight.spread,
        )
    )
